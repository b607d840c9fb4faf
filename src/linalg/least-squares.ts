/** @file Least squares: overdetermined, underdetermined and rank-deficient systems alike. */
import { MatrixShapeError } from './errors.js'
import { checkFinite, type Matrix, matrix, transpose } from './matrix.js'
import { multiply } from './multiply.js'
import { qr } from './qr.js'
import { svd } from './svd.js'
import { solveTriangular } from './triangular.js'
import { maxOf, minOf } from '../tensor/numbers.js'

/**
 * Whether a triangular factor is so far from singular that no singular value can be a rounding error. Its diagonal only
 * hints at the rank, so the margin is wide: what is close goes the careful way.
 */
const clearlyRegular = (r: Matrix): boolean => {
  const pivots = Array.from({ length: r.rows }, (_, i) => Math.abs(r.data[i * r.cols + i]))
  return minOf(pivots) > 1e-10 * maxOf(pivots)
}

/** The solution of least norm, by the pseudo-inverse: singular values at the level of rounding count as 0. */
const minimumNorm = (a: Matrix, b: Matrix): Matrix => {
  const { u, s, vt } = svd(a)
  const y = multiply(u, b, { transposeA: true })
  const floor = 4 * Number.EPSILON * Math.max(a.rows, a.cols) * (s[0] ?? 0)
  for (let i = 0; i < s.length; i++)
    for (let j = 0; j < b.cols; j++) y.data[i * b.cols + j] = s[i] > floor ? y.data[i * b.cols + j] / s[i] : 0
  return multiply(vt, y, { transposeA: true })
}

/**
 * X that minimises the Frobenius norm of A X - B; of all such, the one of least norm. a: [m, n], b: [m, k]; returns
 * [n, k]. QR where the rank is clear, the pseudo-inverse otherwise, with singular values below
 * 4 max(m, n) eps times the largest taken as 0. Throws MatrixShapeError, NotFiniteError.
 */
export const leastSquares = (a: Matrix, b: Matrix): Matrix => {
  if (a.rows !== b.rows)
    throw new MatrixShapeError('leastSquares', `the right-hand side has ${b.rows} rows, the matrix ${a.rows}`)
  checkFinite('leastSquares', b)
  if (a.rows === 0 || a.cols === 0) return matrix(a.cols, b.cols)
  const tall = a.rows >= a.cols
  const { q, r } = qr(tall ? a : transpose(a))
  if (!clearlyRegular(r)) return minimumNorm(a, b)
  if (tall) return solveTriangular(r, multiply(q, b, { transposeA: true }), { triangle: 'upper' })
  return multiply(q, solveTriangular(r, b, { triangle: 'upper', transpose: true }))
}
