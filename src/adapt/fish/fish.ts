/**
 * @file FISH mask (Sung et al. 2021, arXiv 2111.09839): of all entries of all adapted matrices those k train whose squared
 * gradient, a mean over samples (the diagonal of the empirical Fisher information), is largest; the choice stays. The entries
 * are packed as LIFT packs them.
 */
import { z } from 'zod'
import type { JsonObject } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import type { Model } from '../../models/index.js'
import { type Value, value } from '../../tensor/index.js'
import type { Batch } from '../../train/index.js'
import { adapter } from '../core/adapter.js'
import { baseTensor, transposed } from '../../models/stored.js'
import { requireBatches, weightGradients } from '../../observe/calibration.js'
import { card } from './card.js'
import { type LiftOptions, type LiftSettings, liftSpec } from '../lift/lift.js'
import { type Site, targetSites } from '../../models/sites.js'
import { type AdapterMethod, type AdapterSpec, type CommonOptions, commonOptions } from '../core/spec.js'

export interface FishOptions extends CommonOptions {
  /** Share of all adapted entries that trains. Default 0.005. */
  readonly density: number
  /** Batches whose rows are the samples to choose by (the paper: 128 and more); they are not saved. */
  readonly calibration?: readonly Batch[]
  /** By module the entries that train, flat in [out, in] and ascending, where they are known already. */
  readonly masks?: Readonly<Record<string, Int32Array>>
  /** By module how many entries a saved adapter holds. */
  readonly entries?: Readonly<Record<string, number>>
}

const options: z.ZodObject = commonOptions.extend({
  density: z.number().gt(0).max(1).default(0.005).describe('share of all adapted entries that trains'),
  calibration: z.custom<readonly Batch[]>(Array.isArray).optional(),
  masks: z.custom<Readonly<Record<string, Int32Array>>>((x) => typeof x === 'object').optional(),
  entries: z.custom<Readonly<Record<string, number>>>((x) => typeof x === 'object').optional(),
})

/** Each row of a batch as a batch of one. */
const rowsOf = (batch: Batch): Batch[] => {
  const [{ shape }] = Object.values(batch)
  return Array.from({ length: shape[0] }, (_, row) =>
    Object.fromEntries(
      Object.entries(batch).map(
        ([
          name,
          {
            data,
            dtype,
            shape: [count, ...rest],
          },
        ]) => {
          const size = data.length / count
          return [name, value(data.slice(row * size, (row + 1) * size), [1, ...rest], dtype)]
        },
      ),
    ),
  )
}

/** The mean squared gradient of every entry of the sites' weights, each as [out, in]. */
const fisher = async (
  base: Model,
  sites: readonly Site[],
  batches: readonly Batch[],
): Promise<Map<string, Float64Array>> => {
  const names = sites.map(({ name }) => `${name}.weight`)
  const tensors: Record<string, Value> = {}
  for (const name of names) tensors[name] = await baseTensor(base, name)
  const sums = new Map(sites.map((site) => [site.name, new Float64Array(site.in * site.out)]))
  const samples = batches.flatMap(rowsOf)
  for (const sample of samples) {
    const gradients = await weightGradients(base, tensors, [sample])
    for (const site of sites) {
      const weight = `${site.name}.weight`
      const g = value(Float32Array.from(gradients.get(weight)!), tensors[weight].shape, 'float32')
      const { data } = site.transposed ? transposed(g) : g
      sums.get(site.name)!.forEach((sum, i, all) => (all[i] = sum + Number(data[i]) ** 2 / samples.length))
    }
  }
  return sums
}

/** Which `count` entries of all scores are largest, by site and ascending; every site keeps its best one. */
export const largestOfAll = (
  scores: ReadonlyMap<string, Float64Array>,
  count: number,
): Record<string, Int32Array> => {
  const order = [...scores].flatMap(([name, own]) => Array.from(own, (score, i) => ({ name, i, score })))
  order.sort((a, b) => b.score - a.score)
  const chosen = new Map([...scores.keys()].map((name) => [name, [] as number[]]))
  for (const { name, i } of order.slice(0, count)) chosen.get(name)!.push(i)
  for (const { name, i } of order) if (chosen.get(name)!.length === 0) chosen.get(name)!.push(i)
  return Object.fromEntries(
    [...chosen].map(([name, own]) => [name, Int32Array.from(own).sort((a, b) => a - b)]),
  )
}

const spec: AdapterSpec<FishOptions, LiftSettings> = {
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
    return { ...o, masks: largestOfAll(await fisher(base, sites, samples), count) }
  },
  settings: (o, { name }) => {
    const first = o.masks?.[name]
    return { count: o.entries?.[name] ?? first?.length ?? 0, filterRank: 0, first, refreshed: false }
  },
  parameters: liftSpec.parameters,
  linear: liftSpec.linear,
  fold: liftSpec.fold,
  async export(plan, parameters, o) {
    const { options: changed, parameters: own } = await liftSpec.export!(
      plan,
      parameters,
      o as unknown as LiftOptions,
    )
    return { options: { entries: changed.entries }, parameters: own }
  },
  toPeft: ({ density, entries }) => ({ density, entries: { ...entries } }),
  fromPeft: ({ density, entries }: JsonObject) => ({
    density: density as number,
    entries: entries as Record<string, number>,
  }),
  ignoredKeys: [],
}

/**
 * FISH mask on `base`, a checkpoint or an open model: a model whose parameters are the chosen entries of every target, by
 * default all linear modules but the head. Throws UsageError where there is nothing to choose by (`calibration`), and for a
 * share that is less than an entry a module.
 */
export const fish: AdapterMethod<FishOptions> = adapter(spec)
