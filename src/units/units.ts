/** @file Units: heads, key heads with the query heads that share them, and hidden channels, as runs of an axis. */
import type { Model } from '../models/index.js'
import type { Site } from '../models/sites.js'

/** Units along one side of a module's weight. */
export interface UnitAxis {
  /** Side of the weight: its inputs or its outputs. */
  readonly axis: 'in' | 'out'
  /** Axis group: modules that share it are cut and permuted together. */
  readonly group: string
  /** Consecutive entries that are one unit. */
  readonly unit: number
  /** Equal parts of a fused weight, each of which has every unit; else 1. */
  readonly parts: number
  /** How many units there are. */
  readonly count: number
}

/**
 * The units of a module: along its inputs where these are units (down, o), else along its outputs (up, gate, q, k, v);
 * undefined where both sides are the residual stream's.
 */
export const unitsAlong = ({ in: width, out, inputUnits, outputUnits }: Site): UnitAxis | undefined => {
  if (inputUnits) return { axis: 'in', ...inputUnits, parts: 1, count: width / inputUnits.unit }
  if (!outputUnits) return undefined
  const { parts, unit } = outputUnits
  return { axis: 'out', ...outputUnits, count: out / parts / unit }
}

/** The entries of `units` along their axis, ascending in each part. units: [n]. */
export const entriesOf = (
  { unit, parts, count }: Pick<UnitAxis, 'unit' | 'parts' | 'count'>,
  units: readonly number[],
): number[] =>
  Array.from({ length: parts }, (_, part) =>
    units.flatMap((u) => Array.from({ length: unit }, (_, i) => (part * count + u) * unit + i)),
  ).flat()

/** The units that a linear module reads. */
export interface UnitGroup {
  readonly group: string
  readonly kind: 'heads' | 'hidden'
  /** How many there are: key heads with the query heads that share them, or hidden channels. */
  readonly count: number
  /** Consecutive entries of the module's inputs that are one unit. */
  readonly unit: number
  /** Query heads in one unit; 1 for a hidden channel. */
  readonly heads: number
}

/** The units that enter the module `site` of a model; undefined where its inputs are the residual stream. */
export const unitsInto = (
  { architecture, config }: Pick<Model, 'architecture' | 'config'>,
  { name, in: width, inputUnits }: Pick<Site, 'name' | 'in' | 'inputUnits'>,
): UnitGroup | undefined => {
  if (!inputUnits) return undefined
  const { group, unit } = inputUnits
  const attention = architecture.attention?.(config) ?? architecture.cache?.(config) ?? []
  const size = attention.find(({ module }) => name.startsWith(`${module}.`))?.size ?? unit
  const kind = unit === 1 ? 'hidden' : 'heads'
  return { group, kind, count: width / unit, unit, heads: unit / size }
}
