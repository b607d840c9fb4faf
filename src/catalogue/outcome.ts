/** @file What came of a reproduction, wherever it is kept. Types only. */
import type { ReproductionResult } from '../papers/result.js'

/** What a reproduction found, and where that is kept. */
export interface Outcome {
  /** The run's id; absent for one that is kept in `reference/`. */
  readonly run?: string
  /** When it ended: ISO 8601. */
  readonly at: string
  readonly result: ReproductionResult
}
