/** @file What an evaluation measures beside the loss. */
import type { ModelOutputs } from '../models/index.js'
import type { Tensor } from '../tensor/index.js'
import type { Batch } from './loss.js'

/** A tally of what was read of the batches. */
export interface Tally {
  /** Adds one batch: the numbers of each tensor. */
  add(values: Readonly<Record<string, ArrayLike<number | bigint>>>): void
  /** Measures of all that were added, by name. */
  result(): Readonly<Record<string, number>> | Promise<Readonly<Record<string, number>>>
}

/** Measures of a task: tensors read of every batch, and what they make together. */
export interface Measures {
  /** Whether the loss is a mean over tokens, whose exponential is a perplexity. Default false. */
  readonly perToken?: boolean
  /** Tensors that are read of a batch's outputs. */
  tensors(outputs: ModelOutputs, batch: Batch<Tensor>): Readonly<Record<string, Tensor>>
  start(): Tally
}
