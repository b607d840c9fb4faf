/** @file What LoHa and LoKr share: options, and how PEFT's config says them. */
import { z } from 'zod'
import { full, type Tensor } from '../../tensor/index.js'
import { byPattern, patterns } from './patterns.js'
import type { PeftTable } from './peft-table.js'
import type { Site } from '../../models/sites.js'
import { type CommonOptions, commonOptions, type SiteContext } from './spec.js'

/** Options of LoHa and LoKr. */
export interface LycorisOptions extends Omit<CommonOptions, 'bias'> {
  /** Rank r of the factors. Default 8. */
  readonly rank: number
  /** Scale α: the update is multiplied by α / r. Default 8. */
  readonly alpha: number
  /** Probability that an output is left without its update, in training. Default 0. */
  readonly rankDropout: number
  /** Probability that a module is left without its update, in training. Default 0. */
  readonly moduleDropout: number
  /** Ranks of modules that have another, by Python's expressions for the end of a module's name. */
  readonly rankPattern: Readonly<Record<string, number>>
  /** Scales α of modules that have another, likewise; 0 switches a module off. */
  readonly alphaPattern: Readonly<Record<string, number>>
}

/** Options of LoHa and LoKr at one module. */
export interface LycorisSettings {
  /** Rank r. */
  readonly rank: number
  /** Factor α / r of the update. */
  readonly scale: number
  /** Probability that an output is left without its update, in training. */
  readonly rankDropout: number
  /** Probability that the module is left without its update, in training. */
  readonly moduleDropout: number
}

const probability = z.number().min(0).lt(1)

/** The schema of `LycorisOptions`. */
export const lycorisOptions: z.ZodObject = commonOptions.omit({ bias: true }).extend({
  rank: z.number().int().positive().default(8).describe('rank r of the factors'),
  alpha: z.number().positive().default(8).describe('the update is scaled by alpha / rank'),
  rankDropout: probability.default(0).describe('share of outputs left without their update in training'),
  moduleDropout: probability.default(0).describe('how often a module is left without its update in training'),
  ...patterns,
})

/** The settings at a module. */
export const lycorisSettings = (o: LycorisOptions, { name }: Site): LycorisSettings => {
  const rank = byPattern(o.rankPattern, name) ?? o.rank
  const alpha = byPattern(o.alphaPattern, name) ?? o.alpha
  return { rank, scale: alpha / rank, rankDropout: o.rankDropout, moduleDropout: o.moduleDropout }
}

/** The update with some outputs, or all, left out in training; what stays is not scaled up. update: [..., out]. */
export const withoutSome = (
  update: Tensor,
  { rankDropout, moduleDropout }: LycorisSettings,
  { dropout }: Pick<SiteContext, 'dropout'>,
): Tensor => {
  const kept = (size: number, p: number): Tensor => {
    const ones = full([size], 1)
    const dropped = dropout(ones, p)
    return dropped === ones ? ones : dropped.greater(0).cast('float32')
  }
  const outputs = rankDropout ? update.mul(kept(update.shape[update.rank - 1], rankDropout)) : update
  return moduleDropout ? outputs.mul(kept(1, moduleDropout)) : outputs
}

/** Keys of adapter_config.json that LoHa and LoKr have. */
export const lycorisTable = {
  keys: {
    alpha: 'alpha',
    alpha_pattern: 'alphaPattern',
    module_dropout: 'moduleDropout',
    r: 'rank',
    rank_dropout: 'rankDropout',
    rank_pattern: 'rankPattern',
  },
  // Convolutions are not adapted.
  harmless: { init_weights: true, use_effective_conv2d: false },
} satisfies PeftTable<LycorisOptions>
