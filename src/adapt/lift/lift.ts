/**
 * @file LIFT (Liu et al. 2025, arXiv 2506.00772) and sparse tuning by other masks: of each matrix W the k entries train
 * that are largest in its best approximation of rank q. The model's parameters are these entries alone, packed: their
 * values, which the optimiser keeps packed moments of, and their indices, an input of the program. Every T steps the mask
 * is found anew in the present weights: entries that leave keep their values, those that stay their moments, new ones
 * begin with none. Shapes stay as they are, so nothing is compiled again.
 */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import type { JsonObject } from '../../checkpoint/index.js'
import type { Model } from '../../models/index.js'
import { type Tensor, value, type Value } from '../../tensor/index.js'
import type { Batch, Taken, Training, TrainingState } from '../../train/index.js'
import { adapter } from '../core/adapter.js'
import { baseTensor, transposed } from '../../models/stored.js'
import { requireBatches, weightGradients } from '../../observe/calibration.js'
import { ownWeight } from '../core/initial.js'
import { card } from './card.js'
import { byGradient, maskKinds, type MaskKind, maskOf, migrated } from '../../sparse/mask.js'
import { type Site, targetSites } from '../../models/sites.js'
import {
  type AdapterMethod,
  type AdapterSpec,
  type CommonOptions,
  commonOptions,
  type Exported,
  type Named,
  type ParameterSpec,
  type Plan,
} from '../core/spec.js'

export interface LiftOptions extends CommonOptions {
  /** Share of a matrix's entries that trains. Default 0.05. */
  readonly density: number
  /** R: in place of the density as many entries as a LoRA of this rank has, R (in + out). */
  readonly rank?: number
  /** q. Default an eighth of a matrix's smaller side, at most 128. */
  readonly filterRank?: number
  /** What entries are ranked by. Default 'principal'; 'gradient' and 'movement' look at `calibration` first. */
  readonly mask: MaskKind
  /** Default 'largest'. */
  readonly order: 'largest' | 'smallest'
  /** Steps after which the mask is found anew. Default 400. */
  readonly refresh: number | 'never'
  /** Default 'randomized'. */
  readonly svd: 'randomized' | 'exact'
  /** Batches to choose by at first; they are not saved. */
  readonly calibration?: readonly Batch[]
  /** By module the entries that train at first, flat in [out, in] and ascending, where they are known already. */
  readonly masks?: Readonly<Record<string, Int32Array>>
  /** By module how many entries a saved adapter holds: those of its mask, and all others that were ever changed. */
  readonly entries?: Readonly<Record<string, number>>
}

/** What the options come to at one module. */
export interface LiftSettings {
  /** k. */
  readonly count: number
  /** q. */
  readonly filterRank: number
  readonly first?: Int32Array
  /** Whether the mask may change, so that the present weights are kept whole. */
  readonly refreshed: boolean
}

