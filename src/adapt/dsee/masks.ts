/** @file The masks of a DSEE adapter: what of its base is to go, found in its present update; and what of it is gone. */
import { UsageError } from '../../errors.js'
import { exactProduct, largestIndices } from '../../linalg/index.js'
import type { Model, Parameters } from '../../models/index.js'
import { type Value, value } from '../../tensor/index.js'
import { baseTensor, transposed } from '../../models/stored.js'
import { type Kept, type UnitGroup, unitsInto } from '../../units/index.js'
import { keptUnits, masksOf, type Scored, type ScoreKind } from './pruning.js'
import { type Site, sitesOf } from '../../models/sites.js'
import { type Targets, targetSites } from '../../models/targets.js'
import type { Plan } from '../core/spec.js'

/** Names of what a site has. U and V are called as LoRA's. */
export const keys = {
  V: 'lora_A.weight',
  U: 'lora_B.weight',
  values: 'dsee_values',
  indices: 'dsee_indices',
  mask: 'dsee_mask',
  units: 'dsee_units',
  coefficients: 'dsee_coefficients',
} as const

/** What is to go, by which score. */
export interface PruningOptions extends Targets {
  /** p. */
  readonly sparsity: number
  readonly threshold: 'pool' | 'matrix'
  /** Query heads of each layer, and the share of its hidden channels. */
  readonly heads: number
  readonly hidden: number
  readonly score: ScoreKind
  readonly coefficients: boolean
  readonly masked?: readonly string[]
  readonly seed?: number | string
}

/** How many units of a group go. Throws UsageError for heads that share a key head with one that stays, for all and for none. */
export const removedFrom = (
  { heads, hidden }: Pick<PruningOptions, 'heads' | 'hidden'>,
  { kind, count, heads: shared, group }: UnitGroup,
): number => {
  if (kind === 'hidden') {
    const removed = Math.floor(hidden * count + 1e-9)
    if (removed > 0) return removed
    throw new UsageError(
      'BadHidden',
      `dsee: a share of ${hidden} of the ${count} channels of ${group} is none`,
      { hint: `The smallest share is ${(1 / count).toPrecision(3)}.` },
    )
  }
  const all = count * shared
  if (heads >= all)
    throw new UsageError('BadHeads', `dsee: ${heads} heads to prune of the ${all} of ${group}: none stays`, {
      hint: `At most ${all - shared}.`,
    })
  if (heads % shared === 0) return heads / shared
  throw new UsageError(
    'BadHeads',
    `dsee: ${heads} heads to prune, where ${shared} query heads share each key head of ${group}`,
    { hint: `They go together: a multiple of ${shared}.` },
  )
}

/** The modules that read units which are to be pruned, with these. */
export const prunedReaders = (
  base: Model,
  { heads, hidden, ...o }: Pick<PruningOptions, 'heads' | 'hidden'> & Targets,
): Reader[] => {
  if (!heads && !hidden) return []
  return targetSites('dsee', base, ['linear'], { ...o, targets: 'all-linear' }).flatMap((site) => {
    const units = unitsInto(base, site)
    return units && (units.kind === 'heads' ? heads : hidden) ? [{ site, units }] : []
  })
}

/** s U V and s (U V + S₂) of a site; undefined where it has none. */
const updateAt = async (
  { name, in: width, out }: Site,
  scale: number,
  parameters: Parameters<Value>,
): Promise<Scored['update']> => {
  const read = async (key: string): Promise<Float32Array | undefined> =>
    (await (parameters as Partial<typeof parameters>)[`${name}.${key}`]?.read()) as Float32Array | undefined
  const [U, V, values, indices] = await Promise.all([keys.U, keys.V, keys.values, keys.indices].map(read))
  if (!U && !values) return undefined
  const rank = U ? U.length / out : 0
  const lowRank =
    U && V
      ? (await exactProduct({ rows: out, cols: rank, data: U }, { rows: rank, cols: width, data: V })).data
      : new Float64Array(width * out)
  const whole = lowRank.slice()
  indices?.forEach((at, i) => (whole[at] += values![i]))
  return { lowRank: lowRank.map((x) => scale * x), whole: whole.map((x) => scale * x) }
}

/** Matrices of the model with their updates, [out, in]. */
const scoredAt = async (
  { base, sites }: Plan,
  wanted: readonly Site[],
  parameters: Parameters<Value>,
): Promise<Scored[]> => {
  const scales = new Map(sites.map((at) => [at.site.name, (at.settings as { scale: number }).scale]))
  const scored: Scored[] = []
  for (const site of wanted) {
    const w = await baseTensor(base, `${site.name}.weight`)
    const W = (site.transposed ? transposed(w) : w).data as Float32Array
    const scale = scales.get(site.name)
    scored.push({ site, W, update: scale && (await updateAt(site, scale, parameters)) } as Scored)
  }
  return scored
}

