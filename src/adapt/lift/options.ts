/** @file Options of LIFT, and what they come to at each module. */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import type { Site } from '../../models/sites.js'
import { type EntrySettings, type MaskKind, maskKinds } from '../../sparse/index.js'
import type { Batch } from '../../train/index.js'
import { type CommonOptions, commonOptions } from '../core/spec.js'

/** Options of `lift`. */
export interface LiftOptions extends CommonOptions {
  /** Share of a matrix's entries that trains. Default 0.05. */
  readonly density: number
  /** Rank R of the LoRA that has as many numbers, R (in + out); in place of the density. */
  readonly rank?: number
  /** Rank q of the approximation. Default an eighth of a matrix's smaller side, at most 128. */
  readonly filterRank?: number
  /** Ranking of the entries. Default 'principal'; 'gradient' and 'movement' look at `calibration` first. */
  readonly mask: MaskKind
  /** End of the ranking that trains. Default 'largest'. */
  readonly order: 'largest' | 'smallest'
  /** Steps after which the entries are chosen anew. Default 400. */
  readonly refresh: number | 'never'
  /** Decomposition of the weights: a sketch, or the whole. Default 'randomized'. */
  readonly svd: 'randomized' | 'exact'
  /** Batches to choose by at first; they are not saved. */
  readonly calibration?: readonly Batch[]
  /** Entries that train at first, by module: flat in [out, in], ascending. Default: chosen. */
  readonly masks?: Readonly<Record<string, Int32Array>>
  /** Entries that a saved adapter holds, by module: how many train or were ever changed. */
  readonly entries?: Readonly<Record<string, number>>
}

/** What the options come to at one module. */
export interface LiftSettings extends EntrySettings {
  /** Logical matrices of the weight, one after the other along its outputs: of a fused one several. */
  readonly matrices: readonly LiftMatrix[]
}

/** A matrix whose entries are ranked by themselves. */
export interface LiftMatrix {
  /** First of its outputs in the weight. */
  readonly offset: number
  /** How many outputs it has. */
  readonly rows: number
  /** Number k of entries that train. */
  readonly count: number
  /** Rank q. */
  readonly filterRank: number
}

/** The schema of `LiftOptions`. */
export const options = commonOptions.extend({
  density: z.number().min(0).max(1).default(0.05).describe('share of the entries that trains'),
  rank: z
    .number()
    .int()
    .positive()
    .optional()
    .describe('as many entries as a LoRA of this rank (not density)'),
  filterRank: z
    .number()
    .int()
    .positive()
    .optional()
    .describe(
      'rank that weights are reduced to before they are ranked (an eighth of the smaller side, to 128)',
    ),
  mask: z.enum(maskKinds).default('principal').describe('what entries are ranked by'),
  order: z.enum(['largest', 'smallest']).default('largest').describe('which end of that order trains'),
  refresh: z
    .union([z.number().int().positive(), z.literal('never')])
    .default(400)
    .describe('steps after which the entries are chosen anew'),
  svd: z.enum(['randomized', 'exact']).default('randomized').describe('how weights are reduced'),
  calibration: z.custom<readonly Batch[]>(Array.isArray).optional(),
  masks: z.custom<Readonly<Record<string, Int32Array>>>((x) => typeof x === 'object').optional(),
  entries: z.custom<Readonly<Record<string, number>>>((x) => typeof x === 'object').optional(),
})

/** A site's weight cut into its logical matrices: their first outputs and how many there are. */
const cutOf = ({ out, parts = [out] }: Site): { readonly offset: number; readonly rows: number }[] => {
  let offset = 0
  return parts.map((rows) => {
    offset += rows
    return { offset: offset - rows, rows }
  })
}

const budget = ({ density, rank }: LiftOptions, { name, in: width }: Site, rows: number): number => {
  const size = width * rows
  const count = rank === undefined ? Math.floor(density * size + 1e-9) : Math.min(rank * (width + rows), size)
  if (count >= 1) return count
  throw new UsageError(
    'DensityTooSmall',
    `lift: a share of ${density} of the ${size} entries of ${name} is none`,
    { hint: `The smallest share is ${(1 / size).toPrecision(3)}.` },
  )
}

const reducedTo = ({ filterRank }: LiftOptions, { name, in: width }: Site, rows: number): number => {
  const side = Math.min(width, rows)
  if (filterRank === undefined) return Math.min(128, Math.ceil(side / 8))
  if (filterRank <= side) return filterRank
  throw new UsageError(
    'RankTooHigh',
    `lift: filterRank ${filterRank} at ${name}, whose weight is ${rows} x ${width}`,
    { hint: `From 1 to ${side}; ${side} ranks by magnitude alone (mask: magnitude).` },
  )
}

/** What the options come to at `site`. Throws UsageError for a share that is no entry and a rank that its matrix cannot have. */
export const settings = (o: LiftOptions, site: Site): LiftSettings => {
  const matrices = cutOf(site).map(({ offset, rows }) => ({
    offset,
    rows,
    count: budget(o, site, rows),
    filterRank: reducedTo(o, site, rows),
  }))
  return {
    count: o.entries?.[site.name] ?? matrices.reduce((sum, { count }) => sum + count, 0),
    matrices,
    first: o.masks?.[site.name],
    refreshed: o.refresh !== 'never' && o.entries === undefined,
  }
}
