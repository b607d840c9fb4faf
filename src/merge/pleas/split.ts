/** @file Partial merging: which units of two aligned models become one, which stay apart, and what that costs. */
import { outputAxis, type WeightSpec } from '../../models/index.js'
import { sizeOf, type Value, value } from '../../tensor/index.js'
import { segmentsOf, type Tensors } from '../../units/permutation/index.js'

/** Whose an element is: of both models, merged; of the first alone; of the second alone. */
export const owners = { both: 0, first: 1, second: 2 } as const

/** One axis of a merged tensor: for each element, where it stands in the (aligned) models, and whose it is. */
export interface WideAxis {
  readonly from: Int32Array
  readonly owner: Uint8Array
}

/** The units of a group: those that are merged, and those of which each model keeps its own. */
export interface Split {
  readonly merged: readonly number[]
  readonly apart: readonly number[]
}

/** What of each group stays apart, in [0, 1]. */
export type Ratios = ReadonlyMap<string, number>

/** How many of `units` stay apart, in multiples of `step`. */
export const unitsApart = (ratio: number, units: number, step = 1): number =>
  Math.min(units, step * Math.round((ratio * units) / step))

/** The `apart` units that agree least stay apart; of equal ones, the later. agreement: [units]. */
export const splitUnits = (agreement: ArrayLike<number>, apart: number): Split => {
  const ascending = (x: number, y: number): number => x - y
  const order = Array.from(agreement, (_, u) => u).sort((u, v) => agreement[v] - agreement[u] || u - v)
  const merged = order.length - apart
  return { merged: order.slice(0, merged).sort(ascending), apart: order.slice(merged).sort(ascending) }
}

const wholeAxis = (size: number, owner: number): WideAxis => ({
  from: Int32Array.from({ length: size }, (_, i) => i),
  owner: new Uint8Array(size).fill(owner),
})

/**
 * The axes of every tensor when groups are split: units in the order merged, the first model's, the second's. head: the
 * tensors whose outputs belong to one model alone, and which.
 */
export const wideAxes = (
  table: readonly WeightSpec[],
  splits: ReadonlyMap<string, Split>,
  head?: { readonly names: ReadonlySet<string>; readonly owner: number },
): ReadonlyMap<string, readonly WideAxis[]> => {
  const wide = new Map(
    table.map((spec) => {
      const owner = (axis: number): number =>
        head?.names.has(spec.name) && axis === outputAxis(spec) ? head.owner : owners.both
      return [spec.name, spec.shape.map((size, axis) => wholeAxis(size, owner(axis)))]
    }),
  )
  for (const [group, segments] of segmentsOf(table)) {
    const { merged, apart } = splits.get(group)!
    if (apart.length === 0) continue
    const of = (units: readonly number[], owner: number) => units.map((unit) => ({ unit, owner }))
    const units = [...of(merged, owners.both), ...of(apart, owners.first), ...of(apart, owners.second)]
    const elements = new Map<string, { from: number; owner: number }[]>()
    // The parts of a fused matrix lie one after another, each widened.
    for (const { tensor, axis, offset, unit: run } of segments) {
      const list = elements.get(`${tensor} ${axis}`) ?? []
      for (const { unit, owner } of units)
        for (let r = 0; r < run; r++) list.push({ from: offset + unit * run + r, owner })
      elements.set(`${tensor} ${axis}`, list)
      wide.get(tensor)![axis] = {
        from: Int32Array.from(list, (e) => e.from),
        owner: Uint8Array.from(list, (e) => e.owner),
      }
    }
  }
  return wide
}

/** The axis whose merged elements are averages rather than sums: what a linear module puts out. */
const averagedAxis = (spec: WeightSpec): number => {
  if (spec.kind === 'linear' || spec.kind === 'conv') return outputAxis(spec)
  const grouped = spec.axes.findLastIndex((group) => group !== undefined)
  return grouped < 0 ? 0 : grouped
}

/**
 * How the elements along each axis count, of the model that is not `other`: an element of the merged tensor takes the
 * product over its axes.
 */
const sharesOf = (wide: readonly WideAxis[], averaged: number, other: number): Float32Array[] =>
  wide.map(({ owner }, axis) =>
    Float32Array.from(owner, (o) => (o === other ? 0 : axis === averaged && o === owners.both ? 0.5 : 1)),
  )

/** Where the last axis of a tensor begins at an index of the others, and how the model counts there. */
interface Row {
  readonly start: number
  readonly share: number
}

const rowAt = (
  v: Value,
  wide: readonly WideAxis[],
  shares: readonly Float32Array[],
  index: readonly number[],
): Row => {
  let start = 0
  let share = 1
  index.forEach((i, axis) => {
    start = start * v.shape[axis] + wide[axis].from[i]
    share *= shares[axis][i]
  })
  return { start: start * v.shape[index.length], share }
}

/** Adds a model's share of a row to `out`. Where it has none the models may differ in size. */
const addRow = (
  out: Float32Array,
  v: Value,
  { start, share }: Row,
  { from }: WideAxis,
  shares: Float32Array,
): void => {
  if (share === 0) return
  const data = v.data as Float32Array
  for (let j = 0; j < out.length; j++)
    if (shares[j] !== 0) out[j] += share * shares[j] * data[start + from[j]]
}

/**
 * The merged tensor by permutation alone (step 4 of the method): merged outputs average the models, an output of one
 * model reads the merged inputs and its own, and nothing connects what is only the one's with what is only the other's.
 */
export const blockTensor = (spec: WeightSpec, wide: readonly WideAxis[], a: Value, b: Value): Value => {
  if (a.dtype === 'int64') return a
  if (wide.length === 0)
    return value(Float32Array.of((Number(a.data[0]) + Number(b.data[0])) / 2), [], 'float32')
  const shape = wide.map(({ from }) => from.length)
  const averaged = averagedAxis(spec)
  const out = new Float32Array(sizeOf(shape))
  const models = [
    { v: a, shares: sharesOf(wide, averaged, owners.second) },
    { v: b, shares: sharesOf(wide, averaged, owners.first) },
  ]
  const last = shape.length - 1
  const width = shape[last]
  const index = shape.slice(0, last).map(() => 0)
  for (let start = 0; start < out.length; start += width) {
    const row = out.subarray(start, start + width)
    for (const { v, shares } of models)
      addRow(row, v, rowAt(v, wide, shares, index), wide[last], shares[last])
    for (let axis = last - 1; axis >= 0 && ++index[axis] === shape[axis]; axis--) index[axis] = 0
  }
  return value(out, shape, 'float32')
}

/** Every tensor merged by permutation alone. a, b: of models whose units stand in one order. */
export const blockTensors = (
  table: readonly WeightSpec[],
  wide: ReadonlyMap<string, readonly WideAxis[]>,
  [a, b]: readonly [Tensors, Tensors],
): Record<string, Value> =>
  Object.fromEntries(
    table
      .filter(({ tied }) => tied === undefined)
      .map((spec) => [
        spec.name,
        blockTensor(spec, wide.get(spec.name)!, a[spec.name] ?? b[spec.name], b[spec.name] ?? a[spec.name]),
      ]),
  )
