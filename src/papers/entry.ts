/** @file What a method's folder gives to its family's list: its card, the method, and its experiment when it is wanted. */
import type { Paper } from './card.js'
import type { Reproduction } from './reproduction.js'

/**
 * Entry of a method in its family's list. The card's id is the folder's name, and its main file's: from family and id
 * follow where its source lies and what `weft reproduce ID` runs. `M`: what the family calls a method.
 */
export interface Entry<M = unknown> {
  readonly card: Paper
  /** The method itself. Absent for a paper that has none, as a survey. */
  readonly method?: M
  /** Other methods of the family that this one is a combination of, by their ids: it may import their folders. */
  readonly combines?: readonly string[]
  /** The module of its small-scale experiment, loaded when it is run or shown. */
  readonly experiment?: () => Promise<{ readonly experiment: Reproduction }>
}

/** The methods of `entries`, in their order. */
export const methodsOf = <M>(entries: readonly Entry<M>[]): M[] =>
  entries.flatMap(({ method }) => (method === undefined ? [] : [method]))
