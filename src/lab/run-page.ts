/** @file What a run's folder holds beside its metrics, and how several runs differ. */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { artifactsOf, readRun, runFiles } from '../runs/index.js'
import type { Comparison, Plot, RunPage, RunRow } from './api.js'
import { curvesOf } from './metrics.js'

/** Files in a list; a folder of a run may hold any number. */
const filesListed = 1000

const sizeOf = async (path: string): Promise<number> => (await stat(path).catch(() => undefined))?.size ?? 0

/** The files that the run has made. */
export const artifactsIn = async (folder: string): Promise<RunPage['artifacts']> => {
  const files = (await artifactsOf(folder)).slice(0, filesListed)
  return Promise.all(files.map(async ({ name, path }) => ({ path: name, bytes: await sizeOf(path) })))
}

const axis = z.object({ label: z.string(), log: z.boolean().optional() })
const point = z.object({
  x: z.union([z.number(), z.string()]),
  y: z.number(),
  spread: z.number().optional(),
})

const plots: z.ZodType<Plot[]> = z.array(
  z.object({
    kind: z.enum(['curve', 'bars', 'pareto', 'heatmap']),
    title: z.string(),
    x: axis,
    y: axis,
    series: z.array(z.object({ name: z.string(), points: z.array(point) })),
  }),
)

/** Larger files are offered for download, not shown. */
const mostShown = 1 << 16

/** The plots that the run has left; none where the file is absent or says something else. */
export const plotsIn = async (folder: string): Promise<Plot[]> => {
  const text = await readFile(join(folder, runFiles.plots), 'utf8').catch(() => '[]')
  try {
    return plots.parse(JSON.parse(text))
  } catch {
    return []
  }
}

/** The run's own YAML files, not those of runs inside it: recipes and settings. */
export const documentsIn = async (
  folder: string,
  artifacts: RunPage['artifacts'],
): Promise<RunPage['documents']> => {
  const shown = artifacts.filter(({ path, bytes }) => /^[^/]+\.ya?ml$/.test(path) && bytes <= mostShown)
  const read = shown.map(async ({ path }) => ({ path, text: await readFile(join(folder, path), 'utf8') }))
  return Promise.all(read)
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
