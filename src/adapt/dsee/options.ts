/** @file Options of DSEE, what they come to for a base, and at each of its modules. */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import type { Model } from '../../models/index.js'
import { requireRank, type Site, sitesOf } from '../../models/sites.js'
import { targetSites } from '../../models/targets.js'
import { cutConfig, type UnitGroup } from '../../units/index.js'
import { type CommonOptions, commonOptions, moduleNames } from '../core/spec.js'
import { prunedReaders, type PruningOptions, removedFrom } from './masks.js'
import { omegaKinds, type OmegaKind, type OmegaOptions } from './omega.js'
import { scoreKinds, type ScoreKind } from './pruning.js'

/** Options of `dsee`. */
export interface DseeOptions extends CommonOptions, PruningOptions {
  /** Rank r of the update; 0 for free entries alone. Default 16. */
  readonly rank: number
  /** Numerator α of the update's scale α / r (1 where r is 0). Default 16. */
  readonly alpha: number
  /** Number N of free entries in each updated matrix. Default 64. */
  readonly entries: number
  /** Choice of Ω. Default 'decomposition'. */
  readonly omega: OmegaKind
  /** Standard deviations of W below which an entry of the decomposition's rest is none. Default 0.25. */
  readonly omegaThreshold: number
  /** Rounds of the decomposition. Default 10. */
  readonly omegaRounds: number
  /** Rows by which its low-rank part grows after a round. Default 5. */
  readonly omegaGrowth: number
  /** Dropout probability on the update's input, in [0, 1). Default 0. */
  readonly dropout: number
  /** Share p of the base's entries that single pruning removes. Default 0. */
  readonly sparsity: number
  /** Modules that lose entries, written as targets are. Default 'all-linear'. */
  readonly prune: string | readonly string[]
  /** Reach of a threshold: all updated modules and all others, or each module. Default 'pool'. */
  readonly threshold: 'pool' | 'matrix'
  /** Number of query heads that every layer loses. Default 0. */
  readonly heads: number
  /** Share of its MLP's hidden channels that every layer loses. Default 0. */
  readonly hidden: number
  /** Score by which the least are removed. Default 'weight'. */
  readonly score: ScoreKind
  /** Share of the run's steps after which the base is pruned. Default 0.6. */
  readonly pruneAt: number
  /** Whether heads and channels have a trained coefficient each, and those of the least are removed. Default false. */
  readonly coefficients: boolean
  /** Factor λ of Σ |c| in the loss until the base is pruned. Default 1e-4. */
  readonly penalty: number
  /** Names of modules with an update. Default: the targets. */
  readonly updated?: readonly string[]
  /** Names of modules with S₁. Default: found by `prune`. */
  readonly masked?: readonly string[]
}

/** What the options come to at one module. */
export interface DseeSettings {
  readonly in: number
  readonly out: number
  /** Rank r; 0 at a module that is pruned alone. */
  readonly rank: number
  /** Number N of free entries; 0 at a module that is pruned alone. */
  readonly entries: number
  readonly scale: number
  readonly dropout: number
  readonly omega: OmegaOptions
  /** Whether it has S₁. */
  readonly masked: boolean
  /** Number of heads or hidden channels that enter it and may go; 0 for none. */
  readonly units: number
  /** Whether these have coefficients. */
  readonly coefficients: boolean
}

const share = z.number().min(0).lt(1)
const count = z.number().int().positive()
const names = z.custom<readonly string[] | undefined>((x) => x === undefined || Array.isArray(x)).optional()

/** The schema of `DseeOptions`. */
export const options: z.ZodObject = commonOptions.extend({
  rank: z.number().int().nonnegative().default(16).describe('rank r of the update; 0 for free entries alone'),
  alpha: z.number().positive().default(16).describe('the update is scaled by alpha / rank'),
  entries: z.number().int().nonnegative().default(64).describe('free entries of each updated matrix'),
  omega: z.enum(omegaKinds).default('decomposition').describe('how the free entries are chosen'),
  omegaThreshold: z
    .number()
    .positive()
    .default(0.25)
    .describe("standard deviations below which an entry of the decomposition's rest is none"),
  omegaRounds: count.default(10).describe('rounds of the decomposition'),
  omegaGrowth: count.default(5).describe("rows by which the decomposition's rank grows after a round"),
  dropout: share.default(0).describe("dropout on the update's input"),
  sparsity: share.default(0).describe("share of the base's entries to prune"),
  prune: moduleNames.default('all-linear').describe('modules that lose entries'),
  threshold: z.enum(['pool', 'matrix']).default('pool').describe('one threshold for many matrices, or each'),
  heads: z.number().int().nonnegative().default(0).describe('query heads to prune from every layer'),
  hidden: share.default(0).describe("share of an MLP's hidden channels to prune from every layer"),
  score: z.enum(scoreKinds).default('weight').describe('what is pruned is least by this'),
  coefficients: z
    .boolean()
    .default(false)
    .describe('train a coefficient of each head and channel, and prune those of the least'),
  penalty: z.number().nonnegative().default(1e-4).describe('factor of the sum of |coefficients| in the loss'),
  pruneAt: z.number().gt(0).max(1).default(0.6).describe('share of the steps after which to prune'),
  updated: names,
  masked: names,
})

