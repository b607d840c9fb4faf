/**
 * @file DSEE (Chen et al. 2021, arXiv 2111.00160): W * S₁ + s (U V + S₂), s = α / r. The update is of low rank and free in N
 * entries more, whose places Ω are found in W before training. At a step of training the base is pruned, by single entries
 * (S₁) or by whole heads and hidden channels; the rest of the run tunes U, V and S₂ with what is left. Masks are inputs of
 * the program from the start, so nothing is compiled again; folded, a model without heads and channels is smaller.
 */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import type { Model } from '../../models/index.js'
import { concat, oneHot, tensor, type Tensor, value, zeros as zerosTensor } from '../../tensor/index.js'
import type { Training } from '../../train/index.js'
import { adapter } from '../core/adapter.js'
import { cutConfig, type UnitGroup } from '../../units/index.js'
import { card } from './card.js'
import {
  foundMasks,
  isPruned,
  keys,
  prunedReaders,
  type PruningOptions,
  removedFrom,
  unitsLeft,
  zerosLost,
} from './masks.js'
import { omegaKinds, omegaOf, type OmegaKind, type OmegaOptions } from './omega.js'
import { scoreKinds, type ScoreKind } from './pruning.js'
import { normalWith, ones, zeros } from '../core/initial.js'
import { requireRank, type Site, sitesOf } from '../../models/sites.js'
import { targetSites } from '../../models/targets.js'
import {
  type AdaptedModel,
  type AdapterMethod,
  type AdapterSpec,
  type CommonOptions,
  commonOptions,
  moduleNames,
  type LoraFactors,
  type Named,
  type ParameterSpec,
  type Plan,
  type SiteContext,
} from '../core/spec.js'

export interface DseeOptions extends CommonOptions, PruningOptions {
  /** r; 0 for free entries alone. Default 16. */
  readonly rank: number
  /** α: the update is scaled by α / r (by 1 where r is 0). Default 16. */
  readonly alpha: number
  /** N of each updated matrix. Default 64. */
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
  /** p: the share of the base's entries that single pruning removes. Default 0. */
  readonly sparsity: number
  /** Which modules lose entries, written as targets are. Default 'all-linear'. */
  readonly prune: string | readonly string[]
  /** One threshold for all updated modules and one for the others, or one for each module. Default 'pool'. */
  readonly threshold: 'pool' | 'matrix'
  /** Query heads that every layer loses. Default 0. */
  readonly heads: number
  /** Share of its MLP's hidden channels that every layer loses. Default 0. */
  readonly hidden: number
  /** What is removed is least by this. Default 'weight'. */
  readonly score: ScoreKind
  /** The share of the run's steps after which the base is pruned. Default 0.6. */
  readonly pruneAt: number
  /** Modules with an update, and those with S₁, by their names: what a new adapter finds where it prunes. */
  readonly updated?: readonly string[]
  readonly masked?: readonly string[]
}

/** What the options come to at one module. */
export interface DseeSettings {
  readonly in: number
  readonly out: number
  /** r and N; both 0 at a module that is pruned alone. */
  readonly rank: number
  readonly entries: number
  readonly scale: number
  readonly dropout: number
  readonly omega: OmegaOptions
  /** It has S₁. */
  readonly masked: boolean
  /** How many heads or hidden channels enter it that may go; 0 for none. */
  readonly units: number
}

const share = z.number().min(0).lt(1)
const count = z.number().int().positive()
const names = z.custom<readonly string[] | undefined>((x) => x === undefined || Array.isArray(x)).optional()

const options: z.ZodObject = commonOptions.extend({
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
  pruneAt: z.number().gt(0).max(1).default(0.6).describe('share of the steps after which to prune'),
  updated: names,
  masked: names,
})

/** Whether anything is to be pruned. */
const prunes = ({ sparsity, heads, hidden }: DseeOptions): boolean => sparsity > 0 || heads > 0 || hidden > 0

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

const resolve = (base: Model, o: DseeOptions): DseeOptions => {
  if (o.updated || !prunes(o)) return o
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

const settings = (o: DseeOptions, site: Site): DseeSettings => {
  const { name, in: width, out, inputUnits: read } = site
  const isUpdated = o.updated?.includes(name) ?? true
  const [rank, entries] = isUpdated ? [o.rank, o.entries] : [0, 0]
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
  }
}

