/** @file What a run's folder holds beside its metrics, and how several runs differ. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { artifactsOf, readRun, runFiles } from '../runs/index.js'
import type { Comparison, RunPage, RunRow } from './api.js'
import { curvesOf } from './metrics.js'

/** Files in a list; a folder of a run may hold any number. */
const filesListed = 1000

const sizeOf = async (path: string): Promise<number> => (await stat(path).catch(() => undefined))?.size ?? 0

/** The files that the run has made. */
export const artifactsIn = async (folder: string): Promise<RunPage['artifacts']> => {
  const files = (await artifactsOf(folder)).slice(0, filesListed)
  return Promise.all(files.map(async ({ name, path }) => ({ path: name, bytes: await sizeOf(path) })))
}

export const logSize = (folder: string): Promise<number> => sizeOf(join(folder, runFiles.log))

/** `{ a: { b: 1 } }` -> `a.b`: 1. */
const flat = (value: unknown, name = ''): [string, unknown][] =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
    ? Object.entries(value).flatMap(([key, inner]) => flat(inner, name ? `${name}.${key}` : key))
    : [[name, value]]

/** The curves of several runs by metric, and the settings in which they differ. */
export const comparison = async (
  rows: RunRow[],
  folders: readonly string[],
  points: number,
): Promise<Comparison> => {
  const curves = await Promise.all(folders.map((folder) => curvesOf(folder, { points })))
  const names = [...new Set(curves.flatMap(({ series }) => series.map(({ name }) => name)))].sort()
  const settings = await Promise.all(
    folders.map(async (folder) => {
      const { config = {}, seed } = (await readRun(folder)) ?? {}
      return new Map(flat(seed === undefined ? config : { ...config, seed }))
    }),
  )
  const keys = [...new Set(settings.flatMap((map) => [...map.keys()]))].sort()
  return {
    runs: rows,
    metrics: names.map((name) => ({
      name,
      series: curves.map(({ series }) => series.find((s) => s.name === name) ?? null),
    })),
    config: keys
      .map((key) => ({ key, values: settings.map((map) => map.get(key) ?? null) }))
      .filter(({ values }) => new Set(values.map((value) => JSON.stringify(value))).size > 1),
  }
}
