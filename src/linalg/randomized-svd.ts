/** @file The leading singular vectors of a large matrix, and what it is near to at a low rank, by a random sketch. */
import type { Seed } from '../random/index.js'
import { orthonormalBasis } from './basis.js'
import { symmetricEigen } from './eigen.js'
import { checkFinite, leadingColumns, type Matrix, matrix, transpose } from './matrix.js'
import type { Dense } from './multiply.js'
import { exactProduct, productFor, singleProduct } from './product.js'
import { integerFrom, leadingSpan, type SubspaceOptions } from './subspace.js'
import { svd, type SVD } from './svd.js'

/** Options of `randomizedSvd`. */
export interface RandomizedOptions extends SubspaceOptions {
  /** Columns drawn beyond the rank. Default 8. */
  readonly oversampling?: number
}

const truncate = ({ u, s, vt }: SVD, rank: number): SVD => ({
  u: leadingColumns(u, rank),
  s: s.slice(0, rank),
  vt: matrix(rank, vt.cols, vt.data.slice(0, rank * vt.cols)),
})

/** Q of [m, k] times the first `rank` columns of `small`: [k, k]. */
const rotated = (q: Dense, small: Matrix, rank: number): Promise<Matrix> =>
  exactProduct(q, leadingColumns(small, rank))

/** Columns of the sketch. Throws MatrixShapeError for options out of range, NotFiniteError. */
const widthOf = (name: string, a: Dense, rank: number, options: RandomizedOptions): number => {
  integerFrom([name, 'rank'], rank, 1, Math.min(a.rows, a.cols))
  const { iterations = 0, oversampling = 8 } = options
  if (iterations !== 'converged') integerFrom([name, 'iterations'], iterations, 0)
  checkFinite(name, a)
  return rank + integerFrom([name, 'oversampling'], oversampling, 0)
}

/**
 * The `rank` leading singular values and vectors of `a`: [m, n], in float32 or float64. The error beyond the best of
 * that rank falls with the oversampling and with each iteration, and is rounding where it converges; products in float32
 * add about 1e-7 of the largest singular value. Exact (by `svd`) when rank + oversampling reaches min(m, n). The same seed gives the same result.
 * Throws NotFiniteError, or MatrixShapeError for a rank outside 1 to min(m, n).
 *
 * Source: Halko, Martinsson and Tropp, "Finding structure with randomness" (SIAM Review 2011), algorithms 4.4 and 5.1.
 */
export const randomizedSvd = async (
  a: Dense,
  rank: number,
  options: RandomizedOptions = {},
): Promise<SVD> => {
  const width = widthOf('randomizedSvd', a, rank, options)
  if (width >= Math.min(a.rows, a.cols)) return truncate(svd(matrix(a.rows, a.cols, a.data)), rank)
  const { matmul = productFor(a) } = options
  const left = await leadingSpan(a, { rank, width }, options, true)
  const projected = await matmul(a, left, { transposeA: true })
  const right = await orthonormalBasis(projected)
  const core = await exactProduct(right, projected, { transposeA: true })
  const { u, s, vt } = svd(core)
  return {
    u: await rotated(left, transpose(vt), rank),
    s: s.slice(0, rank),
    vt: transpose(await rotated(right, u, rank)),
  }
}

/** Smaller sides up to here are decomposed whole: no iteration is as fast. */
const smallSide = 192

/**
 * The `rank` leading singular values and vectors of `a`: [m, n], as exactly as the precision of its data allows: of small
 * matrices by `svd`, of others by `randomizedSvd` until it converges. Throws as `randomizedSvd` does.
 */
export const leadingSvd = async (a: Dense, rank: number, seed: Seed = 0): Promise<SVD> => {
  if (Math.min(a.rows, a.cols) > smallSide)
    return randomizedSvd(a, rank, { iterations: 'converged', oversampling: Math.max(16, rank), seed })
  widthOf('leadingSvd', a, rank, {})
  return truncate(svd(matrix(a.rows, a.cols, a.data)), rank)
}

/** The last `count` columns of a matrix: of `symmetricEigen` the leading vectors. */
const lastColumns = ({ rows, cols, data }: Matrix, count: number): Matrix => {
  const out = matrix(rows, count)
  for (let i = 0; i < rows; i++)
    out.data.set(data.subarray((i + 1) * cols - count, (i + 1) * cols), i * count)
  return out
}

/** Numbers that a program gives back at once: it holds them while it stays open. */
const blockSize = 2 ** 22

/** U Vᵀ in float32, by blocks of rows of one height. u: [m, k], v: [n, k] -> [m, n]. */
const outerProduct = async (u: Dense, v: Dense): Promise<Dense> => {
  const height = Math.ceil(u.rows / Math.ceil((u.rows * v.rows) / blockSize))
  const data = new Float32Array(u.rows * v.rows)
  for (let top = 0; top < u.rows; top += height) {
    // The last block laps over the one before it: the same program makes it.
    const first = Math.min(top, u.rows - height)
    const rows = u.data.subarray(first * u.cols, (first + height) * u.cols)
    const block = await singleProduct({ rows: height, cols: u.cols, data: rows }, v, { transposeB: true })
    data.set(block.data, first * v.rows)
  }
  return { rows: u.rows, cols: v.rows, data }
}

/**
 * The best approximation of rank `rank` of `a`: [m, n] -> [m, n], in float32, as P Pᵀ A with the leading left singular
 * vectors P that lie in a random sketch; `a` itself where its smaller side is no greater than that rank. Oversampling by
 * default as many columns as the rank. Throws as `randomizedSvd` does.
 */
export const lowRankApproximation = async (
  a: Dense,
  rank: number,
  { oversampling = rank, ...options }: RandomizedOptions = {},
): Promise<Dense> => {
  const size = Math.min(a.rows, a.cols)
  if (rank >= size) return a
  const width = Math.min(widthOf('lowRankApproximation', a, rank, { oversampling, ...options }), size)
  const { matmul = productFor(a) } = options
  const span = await leadingSpan(a, { rank, width }, options, a.data instanceof Float64Array)
  const projected = await matmul(a, span, { transposeA: true })
  const gram = await exactProduct(projected, projected, { transposeA: true })
  const leading = lastColumns(symmetricEigen(gram).vectors, rank)
  return outerProduct(await singleProduct(span, leading), await singleProduct(projected, leading))
}
