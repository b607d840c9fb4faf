/** @file Reorders what a table of weights says belongs together. */
import type { AxisGroup, WeightSpec } from '../src/models/index.js'
import { Stream } from '../src/random/index.js'
import { type Value, value } from '../src/tensor/index.js'

/** How many units of its group the axis has: of one part, where it has parts. */
const unitsOf = (spec: WeightSpec, axis: number, { unit }: AxisGroup): number => {
  const length = isFused(spec, axis) ? spec.parts![0].size : spec.shape[axis]
  return length / unit
}

/** Parts lie along the output axis. */
const isFused = ({ parts, shape, layout }: WeightSpec, axis: number): boolean =>
  parts !== undefined && axis === (shape.length === 1 || layout !== 'in-out' ? 0 : 1)

/** An order of the units of every group, at random. Throws when axes of one group have different numbers of them. */
export const randomOrders = (table: readonly WeightSpec[], seed: number): Map<string, Uint32Array> => {
  const orders = new Map<string, Uint32Array>()
  const stream = new Stream(seed)
  for (const spec of table)
    spec.axes.forEach((group, axis) => {
      if (!group) return
      const units = unitsOf(spec, axis, group)
      const order = orders.get(group.group) ?? stream.permutation(units)
      if (order.length !== units)
        throw new Error(
          `${spec.name}: axis ${axis} has ${units} units of ${group.group}, others ${order.length}`,
        )
      orders.set(group.group, order)
    })
  return orders
}

/** Where each index of the axis comes from. */
const sourceOf = (spec: WeightSpec, axis: number, group: AxisGroup, order: Uint32Array): number[] => {
  const length = order.length * group.unit
  const one = Array.from(
    { length },
    (_, i) => order[Math.floor(i / group.unit)] * group.unit + (i % group.unit),
  )
  const parts = spec.shape[axis] / length
  return Array.from({ length: parts }, (_, p) => one.map((i) => p * length + i)).flat()
}

/** `v` with axis `axis` in another order. */
const reordered = (v: Value, axis: number, from: readonly number[]): Value => {
  const inner = v.shape.slice(axis + 1).reduce((a, b) => a * b, 1)
  const length = v.shape[axis]
  const data = v.data.slice()
  for (let i = 0; i < data.length; i++) {
    const at = Math.floor(i / inner) % length
    data[i] = v.data[i + (from[at] - at) * inner]
  }
  return value(data, v.shape, v.dtype)
}

/** The tensor of `spec` with the units of all its groups in their new order. */
export const permuted = (spec: WeightSpec, v: Value, orders: ReadonlyMap<string, Uint32Array>): Value =>
  spec.axes.reduce(
    (t, group, axis) =>
      group ? reordered(t, axis, sourceOf(spec, axis, group, orders.get(group.group)!)) : t,
    v,
  )
