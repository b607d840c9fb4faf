/** @file `metrics.jsonl`: appended line by line, read from any byte on, whole even where a writer was killed. */
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { files } from './run.js'
import type { MetricsRow } from './run.js'

/** Appends rows to one file. Each row is in the system's hands when `append` returns: killing the process loses none. */
export class MetricsWriter {
  private file: number | undefined

  constructor(private readonly folder: string) {}

  append(row: MetricsRow): void {
    this.file ??= openForAppending(join(this.folder, files.metrics))
    const { values, ...place } = row
    const line = new TextEncoder().encode(`${JSON.stringify({ ...place, ...values })}\n`)
    for (let at = 0; at < line.length;) at += writeSync(this.file, line, at)
  }

  close(): void {
    if (this.file !== undefined) closeSync(this.file)
    this.file = undefined
  }
}

/** A line that a killed writer left unfinished is ended first, so that it cannot spoil the next one. */
const openForAppending = (path: string): number => {
  const file = openSync(path, 'a+')
  const { size } = fstatSync(file)
  const last = new Uint8Array(1)
  if (size > 0 && readSync(file, last, 0, 1, size - 1) === 1 && last[0] !== newline) writeSync(file, '\n')
  return file
}

const newline = 0x0a

/** What one reading gave. `next` is where the next one begins. */
export interface MetricsPage {
  readonly rows: MetricsRow[]
  readonly next: number
  /** Whether there was more than `limit` bytes. */
  readonly more: boolean
}

/**
 * Rows of the run in `folder` from byte `from` on, at most `limit` bytes of them (default 8 MiB). Only whole lines are
 * taken, so reading again from `next` misses nothing and repeats nothing; lines that are no rows are passed over. A
 * file that is not there yet has no rows. A file that has become shorter (a training run that went back to its
 * checkpoint) is read from its beginning, and `next` is then below `from`.
 */
export const readMetrics = async (
  folder: string,
  { from = 0, limit = 8 * 2 ** 20 }: { from?: number; limit?: number } = {},
): Promise<MetricsPage> => {
  const file = await open(join(folder, files.metrics), 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (!file) return { rows: [], next: 0, more: false }
  try {
    const { size } = await file.stat()
    const start = from > size ? 0 : from
    const bytes = new Uint8Array(Math.min(limit, size - start))
    const { bytesRead } = await file.read(bytes, 0, bytes.length, start)
    const end = bytes.lastIndexOf(newline, bytesRead - 1) + 1
    // A single line longer than the limit is nobody's row: step over what was read of it.
    const taken = end === 0 && bytesRead === limit ? bytesRead : end
    return { rows: parse(bytes.subarray(0, end)), next: start + taken, more: start + bytesRead < size }
  } finally {
    await file.close()
  }
}

const parse = (bytes: Uint8Array): MetricsRow[] =>
  new TextDecoder()
    .decode(bytes)
    .split('\n')
    .flatMap((line) => rowOf(line) ?? [])

const rowOf = (line: string): MetricsRow | undefined => {
  if (!line.startsWith('{')) return undefined
  try {
    const { time, series, step, ...rest } = JSON.parse(line) as Record<string, unknown>
    return {
      ...(typeof time === 'string' ? { time } : {}),
      ...(typeof series === 'string' ? { series } : {}),
      ...(typeof step === 'number' ? { step } : {}),
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

/** The last value of every metric, from the last `tail` bytes (default 256 KiB); `series/name` where rows have a series. */
export const finalMetrics = async (
  folder: string,
  tail: number = 256 * 2 ** 10,
): Promise<Record<string, number>> => {
  const file = await open(join(folder, files.metrics), 'r').catch(() => undefined)
  if (!file) return {}
  const { size } = await file.stat().finally(() => file.close())
  const { rows } = await readMetrics(folder, { from: Math.max(0, size - tail), limit: tail })
  const final: Record<string, number> = {}
  for (const { series, values } of rows)
    for (const [name, value] of Object.entries(values)) final[series ? `${series}/${name}` : name] = value
  return final
}
