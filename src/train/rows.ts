/**
 * @file Losses that are made of rows of logits, each by itself. Over a large vocabulary the logits of all rows at once weigh more
 * than the model: they are made a chunk of rows at a time, of the rows that count alone, from what the head reads.
 */
import { headOf, type Trace } from '../models/index.js'
import { type ChunkOptions, mapRows, sumRows, type Tensor, where } from '../tensor/index.js'

/** Loss of some rows. logits: [batch, n, vocabulary], and what else was given of the rows: [batch, n, ...] each. */
export type OfRows<R> = (logits: Tensor, ...given: Tensor[]) => R

/** The rows that a loss is made of. */
export interface Rows {
  /** [batch, time, vocabulary]; where a head made them (`headOf`), nobody need ever hold all of them. */
  readonly logits: Tensor
  /** Companions of the rows, labels for one: [batch, time, ...] each. */
  readonly given: readonly Tensor[]
  /** Rows that count: [batch, time] bool. */
  readonly counted: Tensor
  /** Rows of a chunk. Default 256, or fewer where so many would have more than 16 million logits; all, where all have few. */
  readonly chunk?: number
}

/** Most rows of a chunk: with fewer the products grow slower, with more the logits larger. */
const usualRows = 256
/** Rows of a chunk below which a vocabulary, however large, does not go. */
const leastRows = 64
/** Most logits of a chunk. */
const chunkLogits = 2 ** 24
/** Logits that are made whole: of so few, chunks spare nothing. */
const fewLogits = 2 ** 22

const chunkFor = ({ shape: [batch, time, vocabulary] }: Tensor): number => {
  const rows = batch * time
  if (rows * vocabulary <= fewLogits) return rows
  return Math.min(usualRows, Math.max(leastRows, Math.floor(chunkLogits / vocabulary)))
}

/** How the logits are made chunk by chunk; undefined where they are made whole. */
const chunked = (
  { logits, given, counted, chunk = chunkFor(logits) }: Rows,
  random: Trace['random'],
):
  | { readonly rows: Tensor[]; readonly head: (x: Tensor) => Tensor; readonly options: ChunkOptions }
  | undefined => {
  const headed = headOf(logits)
  if (!headed || chunk >= logits.shape[0] * logits.shape[1]) return undefined
  return { rows: [headed.hidden, ...given], head: headed.head, options: { counted, chunk, random } }
}

/** Whether `run` leaves `reports` as they are; where it does not, what it reported of a chunk is taken back. */
const reported = <T>(reports: Trace['reports'], run: () => T): T | undefined => {
  const before = new Map(reports)
  const result = run()
  const same =
    !reports || (reports.size === before.size && [...reports].every(([k, t]) => before.get(k) === t))
  if (same) return result
  reports.clear()
  for (const [name, t] of before) reports.set(name, t)
  return undefined
}

/** Numbers that `f` makes of each row that counts; zero for the others. f: [batch, n, ...] each -> the same of all rows. */
export const eachRow = (f: OfRows<readonly Tensor[]>, rows: Rows, { reports }: Trace = {}): Tensor[] => {
  const parts = chunked(rows, undefined)
  const inChunks =
    parts &&
    reported(reports, () => mapRows((x, ...given) => f(parts.head(x), ...given), parts.rows, parts.options))
  return inChunks ?? f(rows.logits, ...rows.given).map((y) => counting(rows, y))
}

const counting = ({ counted }: Rows, y: Tensor): Tensor =>
  where(counted.reshape([...counted.shape, ...y.shape.slice(counted.rank).map(() => 1)]), y, 0)

/**
 * Sum over the rows that count of what `f` makes of each: []. f: -> [batch, n]. In training (where `trace.random` is) a chunk's
 * gradient is made with its sum, so that its logits are made once.
 */
export const sumOfRows = (f: OfRows<Tensor>, rows: Rows, trace: Trace = {}): Tensor => {
  const parts = trace.random && chunked(rows, trace.random)
  if (!parts) return eachRow((logits, ...given) => [f(logits, ...given)], rows, trace)[0].sum()
  const inChunks = reported(trace.reports, () =>
    sumRows((x, ...given) => f(parts.head(x), ...given), parts.rows, parts.options),
  )
  return inChunks ?? counting(rows, f(rows.logits, ...rows.given)).sum()
}
