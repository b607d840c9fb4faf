/** @file QR decomposition by Householder reflections. */
import { accumulate, columnOf, type Reflection, reflect, reflectLeft } from './householder.js'
import { leadingColumns, type Matrix, matrix, scaled } from './matrix.js'
import type { Dense } from './multiply.js'
import { exactProduct } from './product.js'

/** A = Q R with k = min(m, n). */
export interface QR {
  /** [m, k], orthonormal columns. */
  readonly q: Matrix
  /** [k, n], upper triangular; the signs of its diagonal are LAPACK's. */
  readonly r: Matrix
}

/**
 * The thin QR decomposition of `a`: [m, n]. Backward stable for any rank. Throws NotFiniteError.
 *
 * Source: Golub and Van Loan, Matrix Computations (4th ed.), algorithm 5.2.1.
 */
export const qr = (a: Matrix): QR => {
  const { rows, cols } = a
  const { data, scale } = scaled('qr', a)
  const k = Math.min(rows, cols)
  const reflections: Reflection[] = []
  for (let j = 0; j < k; j++) {
    const reflection = reflect(columnOf(data, cols, j, j))
    reflectLeft(data, cols, j, j + 1, reflection)
    data[j * cols + j] = reflection.beta
    reflections.push(reflection)
  }
  const r = matrix(k, cols)
  for (let i = 0; i < k; i++) for (let j = i; j < cols; j++) r.data[i * cols + j] = data[i * cols + j] * scale
  return { q: matrix(rows, k, accumulate(reflections, rows, k)), r }
}

/** The first `count` columns of Q and rows of R, from the first columns of `a`: [m, n] alone. Throws NotFiniteError. */
export const leadingQr = async (a: Dense, count: number): Promise<QR> => {
  const whole = matrix(a.rows, a.cols, a.data)
  const { q, r: corner } = qr(leadingColumns(whole, Math.min(count, a.cols)))
  const r = await exactProduct(q, a, { transposeA: true })
  const { rows, cols } = r
  // Below the diagonal there is rounding; on it and above, in the first columns, what the reflections gave.
  for (let i = 0; i < rows; i++)
    r.data.set(corner.data.subarray(i * corner.cols, (i + 1) * corner.cols), i * cols)
  return { q, r }
}
