/** @file The leading singular vectors of a large matrix, from a few products with thin ones. */
import { keyOf, normal, type Seed } from '../random/index.js'
import { engineMatmul } from './engine.js'
import { MatrixShapeError } from './errors.js'
import { checkFinite, leadingColumns, type Matrix, matrix, transpose } from './matrix.js'
import { type Dense, hostMatmul, type MatMul, multiply } from './multiply.js'
import { qr } from './qr.js'
import { svd, type SVD } from './svd.js'

export interface RandomizedOptions {
  /** Columns drawn beyond the rank. Default 8. */
  readonly oversampling?: number
  /** Power iterations: each multiplies the gap between kept and dropped singular values by its square. Default 2. */
  readonly iterations?: number
  /** Default 0. */
  readonly seed?: Seed
  /** Where the large products run. Default: the engine for float32 data, the host (in float64) for float64 data. */
  readonly matmul?: MatMul
}

const defaultMatmul = ({ data }: Dense): MatMul =>
  data instanceof Float32Array ? engineMatmul() : hostMatmul

const natural = (name: string, value: number, low: number, high: number): number => {
  if (!Number.isInteger(value) || value < low || value > high)
    throw new MatrixShapeError('randomizedSvd', `${name} ${value} is not an integer from ${low} to ${high}`)
  return value
}

/** An orthonormal basis of the columns of `a`. */
const basis = ({ rows, cols, data }: Dense): Matrix => qr(matrix(rows, cols, data)).q

const truncate = ({ u, s, vt }: SVD, rank: number): SVD => ({
  u: leadingColumns(u, rank),
  s: s.slice(0, rank),
  vt: matrix(rank, vt.cols, vt.data.slice(0, rank * vt.cols)),
})

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
  const test = { rows: a.cols, cols: width, data: new Float32Array(a.cols * width) }
  normal(test.data, keyOf(seed))
  let q = basis(await matmul(a, test))
  for (let i = 0; i < iterations; i++) {
    const z = basis(await matmul(a, q, { transposeA: true }))
    q = basis(await matmul(a, z))
  }
  const projected = await matmul(a, q, { transposeA: true })
  const small = svd(matrix(projected.rows, projected.cols, projected.data))
  const whole = { u: multiply(q, small.vt, { transposeB: true }), s: small.s, vt: transpose(small.u) }
  return truncate(whole, rank)
}
