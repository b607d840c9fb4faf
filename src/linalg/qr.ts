/** @file QR decomposition by Householder reflections. */
import { accumulate, columnOf, type Reflection, reflect, reflectLeft } from './householder.js'
import { type Matrix, matrix, scaled } from './matrix.js'

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
