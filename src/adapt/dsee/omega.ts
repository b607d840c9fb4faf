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

/** Scores that rank entries of the sparse part first and all others behind them, each by magnitude. */
const sparseFirst = (sparse: Float32Array, W: Float32Array): Float64Array => {
  let most = 0
  for (let i = 0; i < W.length; i++) most = Math.max(most, Math.abs(W[i]))
  const scores = new Float64Array(W.length)
  for (let i = 0; i < W.length; i++)
    scores[i] = sparse[i] === 0 ? Math.abs(W[i]) - most - 1 : Math.abs(sparse[i])
  return scores
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
  return largestIndices(sparseFirst(sparse, data), count)
}
