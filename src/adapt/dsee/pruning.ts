/**
 * @file What DSEE removes of the base: single entries below one threshold a pool, as bitmaps; or whole heads and hidden
 * channels. Scores look at the weight W and the update s (U V + S₂), and the update is always the effective one.
 */
import { UsageError } from '../../errors.js'
import { Stream } from '../../random/index.js'
import { entriesOf, type UnitGroup } from '../../units/index.js'
import { largestOfPool, packBits } from '../../sparse/index.js'
import { largestIndices } from '../../linalg/index.js'
import type { Site } from '../../models/sites.js'

/** |W|; |s (U V + S₂)| (the paper's ABS); |W + s (U V + S₂)| (its WABS); |s U V|; chance. */
export const scoreKinds = ['weight', 'update', 'final', 'low-rank', 'random'] as const
export type ScoreKind = (typeof scoreKinds)[number]

/** Scores that need an update that is not zero. */
const ofUpdate: ReadonlySet<ScoreKind> = new Set(['update', 'low-rank'])

/** A matrix of the model as pruning sees it: all of [out, in], flat. */
export interface Scored {
  readonly site: Site
  readonly W: ArrayLike<number>
  /** s U V and s (U V + S₂), where the module has an update. */
  readonly update?: { readonly lowRank: Float64Array; readonly whole: Float64Array }
}

export interface ScoreOptions {
  readonly score: ScoreKind
  readonly seed?: number | string
}

/** Throws UsageError where an update is asked about that is all zero. */
export const requireUpdates = (matrices: readonly Scored[], { score }: ScoreOptions): void => {
  if (!ofUpdate.has(score)) return
  const pick = score === 'update' ? 'whole' : 'lowRank'
  const updates = matrices.flatMap(({ update }) => (update ? [update[pick]] : []))
  if (updates.some((own) => own.some((x) => x !== 0))) return
  throw new UsageError(
    'NothingToScore',
    `dsee: the update of all ${updates.length} modules is zero: by score ${score} all entries are equal`,
    { hint: 'Train first, or score by weight.' },
  )
}

/** Of every entry. Modules without an update are ranked by |W|, or by chance where that is asked for. */
export const entryScores = ({ site, W, update }: Scored, { score, seed = 0 }: ScoreOptions): Float64Array => {
  if (score === 'random') {
    const stream = new Stream(`${seed}/dsee/${site.name}`)
    return Float64Array.from({ length: W.length }, () => stream.uniform())
  }
  if (!update || score === 'weight') return Float64Array.from(W, Math.abs)
  if (score === 'low-rank') return update.lowRank.map(Math.abs)
  if (score === 'update') return update.whole.map(Math.abs)
  return update.whole.map((x, i) => Math.abs(W[i] + x))
}

export interface SparsityOptions extends ScoreOptions {
  /** p. */
  readonly sparsity: number
  /** One threshold for all modules with an update and one for the others, or one for each. */
  readonly threshold: 'pool' | 'matrix'
}

const pools = (
  matrices: readonly Scored[],
  threshold: SparsityOptions['threshold'],
): (readonly Scored[])[] =>
  threshold === 'matrix'
    ? matrices.map((m) => [m])
    : [true, false].map((updated) => matrices.filter(({ update }) => Boolean(update) === updated))

/** S₁ of each module by name, as a bitmap: in every pool the floor(p size) entries of least score go; of equal ones the last. */
export const masksOf = (matrices: readonly Scored[], o: SparsityOptions): Map<string, Uint8Array> => {
  requireUpdates(matrices, o)
  const masks = new Map<string, Uint8Array>()
  for (const pool of pools(matrices, o.threshold)) {
    const size = pool.reduce((n, { W }) => n + W.length, 0)
    const kept = largestOfPool(
      pool.map((m) => entryScores(m, o)),
      size - Math.floor(o.sparsity * size + 1e-9),
    )
    for (const [i, { site, W }] of pool.entries()) masks.set(site.name, packBits(kept[i], W.length))
  }
  return masks
}

/**
 * The scores of the units of one group: sums over their rows in the modules that make them, those with an update where there
 * are any (heads: q and v), else all (hidden channels: up and gate).
 */
const unitScores = (
  { group, count }: UnitGroup,
  matrices: readonly Scored[],
  { score, seed = 0 }: ScoreOptions,
): Float64Array => {
  if (score === 'random') {
    const stream = new Stream(`${seed}/dsee/${group}`)
    return Float64Array.from({ length: count }, () => stream.uniform())
  }
  const makers = matrices.filter(({ site }) => site.outputUnits?.group === group)
  const updated = makers.filter(({ update }) => update)
  const sums = new Float64Array(count)
  for (const m of updated.length ? updated : makers) {
    const { runs } = m.site.outputUnits!
    const own = entryScores(m, { score, seed })
    for (let u = 0; u < count; u++)
      for (const row of entriesOf({ runs }, [u]))
        for (let i = 0; i < m.site.in; i++) sums[u] += own[row * m.site.in + i]
  }
  return sums
}

/** The units of each group that stay, ascending: all but the `removed(group)` of least score; of equal ones the first stay. */
export const keptUnits = (
  groups: readonly UnitGroup[],
  matrices: readonly Scored[],
  removed: (group: UnitGroup) => number,
  o: ScoreOptions,
): Map<string, readonly number[]> => {
  requireUpdates(matrices, o)
  return new Map(
    groups.map((group) => {
      const scores = unitScores(group, matrices, o)
      return [group.group, [...largestIndices(scores, group.count - removed(group))]]
    }),
  )
}
