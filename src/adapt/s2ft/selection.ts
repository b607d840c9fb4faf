/** @file Which heads and channels S2FT trains: units of the targets' matrices, ranked over all layers together or in each. */
import { UsageError } from '../../errors.js'
import type { Model } from '../../models/index.js'
import { Stream } from '../../random/index.js'
import type { Batch } from '../../train/index.js'
import { baseTensor, transposed } from '../../models/stored.js'
import { meanActivations, requireBatches, weightGradients } from '../../observe/calibration.js'
import { type Site, sitesOf } from '../../models/sites.js'
import { type UnitAxis, unitsAlong } from '../../units/index.js'

/** By what units are ranked: S2FT-R, -W, -A, -S (weight times activation) and -G of the paper. */
export const selections = ['random', 'weight', 'activation', 'score', 'gradient'] as const
export type Selection = (typeof selections)[number]

/** The units of a target. Throws UsageError for a module neither of whose sides is made of heads or channels. */
export const requireUnits = (site: Site): UnitAxis => {
  const units = unitsAlong(site)
  if (units) return units
  throw new UsageError(
    'NoUnits',
    `s2ft: neither the inputs nor the outputs of ${site.name} are heads or channels that other matrices share`,
    {
      hint: 'Choose among the matrices of attention and MLPs: down_proj, up_proj, o_proj, v_proj and the like.',
    },
  )
}

export interface SelectionOptions {
  readonly select: Selection
  readonly order: 'largest' | 'smallest'
  /** Draw over all layers together, so that they get different numbers, or in each. */
  readonly per: 'model' | 'layer'
  readonly seed?: number | string
  readonly calibration?: readonly Batch[]
  /** The share of a module's units. */
  ratio(module: string): number
}

interface Placed {
  readonly site: Site
  readonly side: UnitAxis
}

/** Sums of squares of the units' entries in W: [out, in] as stored. */
const energies = ({ site, side }: Placed, data: ArrayLike<number>): Float64Array => {
  const sums = new Float64Array(side.count)
  const unitAt = (entry: number): number => Math.floor(entry / side.unit) % side.count
  for (let o = 0; o < site.out; o++)
    for (let i = 0; i < site.in; i++)
      sums[unitAt(side.axis === 'in' ? i : o)] += Number(data[o * site.in + i]) ** 2
  return sums
}

/** The matrix of a site as [out, in]. */
const outIn = ({ in: width, out, transposed: turned }: Site, data: ArrayLike<number>): ArrayLike<number> =>
  turned
    ? Float64Array.from({ length: width * out }, (_, n) => data[(n % width) * out + Math.floor(n / width)])
    : data

type Scores = ReadonlyMap<string, Float64Array>

/** For each group the norms of its units in all the modules adapted. */
const norms = async (
  placed: readonly Placed[],
  matrix: (name: string) => Promise<ArrayLike<number>> | ArrayLike<number>,
): Promise<Scores> => {
  const sums = new Map<string, Float64Array>()
  for (const at of placed) {
    const own = energies(at, await matrix(`${at.site.name}.weight`))
    const { group } = at.side
    sums.set(group, sums.get(group)?.map((x, i) => x + own[i]) ?? own)
  }
  return new Map([...sums].map(([group, sum]) => [group, sum.map(Math.sqrt)]))
}

/** For each group the mean |activation| of its units, as it enters the module that reads them. */
const activity = async (
  base: Model,
  placed: readonly Placed[],
  batches: readonly Batch[],
): Promise<Scores> => {
  const groups = new Set(placed.map(({ side }) => side.group))
  const readers = sitesOf(base, ['linear']).filter(({ inputUnits: u }) => u && groups.has(u.group))
  const means = await meanActivations(
    base,
    readers.map(({ name }) => name),
    batches,
  )
  return new Map(
    readers.map((site) => {
      const side = requireUnits(site)
      const sums = new Float64Array(side.count)
      means.get(site.name)!.forEach((x, i) => (sums[Math.floor(i / side.unit)] += x / side.unit))
      return [side.group, sums]
    }),
  )
}

