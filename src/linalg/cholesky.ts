/** @file Cholesky decomposition and what is solved with it. */
import { NotPositiveDefiniteError } from './errors.js'
import { checkSymmetric, type Matrix, matrix } from './matrix.js'
import { solveTriangular } from './triangular.js'
import { dot } from './vector.js'

/** Rows finished together. */
const block = 32

/**
 * The lower triangular L with positive diagonal and A = L L^T, for a symmetric positive definite `a`: [n, n]. Its lower
 * triangle is used. Throws NotSquareError, NotFiniteError, NotSymmetricError, or NotPositiveDefiniteError with the
 * index of the pivot that failed.
 *
 * Source: Golub and Van Loan, Matrix Computations (4th ed.), section 4.2. Every sum runs along two rows; a block of
 * rows is finished at a time, so that it stays in the cache while all the rows above pass by.
 */
export const cholesky = (a: Matrix): Matrix => {
  checkSymmetric('cholesky', a)
  const n = a.rows
  const l = matrix(n, n)
  const { data } = l
  for (let top = 0; top < n; top += block) {
    const bottom = Math.min(top + block, n)
    for (let j = 0; j < bottom; j++)
      for (let i = Math.max(top, j); i < bottom; i++) {
        const rest = a.data[i * n + j] - dot(data, i * n, data, j * n, j)
        if (i === j && !(rest > 0)) throw new NotPositiveDefiniteError(i, rest)
        data[i * n + j] = i === j ? Math.sqrt(rest) : rest / data[j * n + j]
      }
  }
  return l
}

/**
 * X with A X = B for a symmetric positive definite `a`: [n, n], b: [n, k]. Throws as `cholesky`, or MatrixShapeError.
 */
export const solvePositiveDefinite = (a: Matrix, b: Matrix): Matrix => {
  const l = cholesky(a)
  const y = solveTriangular(l, b, { triangle: 'lower' })
  return solveTriangular(l, y, { triangle: 'lower', transpose: true })
}
