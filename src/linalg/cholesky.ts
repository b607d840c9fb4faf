/** @file Cholesky decomposition and what is solved with it. */
import { NotPositiveDefiniteError } from './errors.js'
import { checkSymmetric, type Matrix, matrix } from './matrix.js'
import { solveTriangular } from './triangular.js'

/**
 * The lower triangular L with positive diagonal and A = L L^T, for a symmetric positive definite `a`: [n, n]. Its lower
 * triangle is used. Throws NotSquareError, NotFiniteError, NotSymmetricError, or NotPositiveDefiniteError with the
 * index of the pivot that failed.
 *
 * Source: Golub and Van Loan, Matrix Computations (4th ed.), section 4.2; by rows, so that every sum runs along two.
 */
export const cholesky = (a: Matrix): Matrix => {
  checkSymmetric('cholesky', a)
  const n = a.rows
  const l = matrix(n, n)
  const { data } = l
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) {
      let sum = a.data[i * n + j]
      for (let k = 0, p = i * n, q = j * n; k < j; k++) sum -= data[p + k] * data[q + k]
      if (i === j && !(sum > 0)) throw new NotPositiveDefiniteError(i, sum)
      data[i * n + j] = i === j ? Math.sqrt(sum) : sum / data[j * n + j]
    }
  return l
}

/** X with A X = B for a symmetric positive definite `a`: [n, n], b: [n, k]. Throws as `cholesky`, or MatrixShapeError. */
export const solvePositiveDefinite = (a: Matrix, b: Matrix): Matrix => {
  const l = cholesky(a)
  const y = solveTriangular(l, b, { triangle: 'lower' })
  return solveTriangular(l, y, { triangle: 'lower', transpose: true })
}
