/** @file What a run's folder holds beside its metrics, and how several runs differ. */
import { lstat } from 'node:fs/promises'
import type { ZodType } from 'zod'
import { drawnPlots } from '../catalogue/schemas.js'
import {
  artifactsOf,
  FileRefused,
  openContained,
  readContained,
  readRecord,
  readRun,
  runFiles,
} from '../runs/index.js'
import type { Comparison, LeftOut, Plot, RunPage, RunRow } from './api.js'
import { curvesOf } from './metrics.js'

/** Files in a list; a folder of a run may hold any number. */
const filesListed = 1000
/** Bytes of a document that is shown; larger ones are offered for download. */
const mostShown = 1 << 16

const sizeOf = async (path: string): Promise<number> => (await lstat(path).catch(() => undefined))?.size ?? 0

const artifactsIn = async (folder: string): Promise<RunPage['artifacts']> => {
  const files = (await artifactsOf(folder)).slice(0, filesListed)
  return Promise.all(files.map(async ({ name, path }) => ({ path: name, bytes: await sizeOf(path) })))
}

/** What a folder of a run holds beside its record and metrics. */
type Contents = Pick<RunPage, 'artifacts' | 'plots' | 'documents' | 'logBytes' | 'leftOut'>

/** The contents of one folder, each file on its own: what cannot be shown is named with the reason. */
export const contentsOf = async (folder: string): Promise<Contents> => {
  const leftOut: LeftOut[] = []
  const attempt = async <T>(path: string, otherwise: T, read: () => Promise<T | undefined>): Promise<T> => {
    try {
      return (await read()) ?? otherwise
    } catch (error) {
      if (!(error instanceof FileRefused)) throw error
      leftOut.push({ path, reason: error.message })
      return otherwise
    }
  }
  const artifacts = await artifactsIn(folder)
  const readPlots = (): Promise<Plot[] | undefined> =>
    readRecord(folder, runFiles.plots, drawnPlots as ZodType<Plot[]>)
  const documents = artifacts
    .filter(({ path, bytes }) => /^[^/]+\.ya?ml$/.test(path) && bytes <= mostShown)
    .map(async ({ path }) => ({
      path,
      text: await attempt(path, '', () => readContained(folder, path, mostShown)),
    }))
  await attempt(runFiles.metrics, 0, () => sizeInside(folder, runFiles.metrics))
  return {
    artifacts,
    plots: await attempt(runFiles.plots, [], readPlots),
    // The run's own YAML files, not those of runs inside it: recipes and settings.
    documents: await Promise.all(documents),
    logBytes: await attempt(runFiles.log, 0, () => sizeInside(folder, runFiles.log)),
    leftOut,
  }
}

/** Bytes of the file `name`; undefined where there is none. Throws FileRefused. */
const sizeInside = async (folder: string, name: string): Promise<number | undefined> => {
  const opened = await openContained(folder, name)
  await opened?.file.close()
  return opened?.size
}

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
