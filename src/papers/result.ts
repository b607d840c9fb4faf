/** @file What a run of an experiment found, as it is kept and shown. Types only. */
import type { DrawnPlot } from './plot.js'
import type { Verdict } from './reproduction.js'

/** A claim against what was measured. */
export interface ClaimResult {
  readonly text: string
  /** Report of the paper, in words. */
  readonly paper?: string
  readonly verdict: Verdict
  readonly mean?: number
  readonly spread?: number
  /** Unit of `mean`, for example `times lora`. */
  readonly unit?: string
  /** `mean` for each seed, in their order. */
  readonly values?: readonly number[]
  readonly why?: string
}

/** One metric of one arm. */
export interface MetricResult {
  readonly values: readonly number[]
  readonly mean: number
  readonly spread: number
}

/** Result of a reproduction, kept as the `result` of its run. */
export interface ReproductionResult {
  readonly paper: string
  readonly quick: boolean
  readonly seeds: readonly number[]
  readonly arms: { readonly [arm: string]: { readonly [metric: string]: MetricResult } }
  readonly claims: readonly ClaimResult[]
  readonly plots: readonly DrawnPlot[]
  readonly seconds: number
}
