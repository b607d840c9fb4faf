/**
 * @file Places Ω of DSEE's free entries: the support of the sparse part when a weight is taken apart into one of low rank
 * and a sparse one, greedily (GreBsmo, Zhou and Tao 2013), or the largest entries, or any.
 */
import { largestIndices, lowRankPlusSparse } from '../../linalg/index.js'
import { type Key, uniform } from '../../random/index.js'

/** Ways to choose Ω. */
export const omegaKinds = ['decomposition', 'magnitude', 'random'] as const
export type OmegaKind = (typeof omegaKinds)[number]

export interface OmegaOptions {
  readonly kind: OmegaKind
  /** Magnitude, in standard deviations of W, below which an entry of the decomposition's rest counts as none. Default 0.25. */
  readonly threshold?: number
  /** Rounds of the decomposition, each from no sparse part at a greater rank. Default 10. */
  readonly rounds?: number
  /** Rows by which its low-rank part grows after a round, until a sixteenth of the smaller side. Default 5. */
  readonly growth?: number
}

/** Standard deviation. */
const deviation = (data: Float32Array): number => {
  let sum = 0
  let squares = 0
  for (let i = 0; i < data.length; i++) sum += data[i]
  const mean = sum / data.length
  for (let i = 0; i < data.length; i++) squares += (data[i] - mean) ** 2
  return Math.sqrt(squares / data.length)
}

/** The largest entries of the sparse part; where it has too few, all of them and the largest of W elsewhere. */
const sparseFirst = (sparse: Float32Array, W: Float32Array, count: number): Int32Array => {
  let held = 0
  for (let i = 0; i < sparse.length; i++) if (sparse[i] !== 0) held++
  if (held >= count) return largestIndices(sparse, count, { by: 'magnitude' })
  const scores = Float32Array.from(W, (x, i) => (sparse[i] === 0 ? Math.abs(x) : Infinity))
  return largestIndices(scores, count)
}

/**
 * The `count` entries of W that the update is free in: flat, ascending, of equal ones the first. data: [rows, columns].
 * Throws NotFiniteError for weights that are NaN, or infinite where they are taken apart.
 */
export const omegaOf = async (
  { data, shape: [rows, columns] }: { readonly data: Float32Array; readonly shape: readonly number[] },
  count: number,
  key: Key,
  { kind, threshold = 0.25, ...options }: OmegaOptions,
): Promise<Int32Array> => {
  if (count === 0) return new Int32Array()
  if (kind === 'magnitude') return largestIndices(data, count, { by: 'magnitude' })
  if (kind === 'random') {
    const chance = new Float32Array(data.length)
    uniform(chance, key)
    return largestIndices(chance, count)
  }
  const taken = { ...options, threshold: threshold * deviation(data) }
  const { sparse } = await lowRankPlusSparse({ rows, cols: columns, data }, key, taken)
  return sparseFirst(sparse, data, count)
}
