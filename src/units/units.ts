/** @file Units: heads, key heads with the query heads that share them, and hidden channels, as runs of an axis. */
import type { Model, UnitRun } from '../models/index.js'
import type { Site } from '../models/sites.js'

/** Units along one side of a module's weight. */
export interface UnitAxis {
  /** Side of the weight: its inputs or its outputs. */
  readonly axis: 'in' | 'out'
  /** Axis group: modules that share it are cut and permuted together. */
  readonly group: string
  /** Runs in which the units lie: one, or one for each part of a fused weight. */
  readonly runs: readonly UnitRun[]
  /** How many units there are. */
  readonly count: number
}

/**
 * The units of a module: along its inputs where these are units (down, o), else along its outputs (up, gate, q, k, v);
 * undefined where both sides are the residual stream's.
 */
export const unitsAlong = ({ in: width, inputUnits, outputUnits }: Site): UnitAxis | undefined => {
  if (inputUnits) {
    const { group, unit } = inputUnits
    const count = width / unit
    return { axis: 'in', group, runs: [{ offset: 0, unit, units: count }], count }
  }
  if (!outputUnits) return undefined
  const { group, runs } = outputUnits
  return { axis: 'out', group, runs, count: runs[0].units }
}

/** The entries of `units` along their axis, ascending in each part. units: [n]. */
export const entriesOf = ({ runs }: Pick<UnitAxis, 'runs'>, units: readonly number[]): number[] =>
  runs.flatMap(({ offset, unit }) =>
    units.flatMap((u) => Array.from({ length: unit }, (_, i) => offset + u * unit + i)),
  )

/** The unit that each entry of the axis belongs to: [entries]. */
export const unitsByEntry = ({ runs }: Pick<UnitAxis, 'runs'>): Int32Array => {
  const { offset, unit, units } = runs[runs.length - 1]
  const owners = new Int32Array(offset + unit * units)
  for (const run of runs)
    for (let i = 0; i < run.unit * run.units; i++) owners[run.offset + i] = Math.floor(i / run.unit)
  return owners
}

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
