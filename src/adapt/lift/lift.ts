/**
 * @file LIFT (Liu et al. 2025, arXiv 2506.00772) and sparse tuning by other masks: of each matrix W the k entries train
 * that are largest in W', its best approximation of rank q. Every T steps they are chosen anew in the present weights. How
 * entries are kept, trained and moved is `sparse/entries.ts`.
 */
import type { Model } from '../../models/index.js'
import type { Site } from '../../models/sites.js'
import { targetSites } from '../../models/targets.js'
import { siteWeight, transposed } from '../../models/stored.js'
import { requireBatches, weightGradients } from '../../observe/index.js'
import {
  byGradient,
  entryParameters,
  exportedEntries,
  maskOf,
  moveEntries,
  placed,
  readEntries,
  tuned,
  tunedLinear,
} from '../../sparse/index.js'
import { value, type Value } from '../../tensor/index.js'
import type { Batch, Taken, Training, TrainingState } from '../../train/index.js'
import { adapter } from '../core/adapter.js'
import type { AdapterMethod, AdapterSpec, Plan } from '../core/spec.js'
import { card } from './card.js'
import { type LiftOptions, type LiftSettings, options, settings } from './options.js'

/** The entries of one weight that train: each of its logical matrices is ranked by itself, or the largest would take all. */
const maskFor = async (
  site: Site,
  o: LiftOptions & { readonly seed: string },
  data: Float32Array,
  gradient: Float32Array | undefined,
): Promise<Int32Array> => {
  const { name, in: columns } = site
  const { matrices } = settings({ ...o, entries: undefined }, site)
  const all = new Int32Array(matrices.reduce((sum, { count }) => sum + count, 0))
  let next = 0
  for (const { offset, rows, count, filterRank } of matrices) {
    const rowsOf = (values: Float32Array): Float32Array =>
      values.subarray(offset * columns, (offset + rows) * columns)
    const scored = { name, rows, columns, data: rowsOf(data), gradient: gradient && rowsOf(gradient) }
    const seed = offset === 0 ? o.seed : `${o.seed}/${offset}`
    const entries = await maskOf(scored, count, { ...o, filterRank, seed })
    for (const entry of entries) all[next++] = entry + offset * columns
  }
  return all
}

/** The entries to train of each site in its present weight, [out, in]; gradients are taken at these weights. */
const masksFor = async (
  base: Model,
  sites: readonly Site[],
  o: LiftOptions,
  weightOf: (site: Site) => Promise<Value>,
  { step, batches }: { readonly step: number; readonly batches?: readonly Batch[] },
): Promise<Record<string, Int32Array>> => {
  const masks: Record<string, Int32Array> = {}
  const choose = async (site: Site, gradient?: Float32Array): Promise<void> => {
    const data = (await weightOf(site)).data as Float32Array
    // The sketch is the same each time, so that weights that stay have the mask that they had.
    const seed = `${o.seed ?? 0}/lift/${site.name}${o.mask === 'random' ? `/${step}` : ''}`
    masks[site.name] = await maskFor(site, { ...o, seed }, data, gradient)
  }
  if (byGradient.has(o.mask)) {
    const gradients = gradientsAt(base, sites, weightOf, requireBatches('lift', o.mask, batches))
    for await (const [site, gradient] of gradients) await choose(site, gradient)
  } else for (const site of sites) await choose(site)
  return masks
}

/** ∂L/∂W of each site as [out, in], flat. */
async function* gradientsAt(
  base: Model,
  sites: readonly Site[],
  weightOf: (site: Site) => Promise<Value>,
  batches: readonly Batch[],
): AsyncGenerator<readonly [Site, Float32Array]> {
  const turned = ({ transposed: isTurned }: Site, v: Value): Value => (isTurned ? transposed(v) : v)
  const byTensor = new Map(sites.map((site) => [`${site.name}.weight`, site]))
  const weights: Record<string, Value> = {}
  for (const [tensor, site] of byTensor) weights[tensor] = turned(site, await weightOf(site))
  for await (const [tensor, mean] of weightGradients(base, weights, batches)) {
    const site = byTensor.get(tensor)!
    const gradient = value(Float32Array.from(mean), weights[tensor].shape, 'float32')
    yield [site, turned(site, gradient).data as Float32Array]
  }
}

/** Chooses the entries anew in the present weights. */
const refresh = async (
  { base, sites }: Plan,
  o: LiftOptions,
  state: TrainingState,
  { batches }: Taken,
): Promise<void> => {
  const all = sites.map(({ site }) => site)
  const weights = new Map<string, Value>()
  const before = new Map<string, Int32Array>()
  for (const { name, in: width, out } of all) {
    const { weight, ...entries } = await readEntries(name, state.parameters)
    weights.set(name, value(placed(weight!, entries), [out, width], 'float32'))
    before.set(name, entries.indices)
  }
  const weightOf = ({ name }: Site): Promise<Value> => Promise.resolve(weights.get(name)!)
  const after = await masksFor(base, all, o, weightOf, { step: state.step, batches })
  for (const { name } of all)
    await moveEntries(state, name, before.get(name)!, after[name], weights.get(name)!)
}

/** Says once that a run is over before the entries are chosen anew. */
const warnOfRefresh = (every: number, steps: number): void =>
  console.warn(
    `lift: the entries are chosen anew every ${every} steps (refresh), and the run has ${steps}: never`,
  )

const training = (plan: Plan, o: LiftOptions): Training => {
  const every = o.refresh === 'never' || o.entries ? Infinity : o.refresh
  return {
    optimizer: { betas: [0.9, 0.95], epsilon: 1e-6, weightDecay: 0 },
    inputs(state, { steps }) {
      if (state.step === 0 && every < Infinity && every >= steps) warnOfRefresh(every, steps)
      return {}
    },
    async between(state, step) {
      if (state.step % every === 0 && state.step < step.steps) await refresh(plan, o, state, step)
    },
  }
}

const spec: AdapterSpec<LiftOptions, LiftSettings> = {
  paper: card,
  peftType: 'LIFT',
  options,
  size: { option: 'density', kind: 'share' },
  kinds: ['linear'],
  defaultTargets: () => 'all-linear',
  async resolve(base, o) {
    if (o.masks) return o
    const sites = targetSites('lift', base, ['linear'], { ...o, targets: o.targets ?? 'all-linear' })
    const weightOf = (site: Site): Promise<Value> => siteWeight(base, site)
    return { ...o, masks: await masksFor(base, sites, o, weightOf, { step: 0, batches: o.calibration }) }
  },
  settings,
  parameters: entryParameters,
  linear: (_, x, p, __, context) => tunedLinear(x, p, context),
  fold: tuned,
  training,
  async export({ base, sites, whole }, parameters) {
    const all = sites.map(({ site }) => site)
    const { counts, parameters: own } = await exportedEntries(base, all, parameters)
    for (const name of whole) own[name] = parameters[name]
    return { options: { entries: counts }, parameters: own }
  },
  peft: {
    keys: {
      density: 'density',
      r: 'rank',
      filter_rank: 'filterRank',
      mask: 'mask',
      order: 'order',
      refresh: 'refresh',
      svd: 'svd',
      entries: 'entries',
    },
  },
}

/**
 * Sparse tuning on `base`, a checkpoint or an open model: a model whose parameters are the chosen entries of every target,
 * by default all linear modules but the head. Throws UsageError for a share that is no entry and a filter rank that a
 * matrix cannot have, CheckpointError for weights that are not finite.
 */
export const lift: AdapterMethod<LiftOptions> = adapter(spec)