const scoresOf = async (
  base: Model,
  placed: readonly Placed[],
  { select, seed = 0, calibration }: SelectionOptions,
): Promise<Scores> => {
  const counts = new Map(placed.map(({ side }) => [side.group, side.count]))
  const weights = (): Promise<Scores> =>
    norms(placed, async (name) => {
      const w = await baseTensor(base, name)
      const { site } = placed.find((at) => `${at.site.name}.weight` === name)!
      return (site.transposed ? transposed(w) : w).data as Float32Array
    })
  if (select === 'random')
    return new Map(
      [...counts].map(([group, count]) => {
        const stream = new Stream(`${seed}/s2ft/${group}`)
        return [group, Float64Array.from({ length: count }, () => stream.uniform())]
      }),
    )
  if (select === 'weight') return weights()
  const batches = requireBatches('s2ft', select, calibration)
  if (select === 'gradient') {
    const own = placed.map(async ({ site: { name } }) => {
      const tensor = `${name}.weight`
      return [tensor, await baseTensor(base, tensor)] as const
    })
    const gradients = await weightGradients(base, Object.fromEntries(await Promise.all(own)), batches)
    return norms(placed, (name) => {
      const { site } = placed.find((at) => `${at.site.name}.weight` === name)!
      return outIn(site, gradients.get(name)!)
    })
  }
  const active = await activity(base, placed, batches)
  if (select === 'activation') return active
  const heavy = await weights()
  return new Map([...active].map(([group, sums]) => [group, sums.map((x, i) => x * heavy.get(group)![i])]))
}

/** Modules whose names differ in numbers only, as all down_proj: a ratio is of their units together. */
const families = (placed: readonly Placed[]): Placed[][] => {
  const byName = new Map<string, Placed[]>()
  for (const at of placed) {
    const name = at.site.name.replace(/\d+/g, '#')
    byName.set(name, [...(byName.get(name) ?? []), at])
  }
  return [...byName.values()]
}

const countFor = (ratio: number, available: number, where: string): number => {
  const count = Math.floor(ratio * available + 1e-9)
  if (count >= 1) return count
  throw new UsageError(
    'RatioTooSmall',
    `s2ft: a share of ${ratio} of the ${available} heads or channels of ${where} is none`,
    { hint: `The smallest share is ${(1 / available).toPrecision(3)}.` },
  )
}

/**
 * The units that train in each module, ascending: floor(ratio x units) of all modules of one kind together, or of each.
 * Modules that share units rank them alike, so that equal ratios choose the same units on both sides. Equal ranks go by
 * layer and number; modules of which none is chosen are left out. Throws UsageError for a share that is none, and where calibration is needed and absent.
 */
export const chooseUnits = async (
  base: Model,
  sites: readonly Site[],
  options: SelectionOptions,
): Promise<Record<string, readonly number[]>> => {
  const placed = sites.map((site) => ({ site, side: requireUnits(site) }))
  const scores = await scoresOf(base, placed, options)
  const sign = options.order === 'largest' ? -1 : 1
  const chosen: Record<string, number[]> = Object.fromEntries(sites.map(({ name }) => [name, []]))
  const choose = (family: readonly Placed[], ratio: number): void => {
    const all = family.flatMap(({ site, side }) =>
      Array.from(scores.get(side.group)!, (score, unit) => ({ name: site.name, unit, score: sign * score })),
    )
    const where = family.length === 1 ? family[0].site.name : `${family.length} modules`
    const count = countFor(ratio, all.length, where)
    for (const { name, unit } of all.sort((a, b) => a.score - b.score).slice(0, count))
      chosen[name].push(unit)
  }
  for (const family of families(placed)) {
    const ratios = new Set(family.map(({ site }) => options.ratio(site.name)))
    for (const ratio of ratios) {
      const own = family.filter(({ site }) => options.ratio(site.name) === ratio)
      if (options.per === 'model') choose(own, ratio)
      else for (const at of own) choose([at], ratio)
    }
  }
  const found = Object.entries(chosen).filter(([, units]) => units.length > 0)
  return Object.fromEntries(found.map(([name, units]) => [name, units.sort((a, b) => a - b)]))
}
