/** @file How logits come from hidden rows, so that a loss may ask for those of some rows only, and for a few at a time. */
import { concat, type Tensor } from '../tensor/index.js'
import { rowsAt } from './attention.js'

/** The head of a model over one vocabulary, soft cap included, each row for itself. rows: [batch, n, width] -> [batch, n, vocabulary]. */
export type Head = (rows: Tensor) => Tensor

/** Origin of logits: hidden states and the head that read them. */
export interface Headed {
  /** Rows that the head read: [batch, time, width]. */
  readonly hidden: Tensor
  /** Head that read them. rows: [batch, n, width] -> [batch, n, vocabulary]. */
  readonly head: Head
}

/**
 * Kept beside the logits rather than among a model's outputs: whoever changes the logits afterwards leaves no head behind
 * that no longer gives them.
 */
const origins = new WeakMap<Tensor, Headed>()

/**
 * Logits of the rows of `hidden` ([batch, time, width] -> [batch, time, vocabulary]), or of those at `wanted` alone
 * ([batch, n] int, a model's `logitsAt` -> [batch, n, vocabulary]). `headOf` finds from them how they were made.
 */
export const logitsBy = (head: Head, hidden: Tensor, wanted?: Tensor): Tensor => {
  const rows = wanted ? rowsAt(hidden, wanted) : hidden
  return withHead(head(rows), { hidden: rows, head })
}

/** `logits` ([batch, time, vocabulary]), known to be what the head of `headed` makes of its hidden rows. */
export const withHead = (logits: Tensor, headed: Headed): Tensor => {
  origins.set(logits, headed)
  return logits
}

/** Rows `start` to `end` (excluded; either may count from the end) of logits: [batch, time, vocabulary]; `headOf` knows them. */
export const sliceRows = (logits: Tensor, start: number, end?: number): Tensor => {
  const rows = logits.slice(1, start, end)
  const { hidden, head } = headOf(logits) ?? {}
  return hidden && head ? withHead(rows, { hidden: hidden.slice(1, start, end), head }) : rows
}

/** Rows of logits: [batch, n, vocabulary] each, one after another; `headOf` knows them where one head made them all. */
export const joinRows = (parts: readonly Tensor[]): Tensor => {
  const joined = concat(parts, 1)
  const made = parts.flatMap((part) => headOf(part) ?? [])
  if (made.length < parts.length || made.some(({ head }) => head !== made[0].head)) return joined
  const hidden = concat(
    made.map(({ hidden }) => hidden),
    1,
  )
  return withHead(joined, { hidden, head: made[0].head })
}

/** Origin of `logits` ([batch, time, vocabulary]); undefined where they are no head's own, as those of classes or changed ones. */
export const headOf = (logits: Tensor): Headed | undefined => origins.get(logits)
