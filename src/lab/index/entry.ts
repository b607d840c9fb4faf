/** @file A run's row, read from its folder: whatever lies there, one folder decides about one row alone. */
import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { FileRefused, loadRun, readMetrics, runFiles, seriesName } from '../../runs/index.js'
import type { LeftOut, MetricsRow, StoredRun } from '../../runs/index.js'
import type { RunEntry } from './runs.js'

/** Values of a run that are kept in its row. */
const metricsKept = 200

/** What reading a folder gave: no row where it holds no run that can be used. */
export interface Reading {
  readonly entry?: RunEntry
  readonly leftOut: readonly LeftOut[]
}

/** A file as a listing shows it. */
interface FileState {
  /** Modification time in milliseconds; 0 for no file. */
  readonly modified: number
  readonly size: number
  /** A regular file, or none. */
  readonly plain: boolean
}

/** The state of the file at `path`. */
export const stateOf = async (path: string): Promise<FileState> => {
  const state = await lstat(path).catch(() => undefined)
  return { modified: state?.mtimeMs ?? 0, size: state?.size ?? 0, plain: state?.isFile() ?? true }
}

/** The part of a row that metrics decide. */
type Measured = Pick<RunEntry, 'metrics' | 'rows' | 'bytes' | 'step'>

const nothingYet: Measured = { metrics: {}, rows: 0, bytes: 0, step: null }

const take = ({ metrics, rows, bytes, step }: Measured, page: readonly MetricsRow[]): Measured => {
  const last = new Map(Object.entries(metrics))
  for (const { series, values } of page)
    for (const [name, value] of Object.entries(values)) {
      const full = seriesName(series, name)
      if (last.has(full) || last.size < metricsKept) last.set(full, value)
    }
  const steps = page.flatMap((row) => row.step ?? [])
  return {
    metrics: Object.fromEntries(last),
    rows: rows + page.length,
    bytes,
    step: steps.at(-1) ?? step,
  }
}

/** Reads on from `known.bytes`; from the beginning where the file has become shorter. */
const measure = async (folder: string, known: Measured): Promise<Measured> => {
  let now = known
  for (;;) {
    const { rows, next, more } = await readMetrics(folder, { from: now.bytes })
    now = { ...take(next < now.bytes ? nothingYet : now, rows), bytes: next }
    if (!more || (rows.length === 0 && next === now.bytes)) return now
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** What `read` gives; `otherwise`, with the reason noted, where a file is refused. */
const attempt = async <T>(
  path: string,
  leftOut: LeftOut[],
  otherwise: T,
  read: () => T | Promise<T>,
): Promise<T> => {
  try {
    return await read()
  } catch (error) {
    if (!(error instanceof FileRefused)) throw error
    leftOut.push({ path, reason: error.message })
    return otherwise
  }
}

/** Whether a reproduction was a quick one; null for what is none. Whether its result counts is the catalogue's business. */
const quickOf = ({ result }: StoredRun): boolean | null =>
  typeof result === 'object' && result !== null && 'quick' in result && typeof result.quick === 'boolean'
    ? result.quick
    : null

const readNew = async (home: string, id: string, known: Measured): Promise<Reading> => {
  const folder = join(home, id)
  const { modified } = await stateOf(join(folder, runFiles.record))
  const leftOut: LeftOut[] = []
  const run = await attempt(id, leftOut, undefined, () => loadRun(folder))
  if (!run) return { leftOut }
  const measured = await attempt(id, leftOut, nothingYet, () => measure(folder, known))
  const { command, subject = null, argv, status, started, ended = null } = run
  const entry = {
    id,
    command,
    subject,
    argv: [...argv],
    status,
    quick: quickOf(run),
    started,
    ended,
    modified,
    ...measured,
  }
  return { entry, leftOut }
}

/** Whether a row still says all that there is, and nothing of its run was left out. */
const isSettled = (known: RunEntry, record: FileState, metrics: FileState): boolean =>
  known.status !== 'running' &&
  known.modified === record.modified &&
  known.bytes === metrics.size &&
  metrics.plain

/** The row of run `id` under `home`, read again where its files have changed since `known`. Never throws. */
export const readEntry = async (home: string, id: string, known?: RunEntry): Promise<Reading> => {
  try {
    const [record, metrics] = await Promise.all(
      [runFiles.record, runFiles.metrics].map((name) => stateOf(join(home, id, name))),
    )
    if (known && isSettled(known, record, metrics)) return { entry: known, leftOut: [] }
    return await readNew(home, id, known ?? nothingYet)
  } catch (error) {
    return { entry: known, leftOut: [{ path: id, reason: messageOf(error) }] }
  }
}
