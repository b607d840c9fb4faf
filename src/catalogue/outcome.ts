/** @file What came of a reproduction, wherever it is kept. Types only. */
import type { ReproductionResult } from '../papers/result.js'

/** Result of a reproduction, and the place where it is kept. */
export interface Outcome {
  /** The run's id; absent for one that is kept in `reference/`. */
  readonly run?: string
  /** When it ended: ISO 8601. */
  readonly at: string
  readonly result: ReproductionResult
}
