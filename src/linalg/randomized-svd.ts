/** @file The leading singular vectors of a large matrix, from a few products with thin ones. */
import { keyOf, normal, type Seed } from '../random/index.js'
import { orthonormalBasis } from './basis.js'
import { fastMatmul } from './engine.js'
import { MatrixShapeError } from './errors.js'
import { checkFinite, leadingColumns, type Matrix, matrix, transpose } from './matrix.js'
import type { Dense, MatMul } from './multiply.js'
import { svd, type SVD } from './svd.js'

/** Options of `randomizedSvd`. */
export interface RandomizedOptions {
  /** Columns drawn beyond the rank. Default 8. */
  readonly oversampling?: number
  /** Power iterations: each multiplies the gap between kept and dropped singular values by its square. Default 2. */
  readonly iterations?: number
  /** Seed of the columns drawn. Default 0. */
  readonly seed?: Seed
  /** Products with the matrix. Default: `fastMatmul` in the precision of its data. */
  readonly matmul?: MatMul
}

const precisionOf = ({ data }: Dense): 'float32' | 'float64' =>
  data instanceof Float32Array ? 'float32' : 'float64'

const defaultMatmul = (a: Dense): MatMul => fastMatmul({ precision: precisionOf(a) })

const natural = (name: string, value: number, low: number, high: number): number => {
  if (!Number.isInteger(value) || value < low || value > high)
    throw new MatrixShapeError('randomizedSvd', `${name} ${value} is not an integer from ${low} to ${high}`)
  return value
}

const truncate = ({ u, s, vt }: SVD, rank: number): SVD => ({
  u: leadingColumns(u, rank),
  s: s.slice(0, rank),
  vt: matrix(rank, vt.cols, vt.data.slice(0, rank * vt.cols)),
})

const exact = fastMatmul({ precision: 'float64' })

/** Q of [m, k] times the first `rank` columns of `small`: [k, k]. */
const rotated = async (q: Matrix, small: Matrix, rank: number): Promise<Matrix> => {
  const { rows, cols, data } = await exact(q, leadingColumns(small, rank))
  return matrix(rows, cols, data)
}

/** A basis of [m, width] whose span is nearly that of the leading left singular vectors. */
const rangeOf = async (
  a: Dense,
  width: number,
  { iterations, seed, matmul }: Required<Pick<RandomizedOptions, 'iterations' | 'seed' | 'matmul'>>,
): Promise<Matrix> => {
  const test = { rows: a.cols, cols: width, data: new Float32Array(a.cols * width) }
  normal(test.data, keyOf(seed))
  let q = await orthonormalBasis(await matmul(a, test))
  for (let i = 0; i < iterations; i++) {
    const z = await orthonormalBasis(await matmul(a, q, { transposeA: true }))
    q = await orthonormalBasis(await matmul(a, z))
  }
  return q
}

/**
 * The `rank` leading singular values and vectors of `a`: [m, n], in float32 or float64. The error beyond the best of
 * that rank falls with the oversampling and with each iteration; products in float32 add about 1e-7 of the largest
 * singular value. Exact (by `svd`) when rank + oversampling reaches min(m, n). The same seed gives the same result.
 * Throws NotFiniteError, or MatrixShapeError for a rank outside 1 to min(m, n).
 *
 * Source: Halko, Martinsson and Tropp, "Finding structure with randomness" (SIAM Review 2011), algorithms 4.4 and 5.1.
 */
export const randomizedSvd = async (
  a: Dense,
  rank: number,
  { oversampling = 8, iterations = 2, seed = 0, matmul = defaultMatmul(a) }: RandomizedOptions = {},
): Promise<SVD> => {
  const size = Math.min(a.rows, a.cols)
  natural('rank', rank, 1, size)
  const width = rank + natural('oversampling', oversampling, 0, Number.MAX_SAFE_INTEGER)
  natural('iterations', iterations, 0, Number.MAX_SAFE_INTEGER)
  checkFinite('randomizedSvd', a)
  if (width >= size) return truncate(svd(matrix(a.rows, a.cols, a.data)), rank)
  const left = await rangeOf(a, width, { iterations, seed, matmul })
  const projected = await matmul(a, left, { transposeA: true })
  const right = await orthonormalBasis(projected)
  const core = await exact(right, projected, { transposeA: true })
  const { u, s, vt } = svd(matrix(width, width, core.data))
  return {
    u: await rotated(left, transpose(vt), rank),
    s: s.slice(0, rank),
    vt: transpose(await rotated(right, u, rank)),
  }
}

/**
 * The best approximation of rank `rank` of `a`: [m, n] -> [m, n], in float32, as the product of what `randomizedSvd`
 * finds; `a` itself where its smaller side is no greater than that rank. Oversampling by default as many columns as
 * the rank. Throws as `randomizedSvd` does.
 */
export const lowRankApproximation = async (
  a: Dense,
  rank: number,
  { oversampling = rank, ...options }: RandomizedOptions = {},
): Promise<Dense> => {
  if (rank >= Math.min(a.rows, a.cols)) return a
  const { u, s, vt } = await randomizedSvd(a, rank, { oversampling, ...options })
  for (let i = 0; i < u.rows; i++) for (let j = 0; j < rank; j++) u.data[i * rank + j] *= s[j]
  return fastMatmul({ precision: 'float32' })(u, vt)
}
