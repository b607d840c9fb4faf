/** @file Which entries of a matrix a sparse tuner trains: what they are ranked by, and the greatest of them. */
import { CheckpointError } from '../errors.js'
import {
  exactProduct,
  largestIndices,
  leadingSvd,
  lowRankApproximation,
  type Matrix,
  matrix,
} from '../linalg/index.js'
import { keyOf, uniform } from '../random/index.js'

/**
 * Scores of entries: |W'| of the best approximation W' of rank q ('principal', LIFT), |W|, chance, |∂L/∂W|, how much the
 * gradient moves them away from zero (-W ∂L/∂W), and the norm of their row or column.
 */
export const maskKinds = [
  'principal',
  'magnitude',
  'random',
  'gradient',
  'movement',
  'rows',
  'columns',
] as const
/** Kind of mask: how entries are chosen. */
export type MaskKind = (typeof maskKinds)[number]

/** Kinds that look at gradients. */
export const byGradient: ReadonlySet<MaskKind> = new Set(['gradient', 'movement'])

/** Options of `maskOf`. */
export interface MaskOptions {
  /** How entries are chosen. */
  readonly mask: MaskKind
  /** End of the ranking that is taken. */
  readonly order: 'largest' | 'smallest'
  /** Rank q of the approximation. */
  readonly filterRank: number
  /** Whole decomposition, or a sketch of 2 q columns with two power iterations. */
  readonly svd: 'randomized' | 'exact'
  /** Seed of the sketch and of random scores. */
  readonly seed: number | string
}

/** Matrix whose entries are ranked, [rows, columns] row-major. */
export interface RankedMatrix {
  readonly name: string
  readonly rows: number
  readonly columns: number
  readonly data: Float32Array
  /** ∂L/∂W of the same shape, where the kind needs it. */
  readonly gradient?: Float32Array
}

/** Throws CheckpointError for numbers that no approximation can be made of. */
const requireFinite = ({ name, data }: RankedMatrix): void => {
  let bad = 0
  for (let i = 0; i < data.length; i++) if (!Number.isFinite(data[i])) bad++
  if (bad > 0)
    throw new CheckpointError('NotFinite', `${bad} of the ${data.length} numbers of ${name} are not finite`)
}

/** The columns of u, each times its singular value. */
const weighted = ({ rows, cols, data }: Matrix, s: Float64Array): Matrix =>
  matrix(
    rows,
    cols,
    data.map((x, i) => x * s[i % cols]),
  )

/** The best approximation of rank `filterRank` of W: [rows, columns] -> the same, flat. W itself at its full rank. */
export const rankReduced = async (
  { rows, columns, data }: RankedMatrix,
  { filterRank: q, svd: kind, seed }: Pick<MaskOptions, 'filterRank' | 'svd' | 'seed'>,
): Promise<Float32Array | Float64Array> => {
  if (q >= Math.min(rows, columns)) return data
  const w = { rows, cols: columns, data }
  if (kind === 'randomized') return (await lowRankApproximation(w, q, { seed })).data
  const { u, s, vt } = await leadingSvd(w, q, seed)
  return (await exactProduct(weighted(u, s), vt)).data
}

/** The squared norm of each entry's row or column. */
const bands = ({ rows, columns, data }: RankedMatrix, along: 'rows' | 'columns'): Float64Array => {
  const sums = new Float64Array(along === 'rows' ? rows : columns)
  const out = new Float64Array(data.length)
  for (let r = 0, i = 0; r < rows; r++)
    for (let c = 0; c < columns; c++, i++) sums[along === 'rows' ? r : c] += data[i] * data[i]
  for (let r = 0, i = 0; r < rows; r++)
    for (let c = 0; c < columns; c++, i++) out[i] = sums[along === 'rows' ? r : c]
  return out
}

/** -W ∂L/∂W, entry by entry. */
const movement = ({ data, gradient = new Float32Array() }: RankedMatrix): Float32Array => {
  const out = new Float32Array(data.length)
  for (let i = 0; i < out.length; i++) out[i] = -data[i] * gradient[i]
  return out
}

/** What entries are ranked by, and whether its sign counts. */
const scores = async (
  w: RankedMatrix,
  options: MaskOptions,
): Promise<{ values: Float32Array | Float64Array; by: 'value' | 'magnitude' }> => {
  switch (options.mask) {
    case 'principal':
      return { values: await rankReduced(w, options), by: 'magnitude' }
    case 'magnitude':
      return { values: w.data, by: 'magnitude' }
    case 'random': {
      const values = new Float32Array(w.data.length)
      uniform(values, keyOf(options.seed))
      return { values, by: 'value' }
    }
    case 'gradient':
      return { values: w.gradient ?? new Float32Array(), by: 'magnitude' }
    case 'movement':
      return { values: movement(w), by: 'value' }
    default:
      return { values: bands(w, options.mask), by: 'value' }
  }
}

/**
 * The k entries of W that train: flat indices in [rows, columns], ascending; of equal scores the first. Throws
 * CheckpointError for weights that are NaN or infinite.
 */
export const maskOf = async (w: RankedMatrix, k: number, options: MaskOptions): Promise<Int32Array> => {
  requireFinite(w)
  const { values, by } = await scores(w, options)
  return largestIndices(values, k, { by, smallest: options.order === 'smallest' })
}

/**
 * The `count` greatest entries of several arrays together, as flat indices in each, ascending; of equal ones the first.
 * pool: [matrices][elements].
 */
export const largestOfPool = (pool: readonly ArrayLike<number>[], count: number): Int32Array[] => {
  const size = pool.reduce((sum, { length }) => sum + length, 0)
  const all = new Float32Array(size)
  let start = 0
  for (const scores of pool) {
    all.set(scores, start)
    start += scores.length
  }
  return splitIndices(largestIndices(all, count), pool)
}

/** Ascending indices into arrays laid end to end, as indices into each. */
const splitIndices = (indices: Int32Array, pool: readonly ArrayLike<number>[]): Int32Array[] => {
  let start = 0
  let next = 0
  return pool.map(({ length }) => {
    const first = next
    while (next < indices.length && indices[next] < start + length) next++
    const within = indices.subarray(first, next).map((i) => i - start)
    start += length
    return within
  })
}
