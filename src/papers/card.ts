/** @file A paper's card: what it says, in our words, and its headline claims as data. Types only. */

/** A thing that a paper states about its method. */
export interface Claim {
  /** Quantity that is measured or said: 'trainable parameters', 'accuracy on GLUE'. */
  readonly quantity: string
  /** Absent where the paper gives no number that could be checked. */
  readonly value?: number
  /** `times`: a ratio to the baseline; `percent`: of the baseline; otherwise the unit's name. */
  readonly unit?: string
  /** Baseline that it is compared with. */
  readonly baseline?: string
  /** Condition of the measurement: model, data, setting. */
  readonly condition?: string
}

/** Advice on a method, in a sentence or two each. */
export interface Guide {
  /** Situations in which to choose it. */
  readonly choose: string
  /** Situations in which not to, and what to take there. */
  readonly avoid: string
  /** Price in trained numbers, time, memory and inference. */
  readonly costs: string
}

/** Card of a paper: what it says, in Weft's words. */
export interface Paper {
  readonly id: string
  readonly title: string
  /** Date of the first version: YYYY-MM-DD. */
  readonly date: string
  /** How many there are; absent where nobody has counted. */
  readonly authors?: number
  readonly arxiv: string
  /** Official code. */
  readonly code?: string
  readonly family: string
  /** The method in our own words, one paragraph. */
  readonly summary: string
  /** Advice on its method. Absent for a paper whose method Weft has not. */
  readonly guide?: Guide
  readonly claims: readonly Claim[]
  /** A method that others are compared with. */
  readonly baseline?: boolean
  /** Words of the field that a reader may search it by and that the summary does not use. */
  readonly terms?: readonly string[]
}
