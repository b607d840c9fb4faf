/** @file `metrics.jsonl`: appended line by line, read from any byte on, whole even where a writer was killed. */
import { join } from 'node:path'
import { FileRefused, openContained } from './contained.js'
import type { OpenFile } from './contained.js'
import { LineFile, newline } from './lines.js'
import { files } from './run.js'
import type { MetricsRow } from './run.js'

/** Appends rows to the metrics of one run. Killing the process loses no row that was appended. */
export class MetricsWriter {
  private file: LineFile | undefined

  constructor(private readonly folder: string) {}

  append(row: MetricsRow): void {
    this.file ??= new LineFile(join(this.folder, files.metrics))
    const { values, ...place } = row
    this.file.append(JSON.stringify({ ...place, ...values }))
  }

  close(): void {
    this.file?.close()
    this.file = undefined
  }
}

/** Result of one reading. `next` is where the next one begins. */
export interface MetricsPage {
  readonly rows: MetricsRow[]
  readonly next: number
  /** Whether there was more than `limit` bytes. */
  readonly more: boolean
  /** How many lines were no rows, and were passed over. */
  readonly skipped: number
}

/**
 * Rows of the run in `folder` from byte `from` on, at most `limit` bytes of them (default 8 MiB). Only whole lines are
 * taken, so reading again from `next` misses nothing and repeats nothing. A file that is not there yet has no rows. A file
 * that has become shorter (a training run that went back to its checkpoint) is read from its beginning, and `next` is then
 * below `from`. Throws FileRefused for what is no regular file in the folder.
 */
export const readMetrics = async (
  folder: string,
  { from = 0, limit = 8 * 2 ** 20 }: { from?: number; limit?: number } = {},
): Promise<MetricsPage> => {
  const opened = await openContained(folder, files.metrics)
  if (!opened) return { rows: [], next: 0, more: false, skipped: 0 }
  const { file, size } = opened
  try {
    return await readRows(opened, from > size ? 0 : from, limit)
  } finally {
    await file.close()
  }
}

const readRows = async ({ file, size }: OpenFile, start: number, limit: number): Promise<MetricsPage> => {
  const bytes = new Uint8Array(Math.min(limit, size - start))
  const { bytesRead } = await file.read(bytes, 0, bytes.length, start)
  const end = bytes.lastIndexOf(newline, bytesRead - 1) + 1
  // A single line longer than the limit is nobody's row: step over what was read of it.
  const taken = end === 0 && bytesRead === limit ? bytesRead : end
  const lines = new TextDecoder().decode(bytes.subarray(0, end)).split('\n').filter(Boolean)
  const rows = lines.flatMap((line) => rowOf(line) ?? [])
  return { rows, next: start + taken, more: start + bytesRead < size, skipped: lines.length - rows.length }
}

/** A line as a row; undefined for what is no object. */
const rowOf = (line: string): MetricsRow | undefined => {
  if (!line.startsWith('{')) return undefined
  try {
    const { time, series, step, ...rest } = JSON.parse(line) as Record<string, unknown>
    return {
      ...(typeof time === 'string' ? { time } : {}),
      ...(typeof series === 'string' ? { series } : {}),
      ...(typeof step === 'number' && Number.isFinite(step) ? { step } : {}),
      values: Object.fromEntries(numbersIn(rest)),
    }
  } catch {
    return undefined
  }
}

/** `{ evaluation: { loss: 1 } }` -> `evaluation/loss`: 1; what is no number is not a metric. */
const numbersIn = (fields: object, prefix = ''): [string, number][] =>
  Object.entries(fields).flatMap(([name, value]: [string, unknown]): [string, number][] =>
    typeof value === 'number' && Number.isFinite(value)
      ? [[prefix + name, value]]
      : typeof value === 'object' && value !== null && !Array.isArray(value)
        ? numbersIn(value, `${prefix}${name}/`)
        : [],
  )

/** The name of a metric among those of all series: `series/name`. */
export const seriesName = (series: string | undefined, name: string): string =>
  series ? `${series}/${name}` : name

/**
 * The last value of every metric, from the last `tail` bytes (default 256 KiB); `series/name` where rows have a series.
 * None where the metrics cannot be read.
 */
export const finalMetrics = async (
  folder: string,
  tail: number = 256 * 2 ** 10,
): Promise<Record<string, number>> => {
  const last = new Map<string, number>()
  try {
    const opened = await openContained(folder, files.metrics)
    await opened?.file.close()
    const from = Math.max(0, (opened?.size ?? 0) - tail)
    for (const { series, values } of (await readMetrics(folder, { from, limit: tail })).rows)
      for (const [name, value] of Object.entries(values)) last.set(seriesName(series, name), value)
  } catch (error) {
    if (!(error instanceof FileRefused)) throw error
  }
  return Object.fromEntries(last)
}
