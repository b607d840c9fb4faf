/** @file The lines of a table of weights that architectures share: linear modules, norms, embeddings. */
import type { AxisGroup, FusedPart, WeightSpec } from './architecture.js'

type Axis = AxisGroup | undefined

/** The axis that every block reads and adds to. */
export const residual: AxisGroup = { group: 'residual', unit: 1 }

/** Whether an axis is a residual stream's: of two towers each has its own. */
export const isResidual = (axis: Axis): boolean => axis !== undefined && /(^|\.)residual$/.test(axis.group)

/** A linear module: its weight [out, in], and its bias unless `bias` is false. */
export const linearSpecs = (
  name: string,
  [out, inside]: readonly [number, number],
  [outAxis, inAxis]: readonly [Axis, Axis],
  bias = true,
): WeightSpec[] => [
  { name: `${name}.weight`, shape: [out, inside], kind: 'linear', axes: [outAxis, inAxis] },
  ...(bias ? [{ name: `${name}.bias`, shape: [out], kind: 'bias', axes: [outAxis] } as const] : []),
]

/** A linear module whose outputs are those of several, one behind the other. */
export const fusedSpecs = (
  name: string,
  shape: readonly [number, number],
  axes: readonly [Axis, Axis],
  parts: readonly FusedPart[],
  bias = true,
): WeightSpec[] => linearSpecs(name, shape, axes, bias).map((spec) => ({ ...spec, parts }))

/** The weights among `specs` begin with this standard deviation. */
export const spread = (deviation: number, specs: readonly WeightSpec[]): WeightSpec[] =>
  specs.map((spec) => (spec.kind === 'bias' ? spec : { ...spec, deviation }))

/** A layer norm over `width`. */
export const layerNormSpecs = (name: string, width: number, axis: Axis): WeightSpec[] =>
  ['weight', 'bias'].map((part) => ({ name: `${name}.${part}`, shape: [width], kind: 'norm', axes: [axis] }))

/** A table of `count` rows that stand in the residual stream. */
export const embeddingSpec = (name: string, count: number, width: number, axis = residual): WeightSpec => ({
  name: `${name}.weight`,
  shape: [count, width],
  kind: 'embedding',
  axes: [undefined, axis],
})
