/**
 * @file Permutation groups of an architecture: which axes of which tensors must move together for the model to stay the
 * same function. They are read from the architecture's table; attention's heads also have an inside, whose dimensions
 * may move head by head: those of queries with keys, those of values with the output projection.
 */
import { UsageError } from '../../errors.js'
import { type HeadInside, type Model, runsAlong, type WeightSpec } from '../../models/index.js'
import { minOf } from '../../tensor/numbers.js'

/** Places of a group's units along one axis of one tensor. */
export interface GroupAxis {
  readonly tensor: string
  readonly axis: number
  /** How many elements of the axis make a unit. */
  readonly run: number
  /** [units, run]: the elements of each unit. */
  readonly places: Int32Array
  readonly kind: WeightSpec['kind']
}

/** The dimensions inside the units of a group: one permutation of them for every unit. */
export interface Inside {
  readonly name: string
  readonly size: number
  readonly axes: readonly GroupAxis[]
}

/** Axes that move together. */
export interface PermutationGroup {
  readonly name: string
  readonly units: number
  readonly axes: readonly GroupAxis[]
  /** Dimensions inside heads that move together; empty for groups of other units. */
  readonly insides: readonly Inside[]
}

/**
 * Dimensions inside a head that are moved: none, those that values share with the output projection, or also those that
 * queries share with keys.
 */
export type WithinHeads = 'none' | 'values' | 'all'

/** A run of units along an axis; a fused matrix has one for each part. */
export interface Segment {
  readonly tensor: string
  readonly axis: number
  readonly offset: number
  readonly unit: number
  readonly units: number
  readonly kind: WeightSpec['kind']
  /** Which inside of a head it belongs to. */
  readonly inside?: string
}

/** The inside of a head that a tensor belongs to: those of one block and role are one. */
const insideOf = (spec: WeightSpec, role: HeadInside | undefined, unit: number): string | undefined => {
  if (unit === 1 || role === undefined) return undefined
  const block = /^.*\.\d+\./.exec(spec.name)?.[0] ?? ''
  return `${block}${role}`
}

/** The segments of each group of a table, groups in the order of their first tensor. */
export const segmentsOf = (table: readonly WeightSpec[]): ReadonlyMap<string, readonly Segment[]> => {
  const segmentsByGroup = new Map<string, Segment[]>()
  for (const spec of table.filter(({ tied }) => tied === undefined))
    for (const [axis, along] of spec.axes.entries())
      for (const { inside: role, ...run } of runsAlong(spec, axis)) {
        const inside = insideOf(spec, role, run.unit)
        const segment = { tensor: spec.name, axis, ...run, kind: spec.kind, inside }
        segmentsByGroup.set(along!.group, [...(segmentsByGroup.get(along!.group) ?? []), segment])
      }
  return segmentsByGroup
}

/** Segments of one axis, as one. `each`: the elements of unit u of a segment. */
const joined = (
  segments: readonly Segment[],
  units: number,
  each: (segment: Segment, unit: number) => readonly number[],
): GroupAxis[] => {
  const byAxis = new Map<string, Segment[]>()
  for (const s of segments)
    byAxis.set(`${s.tensor} ${s.axis}`, [...(byAxis.get(`${s.tensor} ${s.axis}`) ?? []), s])
  return [...byAxis.values()].map((list) => {
    const all = Array.from({ length: units }, (_, u) => list.flatMap((segment) => each(segment, u)))
    const { tensor, axis, kind } = list[0]
    return { tensor, axis, kind, run: all[0].length, places: Int32Array.from(all.flat()) }
  })
}

const count = (n: number, from: number, step = 1): number[] =>
  Array.from({ length: n }, (_, i) => from + i * step)

const insidesOf = (segments: readonly Segment[], within: WithinHeads): Inside[] => {
  const size = minOf(segments.filter((s) => s.inside !== undefined).map(({ unit }) => unit))
  const names = new Set(segments.flatMap(({ inside }) => inside ?? []))
  return [...names]
    .filter((name) => within === 'all' || (within === 'values' && name.endsWith('values')))
    .map((name) => {
      const segmentsOfGroup = segments.filter(({ inside }) => inside === name)
      // The elements of dimension d of head u stand `size` apart where several query heads share a key head.
      const axes = joined(segmentsOfGroup, segments[0].units * size, ({ offset, unit }, i) =>
        count(unit / size, offset + Math.floor(i / size) * unit + (i % size), size),
      )
      return { name, size, axes }
    })
}

const groupOf = (name: string, segments: readonly Segment[], within: WithinHeads): PermutationGroup => {
  const { units } = segments[0]
  const axes = joined(segments, units, ({ offset, unit }, u) => count(unit, offset + u * unit))
  return { name, units, axes, insides: insidesOf(segments, within) }
}

/** Whether rotary positions turn the dimensions of queries and keys in pairs, so that these must stay where they are. */
export const isRotary = ({ architecture, config }: Pick<Model, 'architecture' | 'config'>): boolean =>
  architecture.rotary?.(config) ?? false

/**
 * The permutation groups of `model`. within: default all that the architecture allows. Throws UsageError where 'all' is
 * asked of a model with rotary positions.
 */
export const permutationGroups = (
  model: Pick<Model, 'architecture' | 'config'>,
  within?: WithinHeads,
): PermutationGroup[] => {
  const rotary = isRotary(model)
  if (rotary && within === 'all')
    throw new UsageError(
      'RotaryHeads',
      `${model.architecture.name}: within = all: rotary positions turn the dimensions of queries and keys in pairs, so these cannot be permuted`,
      { hint: 'Use values (the default here) or none.' },
    )
  const table = model.architecture.table(model.config)
  return [...segmentsOf(table)].map(([name, segments]) =>
    groupOf(name, segments, within ?? (rotary ? 'values' : 'all')),
  )
}

/** The dimensions inside unit `unit` as a group of its own. */
export const insideUnit = ({ name, size, axes }: Inside, unit: number): PermutationGroup => ({
  name: `${name}.${unit}`,
  units: size,
  insides: [],
  axes: axes.map((axis) => ({
    ...axis,
    places: axis.places.subarray(unit * size * axis.run, (unit + 1) * size * axis.run),
  })),
})