/** The masks of all sites, by the names of their parameters, as the present update would have them. */
export const foundMasks = async (
  plan: Plan,
  parameters: Parameters<Value>,
  o: PruningOptions,
): Promise<Record<string, Value>> => {
  const found: Record<string, Value> = {}
  if (o.sparsity > 0) {
    const masked = plan.sites.flatMap(({ site }) => (o.masked?.includes(site.name) ? [site] : []))
    const masks = masksOf(await scoredAt(plan, masked, parameters), o)
    for (const [name, bits] of masks) found[`${name}.${keys.mask}`] = value(bits, [bits.length], 'uint8')
  }
  const readers = prunedReaders(plan.base, o)
  if (readers.length === 0) return found
  const kept = o.coefficients
    ? await keptByCoefficients(readers, parameters, o)
    : await keptByScore(plan, readers, parameters, o)
  for (const { site, units } of readers) {
    const gates = new Float32Array(units.count)
    for (const unit of kept.get(units.group)!) gates[unit] = 1
    found[`${site.name}.${keys.units}`] = value(gates, [units.count], 'float32')
  }
  return found
}

/** A module that reads units which are to be pruned. */
interface Reader {
  readonly site: Site
  readonly units: UnitGroup
}

const groupsOf = (readers: readonly Reader[]): UnitGroup[] => [
  ...new Map(readers.map(({ units }) => [units.group, units])).values(),
]

/** The units of each group that stay, by the scores of the weights that make them. */
const keptByScore = async (
  plan: Plan,
  readers: readonly Reader[],
  parameters: Parameters<Value>,
  o: PruningOptions,
): Promise<Kept> => {
  const groups = groupsOf(readers)
  const names = new Set(groups.map(({ group }) => group))
  const makers = sitesOf(plan.base, ['linear']).filter(
    ({ outputUnits: made }) => made && names.has(made.group),
  )
  const scored = await scoredAt(plan, makers, parameters)
  return keptUnits(groups, scored, (group) => removedFrom(o, group), o)
}

/** The units of each group that stay, by |c| summed over the modules that read them. */
const keptByCoefficients = async (
  readers: readonly Reader[],
  parameters: Parameters<Value>,
  o: PruningOptions,
): Promise<Kept> => {
  const sums = new Map<string, Float64Array>()
  for (const { site, units } of readers) {
    const coefficients = await parameters[`${site.name}.${keys.coefficients}`].read()
    const sum = sums.get(units.group) ?? new Float64Array(units.count)
    sum.forEach((x, u) => (sum[u] = x + Math.abs(Number(coefficients[u]))))
    sums.set(units.group, sum)
  }
  if ([...sums.values()].every((sum) => sum.every((x) => x === sum[0])))
    throw new UsageError('NothingToScore', 'dsee: the coefficients of all heads and channels are equal', {
      hint: 'Train first, or score by weight (no coefficients).',
    })
  return new Map(
    groupsOf(readers).map((group) => [
      group.group,
      [...largestIndices(sums.get(group.group)!, group.count - removedFrom(o, group))],
    ]),
  )
}

/** The units that stay, of every group that lost some. */
export const unitsLeft = async ({ base, sites }: Plan, parameters: Parameters<Value>): Promise<Kept> => {
  const kept = new Map<string, readonly number[]>()
  for (const { site, parameters: own } of sites) {
    const units = own.units && unitsInto(base, site)
    if (!units) continue
    const gates = await parameters[`${site.name}.${keys.units}`].read()
    const left = Array.from(gates as Float32Array, Number).flatMap((gate, i) => (gate ? [i] : []))
    if (left.length < units.count) kept.set(units.group, left)
  }
  return kept
}

/** Which sites lost entries. */
const sitesPruned = async ({ sites }: Plan, parameters: Parameters<Value>): Promise<string[]> => {
  const pruned: string[] = []
  for (const { site, parameters: own } of sites) {
    if (!own.mask) continue
    const bits = (await parameters[`${site.name}.${keys.mask}`].read()) as Uint8Array
    if (bits.some((byte) => byte !== 255)) pruned.push(site.name)
  }
  return pruned
}

/** Whether anything of the base is gone. */
export const isPruned = async (plan: Plan, parameters: Parameters<Value>): Promise<boolean> =>
  (await sitesPruned(plan, parameters)).length > 0 || (await unitsLeft(plan, parameters)).size > 0

/** What folding does to zeros: under a dense update there are none. */
export const zerosLost = async (plan: Plan, parameters: Parameters<Value>): Promise<string | undefined> => {
  const pruned = new Set(await sitesPruned(plan, parameters))
  const dense = plan.sites.filter(
    ({ site, parameters: own }) => pruned.has(site.name) && (own.U || own.values),
  )
  if (dense.length === 0) return undefined
  return (
    `dsee: ${dense.length} of ${pruned.size} pruned modules have an update, as ${dense[0].site.name}: folded into one matrix, ` +
    'W * S₁ + s (U V + S₂) is dense, and the zeros of S₁ are lost there'
  )
}