/** Whether anything is to be pruned. */
export const prunes = ({ sparsity, heads, hidden }: DseeOptions): boolean =>
  sparsity > 0 || heads > 0 || hidden > 0

/** Throws UsageError where the base has no such units, or config.json could not say that they are gone. */
const requireUnits = (base: Model, o: DseeOptions): void => {
  const readers = prunedReaders(base, o)
  for (const [kind, wanted] of [
    ['heads', o.heads > 0],
    ['hidden', o.hidden > 0],
  ] as const)
    if (wanted && !readers.some(({ units }) => units.kind === kind))
      throw new UsageError('NoUnits', `dsee: no module of ${base.checkpoint.folder} reads ${kind} to prune`)
  const staying = ({ count, ...rest }: UnitGroup): number[] =>
    Array.from({ length: count - removedFrom(o, { count, ...rest }) }, (_, i) => i)
  cutConfig(base, new Map(readers.map(({ units }) => [units.group, staying(units)])))
}

/** The options of a new adapter, with the modules that are updated and pruned. Throws UsageError for what cannot be pruned. */
export const resolved = (base: Model, o: DseeOptions): DseeOptions => {
  if (o.updated) return o
  if (o.coefficients && !o.heads && !o.hidden)
    throw new UsageError('BadOption', 'dsee: coefficients of units, none of which are to be pruned', {
      hint: 'Say how many heads, or which share of the hidden channels, every layer loses (heads, hidden).',
    })
  if (!prunes(o)) return o
  if (o.score === 'low-rank' && o.rank === 0)
    throw new UsageError('BadOption', 'dsee: score low-rank at rank 0, where there is no low-rank part')
  requireUnits(base, o)
  const updated = targetSites('dsee', base, ['linear'], o).map(({ name }) => name)
  const masked = o.sparsity ? targetSites('dsee', base, ['linear'], { ...o, targets: o.prune }) : []
  const readers = prunedReaders(base, o).map(({ site }) => site)
  const all = new Set([...updated, ...[...masked, ...readers].map(({ name }) => name)])
  const targets = sitesOf(base, ['linear']).flatMap(({ name }) => (all.has(name) ? [name] : []))
  return { ...o, targets, updated, masked: masked.map(({ name }) => name) }
}

/** What the options come to at `site`. Throws UsageError for a rank or a number of entries that its matrix cannot have. */
export const settings = (o: DseeOptions, site: Site): DseeSettings => {
  const { name, in: width, out, inputUnits: read } = site
  const isUpdated = o.updated?.includes(name) ?? true
  const rank = isUpdated ? o.rank : 0
  const entries = isUpdated ? o.entries : 0
  if (o.rank === 0 && o.entries === 0)
    throw new UsageError('BadOption', 'dsee: rank 0 and no entries: there is nothing to train')
  if (rank) requireRank('dsee', rank, site)
  if (entries > width * out)
    throw new UsageError(
      'TooManyEntries',
      `dsee: ${entries} entries at ${name}, whose weight is ${out} x ${width}`,
      { hint: `At most ${width * out}.` },
    )
  const losesUnits = read && (read.unit === 1 ? o.hidden > 0 : o.heads > 0)
  return {
    in: width,
    out,
    rank,
    entries,
    scale: o.rank ? o.alpha / o.rank : 1,
    dropout: o.dropout,
    omega: { kind: o.omega, threshold: o.omegaThreshold, rounds: o.omegaRounds, growth: o.omegaGrowth },
    masked: o.masked?.includes(name) ?? false,
    units: losesUnits ? width / read.unit : 0,
    coefficients: o.coefficients,
  }
}
