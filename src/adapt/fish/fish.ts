/**
 * @file FISH mask (Sung et al. 2021, arXiv 2111.09839): of all entries of all adapted matrices those k train whose squared
 * gradient, a mean over samples (the diagonal of the empirical Fisher information), is largest; the choice stays.
 */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import type { Model } from '../../models/index.js'
import type { Site } from '../../models/sites.js'
import { targetSites } from '../../models/targets.js'
import { baseTensor, transposed } from '../../models/stored.js'
import { requireBatches, weightGradients } from '../../observe/index.js'
import {
  entryParameters,
  type EntrySettings,
  exportedEntries,
  largestOfPool,
  tuned,
  tunedLinear,
} from '../../sparse/index.js'
import { type Value, value } from '../../tensor/index.js'
import type { Batch } from '../../train/index.js'
import { adapter } from '../core/adapter.js'
import { type AdapterMethod, type AdapterSpec, type CommonOptions, commonOptions } from '../core/spec.js'
import { card } from './card.js'

/** Options of `fish`. */
export interface FishOptions extends CommonOptions {
  /** Share of all adapted entries that trains. Default 0.005. */
  readonly density: number
  /** Batches whose rows are the samples to choose by (the paper: 128 and more); they are not saved. */
  readonly calibration?: readonly Batch[]
  /** Entries that train, by module: flat in [out, in], ascending. Default: chosen. */
  readonly masks?: Readonly<Record<string, Int32Array>>
  /** Entries that a saved adapter holds, by module. */
  readonly entries?: Readonly<Record<string, number>>
}

const options: z.ZodObject = commonOptions.extend({
  density: z.number().gt(0).max(1).default(0.005).describe('share of all adapted entries that trains'),
  calibration: z.custom<readonly Batch[]>(Array.isArray).optional(),
  masks: z.custom<Readonly<Record<string, Int32Array>>>((x) => typeof x === 'object').optional(),
  entries: z.custom<Readonly<Record<string, number>>>((x) => typeof x === 'object').optional(),
})

/** The rows of a batch, each as a batch of one. */
const samplesOf = (batch: Batch): Batch[] => {
  const [{ shape }] = Object.values(batch)
  const rowOf = (v: Value, row: number): Value => {
    const [count, ...rest] = v.shape
    const size = v.data.length / count
    return value(v.data.slice(row * size, (row + 1) * size), [1, ...rest], v.dtype)
  }
  return Array.from({ length: shape[0] }, (_, row) =>
    Object.fromEntries(Object.entries(batch).map(([name, v]) => [name, rowOf(v, row)])),
  )
}

/** The mean over samples of the squared gradient at each of the sites' weights, by module as [out, in], flat. */
const fisher = async (
  base: Model,
  sites: readonly Site[],
  batches: readonly Batch[],
): Promise<Map<string, Float32Array>> => {
  const weights: Record<string, Value> = {}
  for (const { name } of sites) weights[`${name}.weight`] = await baseTensor(base, `${name}.weight`)
  const byTensor = new Map(sites.map((site) => [`${site.name}.weight`, site]))
  const scores = new Map<string, Float32Array>()
  const samples = batches.flatMap(samplesOf)
  const squares = weightGradients(base, weights, samples, { of: (gradient) => gradient.square() })
  for await (const [tensor, mean] of squares) {
    const { name, transposed: turned } = byTensor.get(tensor)!
    const score = value(Float32Array.from(mean), weights[tensor].shape, 'float32')
    scores.set(name, (turned ? transposed(score) : score).data as Float32Array)
  }
  return scores
}

/** The `count` entries of all scores that are largest, by site and ascending; a site that has none of them gets its best one. */
export const chosenEntries = (
  scores: ReadonlyMap<string, Float32Array>,
  count: number,
): Record<string, Int32Array> => {
  const chosen = largestOfPool([...scores.values()], count)
  const withOne = ([name, scored]: [string, Float32Array], i: number): [string, Int32Array] => [
    name,
    chosen[i].length ? chosen[i] : largestOfPool([scored], 1)[0],
  ]
  return Object.fromEntries([...scores].map(withOne))
}

const spec: AdapterSpec<FishOptions, EntrySettings> = {
  paper: card,
  peftType: 'FISH_MASK',
  options,
  size: { option: 'density', kind: 'share' },
  kinds: ['linear'],
  defaultTargets: () => 'all-linear',
  async resolve(base, o) {
    if (o.masks) return o
    const sites = targetSites('fish', base, ['linear'], { ...o, targets: o.targets ?? 'all-linear' })
    const samples = requireBatches('fish', 'the Fisher information', o.calibration)
    const size = sites.reduce((sum, site) => sum + site.in * site.out, 0)
    const count = Math.floor(o.density * size + 1e-9)
    if (count < sites.length)
      throw new UsageError(
        'DensityTooSmall',
        `fish: a share of ${o.density} of ${size} entries is less than one for each of ${sites.length} modules`,
        { hint: `The smallest share is ${(sites.length / size).toPrecision(3)}.` },
      )
    return { ...o, masks: chosenEntries(await fisher(base, sites, samples), count) }
  },
  settings: (o, { name }) => {
    const first = o.masks?.[name]
    return { count: o.entries?.[name] ?? first?.length ?? 0, first, refreshed: false }
  },
  parameters: entryParameters,
  linear: (_, x, p, __, context) => tunedLinear(x, p, context),
  fold: tuned,
  async export({ base, sites, whole }, parameters) {
    const all = sites.map(({ site }) => site)
    const { counts, parameters: own } = await exportedEntries(base, all, parameters)
    for (const name of whole) own[name] = parameters[name]
    return { options: { entries: counts }, parameters: own }
  },
  peft: { keys: { density: 'density', entries: 'entries' } },
}

/**
 * FISH mask on `base`, a checkpoint or an open model: a model whose parameters are the chosen entries of every target, by
 * default all linear modules but the head. Throws UsageError where there is nothing to choose by (`calibration`), and for a
 * share that is less than an entry a module.
 */
export const fish: AdapterMethod<FishOptions> = adapter(spec)