const parameters = (_: Site, s: DseeSettings): Named<ParameterSpec> => ({
  ...(s.rank && {
    V: { key: keys.V, shape: [s.rank, s.in], initial: normalWith(0.02) },
    U: { key: keys.U, shape: [s.out, s.rank], initial: zeros },
  }),
  ...(s.entries && {
    values: { key: keys.values, shape: [s.entries], initial: zeros },
    indices: {
      key: keys.indices,
      shape: [s.entries],
      still: true,
      initial: async ({ weight, key }) => {
        const { data, shape } = await weight()
        const omega = await omegaOf({ data: data as Float32Array, shape }, s.entries, key, s.omega)
        return value(omega, [s.entries], 'int32')
      },
    },
  }),
  ...(s.masked && {
    mask: {
      key: keys.mask,
      shape: [Math.ceil((s.in * s.out) / 8)],
      still: true,
      initial: ({ shape }) => value(new Uint8Array(shape[0]).fill(255), shape, 'uint8'),
    },
  }),
  ...(s.units && { units: { key: keys.units, shape: [s.units], initial: ones, still: true } }),
})

/** S₁ as numbers, from its bits: [out, in]. */
const unpacked = (bits: Tensor, { in: width, out }: DseeSettings): Tensor =>
  bits
    .cast('int32')
    .unsqueeze(1)
    .div(tensor([1, 2, 4, 8, 16, 32, 64, 128], [1, 8], 'int32'))
    .mod(2)
    .reshape([-1])
    .slice(0, 0, width * out)
    .reshape([out, width])
    .cast('float32')

/** 1 for entries of the input that are of units that stay, else 0: [in]. */
const inputsKept = ({ units }: Named<Tensor>, { in: width, units: count }: DseeSettings): Tensor =>
  units
    .unsqueeze(1)
    .expand([count, width / count])
    .reshape([width])

/** s (U V + S₂): [out, in]; undefined at a module that is pruned alone. */
const updateOf = ({ U, V, values, indices }: Partial<Named<Tensor>>, s: DseeSettings): Tensor | undefined => {
  const shape = [s.out, s.in]
  const dense = U && V && U.matmul(V)
  if (!values || !indices) return dense?.mul(s.scale)
  const onto = dense ?? zerosTensor(shape)
  return onto
    .reshape([s.out * s.in])
    .scatter(indices, values, { add: true })
    .reshape(shape)
    .mul(s.scale)
}

/** What is left of the base: y where nothing can be gone. y: [..., out]; x: [..., in], without the units that are. */
const ofBase = (
  y: Tensor,
  x: Tensor,
  { mask, units }: Partial<Named<Tensor>>,
  s: DseeSettings,
  { weight, bias, base }: SiteContext,
): Tensor => {
  if (!mask) return units ? base(x) : y
  const dense = x.matmul(weight().mul(unpacked(mask, s)).t())
  const b = bias()
  return b ? dense.add(b) : dense
}

/** y with the update's output added: x to V and U, and the free entries one by one. y: [..., out]; x: [..., in]. */
const updated = (
  y: Tensor,
  x: Tensor,
  { U, V, values, indices }: Partial<Named<Tensor>>,
  s: DseeSettings,
): Tensor => {
  const lowRank = U && V ? y.add(x.matmul(V.t()).matmul(U.t()).mul(s.scale)) : y
  if (!values || !indices) return lowRank
  const each = x.gather(indices.mod(s.in), -1).mul(values).mul(s.scale)
  const rows = indices.div(s.in).expand(each.shape)
  return lowRank.scatter(rows, each, { add: true })
}

