/** @file How logits come from hidden rows, so that a loss may ask for those of some rows only, and for a few at a time. */
import type { Tensor } from '../tensor/index.js'
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

/** Origin of `logits` ([batch, time, vocabulary]); undefined where they are no head's own, as those of classes or changed ones. */
export const headOf = (logits: Tensor): Headed | undefined => origins.get(logits)