const options = commonOptions.extend({
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

const budget = ({ density, rank }: LiftOptions, { name, in: width, out }: Site): number => {
  const size = width * out
  const count = rank === undefined ? Math.floor(density * size + 1e-9) : Math.min(rank * (width + out), size)
  if (count >= 1) return count
  throw new UsageError(
    'DensityTooSmall',
    `lift: a share of ${density} of the ${size} entries of ${name} is none`,
    {
      hint: `The smallest share is ${(1 / size).toPrecision(3)}.`,
    },
  )
}

const reducedTo = ({ filterRank }: LiftOptions, { name, in: width, out }: Site): number => {
  const side = Math.min(width, out)
  if (filterRank === undefined) return Math.min(128, Math.ceil(side / 8))
  if (filterRank <= side) return filterRank
  throw new UsageError(
    'RankTooHigh',
    `lift: filterRank ${filterRank} at ${name}, whose weight is ${out} x ${width}`,
    {
      hint: `From 1 to ${side}; ${side} ranks by magnitude alone (mask: magnitude).`,
    },
  )
}

const settings = (o: LiftOptions, site: Site): LiftSettings => ({
  count: o.entries?.[site.name] ?? budget(o, site),
  filterRank: reducedTo(o, site),
  first: o.masks?.[site.name],
  refreshed: o.refresh !== 'never' && o.entries === undefined,
})

const outIn = ({ transposed: turned }: Site, v: Value): Value => (turned ? transposed(v) : v)

/** The mask of each site for weights `current`, as [out, in], at step `step`. */
const masksFor = async (
  base: Model,
  sites: readonly Site[],
  o: LiftOptions,
  current: (site: Site) => Promise<Value>,
  { step, batches }: { readonly step: number; readonly batches?: readonly Batch[] },
): Promise<Map<string, Int32Array>> => {
  const weights = new Map<string, Value>()
  for (const site of sites) weights.set(site.name, await current(site))
  const gradients = byGradient.has(o.mask)
    ? await gradientsAt(base, sites, weights, requireBatches('lift', o.mask, batches))
    : undefined
  const masks = new Map<string, Int32Array>()
  for (const site of sites) {
    const { name, in: columns, out: rows } = site
    const data = weights.get(name)!.data as Float32Array
    const { count, filterRank } = settings(o, site)
    // The sketch is the same each time, so that weights that stay have the mask that they had.
    const seed = `${o.seed ?? 0}/lift/${name}${o.mask === 'random' ? `/${step}` : ''}`
    const scored = { name, rows, columns, data, gradient: gradients?.get(name) }
    masks.set(name, await maskOf(scored, count, { ...o, filterRank, seed }))
  }
  return masks
}

/** ∂L/∂W of each site as [out, in], flat. */
const gradientsAt = async (
  base: Model,
  sites: readonly Site[],
  weights: ReadonlyMap<string, Value>,
  batches: readonly Batch[],
): Promise<Map<string, ArrayLike<number>>> => {
  const own = sites.map((site) => [`${site.name}.weight`, outIn(site, weights.get(site.name)!)] as const)
  const found = await weightGradients(base, Object.fromEntries(own), batches)
  return new Map(
    sites.map((site) => {
      const { shape } = own.find(([name]) => name === `${site.name}.weight`)![1]
      const g = value(Float32Array.from(found.get(`${site.name}.weight`)!), shape, 'float32')
      return [site.name, outIn(site, g).data as Float32Array]
    }),
  )
}

const keys = { values: 'lift_values', indices: 'lift_indices', weight: 'lift_weight' } as const
const int32 = (data: Int32Array): Value => value(data, [data.length], 'int32')
const float32 = (data: Float32Array): Value => value(data, [data.length], 'float32')
const taken = (data: ArrayLike<number>, at: Int32Array): Float32Array => Float32Array.from(at, (i) => data[i])

/** A copy of `data` with `values` at `at`. */
const placed = (data: ArrayLike<number>, at: ArrayLike<number>, values: ArrayLike<number>): Float32Array => {
  const out = Float32Array.from(data)
  for (let i = 0; i < at.length; i++) out[at[i]] = values[i]
  return out
}

/** What a site's parameters hold. */
const readSite = async (
  { name }: Site,
  parameters: Readonly<Record<string, Value>>,
): Promise<{ values: Float32Array; indices: Int32Array; weight?: Float32Array }> => {
  const read = async (key: string): Promise<unknown> => parameters[`${name}.${key}`]?.read()
  return {
    values: (await read(keys.values)) as Float32Array,
    indices: (await read(keys.indices)) as Int32Array,
    weight: (await read(keys.weight)) as Float32Array | undefined,
  }
}

/** Finds the masks anew in the present weights, and moves values and moments to where they now belong. */
const refresh = async (
  plan: Plan,
  o: LiftOptions,
  state: TrainingState,
  { batches }: Taken,
): Promise<void> => {
  const sites = plan.sites.map(({ site }) => site)
  const before = new Map<string, Int32Array>()
  const current = async (site: Site): Promise<Value> => {
    const { values, indices, weight } = await readSite(site, state.parameters)
    before.set(site.name, indices)
    return value(placed(weight!, indices, values), [site.out, site.in], 'float32')
  }
  const weights = new Map<string, Value>()
  const kept = async (site: Site): Promise<Value> => {
    const w = weights.get(site.name) ?? (await current(site))
    weights.set(site.name, w)
    return w
  }
  const masks = await masksFor(plan.base, sites, o, kept, { step: state.step, batches })
  for (const { name } of sites) {
    const [old, mask, w] = [before.get(name)!, masks.get(name)!, weights.get(name)!]
    state.parameters[`${name}.${keys.weight}`] = w
    state.parameters[`${name}.${keys.indices}`] = int32(mask)
    state.parameters[`${name}.${keys.values}`] = float32(taken(w.data as Float32Array, mask))
    for (const [i, slots] of state.optimizers.entries()) {
      const own = slots[`${name}.${keys.values}`]
      if (!own) continue
      const moved: Record<string, Value> = {}
      for (const [slot, v] of Object.entries(own))
        moved[slot] = float32(migrated((await v.read()) as Float32Array, old, mask))
      state.optimizers[i] = { ...state.optimizers[i], [`${name}.${keys.values}`]: moved }
    }
  }
}

const training = (plan: Plan, o: LiftOptions): Training => ({
  async between(state, step) {
    const { refresh: every } = o
    if (every === 'never' || o.entries || state.step % every !== 0 || state.step >= step.steps) return
    await refresh(plan, o, state, step)
  },
})

/** Every entry of the mask, and behind them those that differ from the base all the same. */
const sparse = async (
  plan: Plan,
  parameters: Readonly<Record<string, Value>>,
  o: LiftOptions,
): Promise<Exported<LiftOptions>> => {
  const entries: Record<string, number> = {}
  const own: Record<string, Value> = {}
  for (const { site } of plan.sites) {
    const { values, indices, weight } = await readSite(site, parameters)
    const base = outIn(site, await baseTensor(plan.base, `${site.name}.weight`)).data as Float32Array
    const inMask = new Set(indices)
    const left = weight
      ? Int32Array.from(base.keys()).filter((i) => weight[i] !== base[i] && !inMask.has(i))
      : new Int32Array()
    const [at, numbers] = [Int32Array.of(...indices), Float32Array.from(values)]
    const all = new Int32Array(at.length + left.length)
    all.set(at)
    all.set(left, at.length)
    const packed = new Float32Array(all.length)
    packed.set(numbers)
    packed.set(taken(weight ?? [], left), at.length)
    entries[site.name] = all.length
    own[`${site.name}.${keys.values}`] = float32(packed)
    own[`${site.name}.${keys.indices}`] = int32(all)
  }
  const whole = plan.whole.map((name) => [name, parameters[name]] as const)
  return { options: { ...o, entries }, parameters: { ...own, ...Object.fromEntries(whole) } }
}

/** W with the trained entries in it. W: [out, in]. */
const tuned = (W: Tensor, { values, indices }: Named<Tensor>): Tensor =>
  W.reshape([W.size]).scatter(indices, values).reshape(W.shape)

/** What LIFT says of itself; other ways to choose entries change the choice alone. */
export const liftSpec: AdapterSpec<LiftOptions, LiftSettings> = {
  paper: card,
  peftType: 'LIFT',
  options,
  size: { option: 'density', kind: 'share' },
  kinds: ['linear'],
  defaultTargets: () => 'all-linear',
  async resolve(base, o) {
    if (o.masks) return o
    const sites = targetSites('lift', base, ['linear'], { ...o, targets: o.targets ?? 'all-linear' })
    const own = async (site: Site): Promise<Value> =>
      outIn(site, await baseTensor(base, `${site.name}.weight`))
    const masks = await masksFor(base, sites, o, own, { step: 0, batches: o.calibration })
    return { ...o, masks: Object.fromEntries(masks) }
  },
  settings,
  parameters({ in: width, out }, { count, first, refreshed }): Named<ParameterSpec> {
    const shape = [count]
    const weight = { key: keys.weight, shape: [out, width], axes: ['out', 'in'], initial: ownWeight } as const
    return {
      values: {
        key: keys.values,
        shape,
        initial: async ({ weight }) => float32(taken((await weight()).data as Float32Array, first!)),
      },
      indices: { key: keys.indices, shape, initial: () => int32(first!), still: true },
      ...(refreshed && { weight: { ...weight, still: true } }),
    }
  },
  linear(_, x, p, __, { weight, bias }) {
    const y = x.matmul(tuned(p.weight ?? weight(), p).t())
    const b = bias()
    return b ? y.add(b) : y
  },
  fold: (W, p) => tuned(p.weight ?? W, p),
  training,
  export: sparse,
  toPeft: ({ density, rank, filterRank, mask, order, refresh, svd, entries }) => ({
    density,
    r: rank ?? null,
    filter_rank: filterRank ?? null,
    mask,
    order,
    refresh,
    svd,
    entries: { ...entries },
  }),
  fromPeft(json: JsonObject) {
    const { density, r, filter_rank: q, mask, order, refresh, svd, entries } = json
    const given = {
      density,
      mask,
      order,
      refresh,
      svd,
      entries,
      rank: r ?? undefined,
      filterRank: q ?? undefined,
    }
    return given as unknown as Omit<LiftOptions, keyof CommonOptions>
  },
  ignoredKeys: [],
}

/**
 * Sparse tuning on `base`, a checkpoint or an open model: a model whose parameters are the chosen entries of every target,
 * by default all linear modules but the head. Throws UsageError for a share that is no entry and a filter rank that a
 * matrix cannot have, CheckpointError for weights that are not finite.
 */
export const lift: AdapterMethod<LiftOptions> = adapter(liftSpec)
