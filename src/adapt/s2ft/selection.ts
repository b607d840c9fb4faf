/** @file Which heads and channels S2FT trains: units of the targets' matrices, ranked over all layers together or in each. */
import { UsageError } from '../../errors.js'
import type { Model } from '../../models/index.js'
import { Stream } from '../../random/index.js'
import type { Value } from '../../tensor/index.js'
import type { Batch } from '../../train/index.js'
import { baseTensor } from '../../models/stored.js'
import { absoluteInputs, observe, requireBatches, weightGradients } from '../../observe/index.js'
import { type Site, sitesOf } from '../../models/sites.js'
import { type UnitAxis, unitsAlong, unitsByEntry } from '../../units/index.js'

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

/** Sums of squares of the units' entries in a matrix as it is stored. */
const energies = ({ site, side }: Placed, data: ArrayLike<number>): Float64Array => {
  const sums = new Float64Array(side.count)
  const owners = unitsByEntry(side)
  const columns = site.transposed ? site.out : site.in
  const alongRows = (side.axis === 'in') === site.transposed
  for (let n = 0; n < site.in * site.out; n++)
    sums[owners[alongRows ? Math.floor(n / columns) : n % columns]] += data[n] ** 2
  return sums
}

type Scores = ReadonlyMap<string, Float64Array>

/** Matrices as they are stored, by the names of their tensors. */
type Matrices = AsyncIterable<readonly [tensor: string, data: ArrayLike<number>]>

/** For each group the norms of its units in all the modules adapted. */
const norms = async (placed: readonly Placed[], matrices: Matrices): Promise<Scores> => {
  const byTensor = new Map(placed.map((one) => [`${one.site.name}.weight`, one]))
  const sums = new Map<string, Float64Array>()
  for await (const [tensor, data] of matrices) {
    const one = byTensor.get(tensor)!
    const squares = energies(one, data)
    const { group } = one.side
    sums.set(group, sums.get(group)?.map((sum, unit) => sum + squares[unit]) ?? squares)
  }
  return new Map([...sums].map(([group, sum]) => [group, sum.map(Math.sqrt)]))
}

async function* weightsOf(
  base: Model,
  placed: readonly Placed[],
): AsyncGenerator<readonly [string, ArrayLike<number>]> {
  for (const { site } of placed) {
    const tensor = `${site.name}.weight`
    yield [tensor, (await baseTensor(base, tensor)).data as Float32Array]
  }
}

/** For each group the mean |activation| of its units, as it enters the module that reads them. */
const activity = async (
  base: Model,
  placed: readonly Placed[],
  batches: readonly Batch[],
): Promise<Scores> => {
  const groups = new Set(placed.map(({ side }) => side.group))
  const readers = sitesOf(base, ['linear']).filter(({ inputUnits: u }) => u && groups.has(u.group))
  const sites = new Map(readers.map((site) => [site.name, site]))
  const wanted = Object.fromEntries(readers.map(({ name }) => [name, absoluteInputs]))
  const scores = new Map<string, Float64Array>()
  for await (const { module, sums } of observe([base], batches, wanted)) {
    const side = requireUnits(sites.get(module)!)
    const owners = unitsByEntry(side)
    const means = new Float64Array(side.count)
    const divisor = side.runs[0].unit * sums.rows[0]
    sums.sum.forEach((x, i) => (means[owners[i]] += x / divisor))
    scores.set(side.group, means)
  }
  return scores
}

const scoresOf = async (
  base: Model,
  placed: readonly Placed[],
  { select, seed = 0, calibration }: SelectionOptions,
): Promise<Scores> => {
  const counts = new Map(placed.map(({ side }) => [side.group, side.count]))
  if (select === 'random')
    return new Map(
      [...counts].map(([group, count]) => {
        const stream = new Stream(`${seed}/s2ft/${group}`)
        return [group, Float64Array.from({ length: count }, () => stream.uniform())]
      }),
    )
  if (select === 'weight') return norms(placed, weightsOf(base, placed))
  const batches = requireBatches('s2ft', select, calibration)
  if (select === 'gradient') {
    const weights: Record<string, Value> = {}
    for (const { site } of placed)
      weights[`${site.name}.weight`] = await baseTensor(base, `${site.name}.weight`)
    return norms(placed, weightGradients(base, weights, batches))
  }
  const active = await activity(base, placed, batches)
  if (select === 'activation') return active
  const heavy = await norms(placed, weightsOf(base, placed))
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
      const alike = family.filter(({ site }) => options.ratio(site.name) === ratio)
      if (options.per === 'model') choose(alike, ratio)
      else for (const at of alike) choose([at], ratio)
    }
  }
  const chosenUnits = Object.entries(chosen).filter(([, units]) => units.length > 0)
  return Object.fromEntries(chosenUnits.map(([name, units]) => [name, units.sort((a, b) => a - b)]))
}