/** A and B of the update with the free entries as one-hot rows of A; where that is more than the full rank, with B = 1. */
const asLora = ({ U, V, values, indices }: Partial<Named<Tensor>>, s: DseeSettings): LoraFactors => {
  if (s.masked || s.units)
    throw new UsageError('NoLora', 'dsee: the base is pruned too, which a LoRA beside it cannot be', {
      hint: 'Fold it into the base instead.',
    })
  const rank = s.rank + s.entries
  const full = Math.min(s.in, s.out)
  if (!values || !indices) return { A: V!, B: U!, alpha: s.scale * rank }
  if (rank > full) {
    const whole = updateOf({ U, V, values, indices }, s)!
    const one = oneHot(
      tensor(
        Array.from({ length: full }, (_, i) => i),
        [full],
        'int32',
      ),
      full,
    )
    return s.out <= s.in ? { A: whole, B: one, alpha: full } : { A: one, B: whole, alpha: full }
  }
  const A = oneHot(indices.mod(s.in), s.in)
  const B = oneHot(indices.div(s.in), s.out).t().mul(values)
  const alpha = s.scale * rank
  return U && V ? { A: concat([V, A], 0), B: concat([U, B], 1), alpha } : { A, B, alpha }
}

const training = (plan: Plan, o: DseeOptions): Training => ({
  async between(state, { steps }) {
    if (!prunes(o) || state.step !== Math.max(1, Math.round(o.pruneAt * steps))) return
    if (!(await isPruned(plan, state.parameters)))
      Object.assign(state.parameters, await foundMasks(plan, state.parameters, o))
  },
})

const spec: AdapterSpec<DseeOptions, DseeSettings> = {
  paper: card,
  peftType: 'DSEE',
  options,
  size: { option: 'rank', kind: 'count' },
  kinds: ['linear'],
  resolve: async (base, o) => resolve(base, o),
  settings,
  parameters,
  linear(y, x, p, s, context) {
    const left = p.units ? x.mul(inputsKept(p, s)) : x
    return updated(ofBase(y, left, p, s, context), context.dropout(left, s.dropout), p, s)
  },
  fold(W, p, s) {
    const masked = p.mask ? W.mul(unpacked(p.mask, s)) : W
    const update = updateOf(p, s)
    const whole = update ? masked.add(update) : masked
    return p.units ? whole.mul(inputsKept(p, s)) : whole
  },
  cut: unitsLeft,
  loses: zerosLost,
  asLora,
  training,
  peft: {
    keys: {
      r: 'rank',
      lora_alpha: 'alpha',
      lora_dropout: 'dropout',
      entries: 'entries',
      omega: 'omega',
      omega_threshold: 'omegaThreshold',
      omega_rounds: 'omegaRounds',
      omega_growth: 'omegaGrowth',
      sparsity: 'sparsity',
      prune: 'prune',
      threshold: 'threshold',
      heads: 'heads',
      hidden: 'hidden',
      score: 'score',
      prune_at: 'pruneAt',
      // None is not the same as not said.
      updated: { option: 'updated', read: (names) => names as string[] },
      masked: { option: 'masked', read: (names) => names as string[] },
    },
  },
}

/**
 * DSEE on `base`, a checkpoint or an open model: a model whose parameters are U, V and the free entries S₂ of every target, by
 * default queries and values. What `sparsity`, `heads` and `hidden` name is pruned by `fit` at the step that `pruneAt`
 * says, once; a saved adapter that is trained on keeps its masks. Throws UsageError for a target that matches nothing, a
 * rank or a number of entries that a matrix cannot have, heads that share key heads with others, and units whose absence
 * config.json could not say.
 */
export const dsee: AdapterMethod<DseeOptions> = adapter(spec)

/**
 * The model with its base pruned now, as its options say, by its present update; as it is where that was done before.
 * Throws UsageError for a model that is no DSEE or has nothing to prune, and where a score looks at an update that is zero.
 */
export const prunedNow = async (model: AdaptedModel): Promise<AdaptedModel> => {
  const { plan, parameters: own } = model
  const o = plan.options as DseeOptions
  if (plan.method.peftType !== spec.peftType || !prunes(o))
    throw new UsageError('NothingToPrune', `${plan.method.paper.id}: this adapter does not prune`, {
      hint: 'Make one with dsee and sparsity, heads or hidden.',
    })
  if (await isPruned(plan, own)) return model
  return model.with({ ...own, ...(await foundMasks(plan, own, o)) })
}
