/** @file LoRA's options, and what they come to at one module. */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import type { Site } from '../../models/sites.js'
import { byPattern, patterns } from '../core/patterns.js'
import { type CommonOptions, commonOptions } from '../core/spec.js'
import { type TokenOptions, tokenOptions } from '../core/token-options.js'

/** Options of LoRA. */
export interface LoraOptions extends CommonOptions, TokenOptions {
  /** Rank r of the update. Default 8. */
  readonly rank: number
  /** Scale α: the update is multiplied by α / r. Default 16. */
  readonly alpha: number
  /** Dropout probability on the update's input, in [0, 1). Default 0. */
  readonly dropout: number
  /** True to scale by α / √r. Default false. */
  readonly rslora: boolean
  /** True to train the magnitudes of the weight's rows too. Default false. */
  readonly dora: boolean
  /** True to train a bias of the update too: s (B A x + b). Default false. */
  readonly updateBias: boolean
  /** Form of the frozen weights: as they are stored, or rounded to four bits (QLoRA). Default 'stored'. */
  readonly base: 'stored' | 'nf4'
  /** True to round the magnitudes of blocks of four bits too. Default true. */
  readonly doubleQuantization: boolean
  /** Ranks of modules that have another, by Python's expressions for the end of a module's name. */
  readonly rankPattern: Readonly<Record<string, number>>
  /** Scales α of modules that have another, likewise; 0 switches a module off. */
  readonly alphaPattern: Readonly<Record<string, number>>
}

/** The schema of `LoraOptions`. */
export const loraOptions: z.ZodObject = commonOptions.extend({
  rank: z.number().int().positive().default(8).describe('rank r of the update'),
  alpha: z.number().default(16).describe('the update is scaled by alpha / rank'),
  dropout: z.number().min(0).lt(1).default(0).describe("dropout on the update's input"),
  rslora: z.boolean().default(false).describe('scale by alpha / sqrt(rank)'),
  dora: z.boolean().default(false).describe("also train the magnitude of the weight's rows"),
  updateBias: z.boolean().default(false).describe('also train a bias of the update'),
  ...tokenOptions,
  base: z
    .enum(['stored', 'nf4'])
    .default('stored')
    .describe('the frozen weights: as stored, or rounded to 4 bits (QLoRA)'),
  doubleQuantization: z.boolean().default(true).describe("of 4 bits: round the blocks' magnitudes too"),
  ...patterns,
})

/** LoRA's options at one module. */
export interface LoraSettings {
  /** Rank r. */
  readonly rank: number
  /** Factor s of the update. */
  readonly scale: number
  /** Dropout probability on the update's input. */
  readonly dropout: number
  /** True where the magnitudes of the weight's rows train. */
  readonly dora: boolean
  /** True where the update has a bias. */
  readonly updateBias: boolean
}

/** The rank at a module. */
export const rankAt = ({ rank, rankPattern }: LoraOptions, { name }: Site): number =>
  byPattern(rankPattern, name) ?? rank

/** The settings at a module. Throws UsageError for a bias of the update with magnitudes, and at an embedding. */
export const loraSettings = (options: LoraOptions, site: Site): LoraSettings => {
  const { dropout, dora, updateBias, rslora } = options
  if (updateBias && (dora || site.kind === 'embedding'))
    throw new UsageError(
      'BadOption',
      `lora: updateBias with ${dora ? 'dora' : `an embedding, ${site.name}`}`,
      { hint: 'An update has a bias at linear modules, without dora.' },
    )
  const rank = rankAt(options, site)
  const alpha = byPattern(options.alphaPattern, site.name) ?? options.alpha
  return { rank, scale: alpha / (rslora ? Math.sqrt(rank) : rank), dropout, dora, updateBias }
}
