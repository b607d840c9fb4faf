/** @file What a partial merge costs in multiplications, and the ratios that stay within a budget (step 3 of the method). */
import type { Model, WeightSpec } from '../../models/index.js'
import { passagesOf } from '../../observe/index.js'
import { input, sizeOf, type Tensor, zeros } from '../../tensor/index.js'
import type { Batch } from '../../train/index.js'
import type { PermutationGroup } from '../../units/permutation/index.js'
import { type Ratios, unitsApart } from './split.js'

/** What the budget is about: the groups that may widen, in which steps. */
export interface Widening {
  readonly groups: readonly PermutationGroup[]
  readonly fixed: (group: string) => boolean
  readonly step: (group: string) => number
  /** Positions that a layer is run at for each example, by the name of its weight. Default: 1 for every layer. */
  readonly positions?: ReadonlyMap<string, number>
}

/**
 * Multiplications of the linear modules and convolutions at these ratios relative to one model: (1 + r_in)(1 + r_out) -
 * 2 r_in r_out for each weight, since what is only the one's and what is only the other's are not connected; each weight
 * is multiplied with as many positions as its layer is run at.
 */
export const costOf = (
  table: readonly WeightSpec[],
  { groups, step, positions }: Widening,
  ratios: Ratios,
): number => {
  const apart = new Map(
    groups.map(({ name, units }) => [name, unitsApart(ratios.get(name) ?? 0, units, step(name)) / units]),
  )
  let merged = 0
  let one = 0
  for (const { name, shape, axes } of table.filter(({ kind }) => kind === 'linear' || kind === 'conv')) {
    const r = apart.get(axes[0]?.group ?? '') ?? 0
    const s = apart.get(axes[1]?.group ?? '') ?? 0
    const multiplications = sizeOf(shape) * (positions?.get(name) ?? 1)
    merged += multiplications * (1 + r + s - r * s)
    one += multiplications
  }
  return merged / one
}

/** The greatest x in [0, 1] that fits, found to 2^-30 by bisection; 0 when none does. */
const greatest = (fits: (x: number) => boolean): number => {
  if (fits(1)) return 1
  let [low, high] = [0, 1]
  for (let i = 0; i < 30; i++) {
    const middle = (low + high) / 2
    if (fits(middle)) low = middle
    else high = middle
  }
  return low
}

/**
 * The ratios whose cost is at most `budget` (1: one model; 2: both). One ratio for all groups; or, given what
 * un-merging each group gains, first the groups with the most gain for their cost.
 */
export const ratiosWithin = (
  budget: number,
  table: readonly WeightSpec[],
  widening: Widening,
  gains?: Readonly<Record<string, number>>,
): Ratios => {
  const names = widening.groups.map(({ name }) => name).filter((name) => !widening.fixed(name))
  const fits = (ratios: Ratios): boolean => costOf(table, widening, ratios) <= budget + 1e-9
  if (!gains) {
    const all = (ratio: number): Ratios => new Map(names.map((name) => [name, ratio]))
    return all(greatest((ratio) => fits(all(ratio))))
  }
  const worth = (name: string): number =>
    (gains[name] ?? 0) / (costOf(table, widening, new Map([[name, 1]])) - 1)
  const ratios = new Map<string, number>()
  for (const name of [...names].sort((x, y) => worth(y) - worth(x)))
    ratios.set(
      name,
      greatest((ratio) => fits(new Map([...ratios, [name, ratio]]))),
    )
  return ratios
}

/** Height and width of an image where neither data nor config.json say one. */
const usualImage = 224

/** A batch to count positions with: the given one, or one image; undefined for a model of which no input is known. */
const inputsFor = (model: Model, batch: Batch | undefined): Batch<Tensor> | undefined => {
  if (batch)
    return Object.fromEntries(
      Object.entries(batch).map(([name, { shape, dtype }]) => [name, input(name, shape, dtype)]),
    )
  const { architecture, config, checkpoint } = model
  const first = architecture.table(config).find(({ kind }) => kind === 'conv')
  if (architecture.task(config) !== 'image' || !first) return undefined
  const { image_size: size } = checkpoint.config
  const [height, width] =
    typeof size === 'number'
      ? [size, size]
      : Array.isArray(size)
        ? size.map(Number)
        : [usualImage, usualImage]
  return { pixels: zeros([1, first.shape[1], height, width]) }
}

/**
 * Positions that each linear module and convolution is run at for an example, by the name of its weight: tokens of a text,
 * places of a convolution's output. Seen on `batch`, or where there is none on an image; empty where neither can be.
 */
export const positionsOf = (model: Model, batch?: Batch): ReadonlyMap<string, number> => {
  const inputs = inputsFor(model, batch)
  const positions = new Map<string, number>()
  if (!inputs) return positions
  const [examples] = Object.values(inputs)[0].shape
  for (const { spec, y, options } of passagesOf(model, inputs)) {
    const width = y.shape[options === undefined ? y.rank - 1 : 1]
    const seen = sizeOf(y.shape) / width / examples
    positions.set(spec.name, (positions.get(spec.name) ?? 0) + seen)
  }
  return positions
}
