/**
 * @file Models of unlike shape into one: a copy of the pivot learns from each other model in turn (Unconstrained Model
 * Merging, 2024, heterogeneous part; the fusion of FuseLLM and FuseChat).
 */
import type { Model } from '../../models/index.js'
import type { OnProgress } from '../../progress.js'
import type { Example, Tokenizer } from '../../text/index.js'
import { adamW, fit } from '../../train/index.js'
import {
  byLikelihood,
  fusionLoss,
  taughtBatches,
  teachings,
  teachingsFor,
  winners,
} from '../../distil/index.js'

/** Options of `fuse`. */
export interface FuseOptions {
  /** Share of the labels in the loss; the rest is the fused distribution's. Default 0.9. */
  readonly labels?: number
  /**
   * Target of each row: the distribution with the lower loss on the labels (`min-ce`, the default), or the mean of
   * both by their likelihoods.
   */
  readonly fusion?: 'min-ce' | 'average'
  /** How many tokens are kept of each distribution. Default 10. */
  readonly top?: number
  /** Default: three times through the rows. */
  readonly steps?: number
  /** Default 8. */
  readonly batch?: number
  /** Default 2e-5. */
  readonly learningRate?: number
  /** The pivot's. Default: that of its folder. */
  readonly tokenizer?: Tokenizer
  /** Default 0. */
  readonly seed?: number | string
  /** Hears each step. */
  readonly onProgress?: OnProgress
  /** Aborts between two steps. */
  readonly signal?: AbortSignal
}

/** A fused pivot, and how the fusion went. */
export interface Fused {
  readonly model: Model
  /** The share of rows whose target was the source's. */
  readonly chosen: number
  /** Loss of the last step. */
  readonly loss: number
}

/**
 * The pivot after learning rows (in its own tokens) from their labels and from what `source` says about them, which may
 * be of any shape and have any tokenizer. Where a source has nothing to say its target is the label. The pivot given
 * stays as it was; it must train whole. Throws CheckpointError for vocabularies that cannot be brought together.
 */
export const fuse = async (
  pivot: Model,
  source: Model,
  rows: readonly Example[],
  options: FuseOptions = {},
): Promise<Fused> => {
  const { batch = 8, seed = 0, learningRate = 2e-5, labels = 0.9, signal, onProgress } = options
  const weights = options.fusion === 'average' ? byLikelihood : winners
  const [own, others] = [
    await teachings(pivot, rows, options),
    await teachingsFor(source, pivot, rows, options),
  ]
  const taught = rows.map((row, r) => ({ ...row, sources: [own[r], others[r]] }))
  const steps = options.steps ?? Math.ceil((3 * rows.length) / batch)
  const { model, loss } = await fit(pivot, taughtBatches(taught, { batch, seed }), {
    objectives: [{ loss: fusionLoss(pivot, labels, weights), optimizer: adamW() }],
    ...{ steps, learningRate, schedule: 'warmup-cosine', clip: 1, signal, onProgress },
  })
  signal?.throwIfAborted()
  const chosen = taught.filter(({ sources: [a, b] }) => b.loss < a.loss).length / rows.length
  return { model, chosen, loss }
}
