/** @file Triangular systems. */
import { MatrixShapeError, NotSquareError, SingularError } from './errors.js'
import { checkFinite, type Matrix, matrix } from './matrix.js'
import { addRows } from './vector.js'

/** Options of `solveTriangular`. */
export interface TriangularOptions {
  /** Triangle of the matrix that is read. */
  readonly triangle: 'lower' | 'upper'
  /** Whether the system is that of the transpose of that triangle. Default false. */
  readonly transpose?: boolean
}

/**
 * X with T X = B (or T^T X = B), where T is the given triangle of `a`: [n, n], b: [n, k]. The other triangle is not
 * read. Throws NotSquareError, MatrixShapeError, NotFiniteError, or SingularError for a zero on the diagonal.
 */
export const solveTriangular = (
  a: Matrix,
  b: Matrix,
  { triangle, transpose = false }: TriangularOptions,
): Matrix => {
  const n = a.rows
  if (a.cols !== n) throw new NotSquareError('solveTriangular', n, a.cols)
  if (b.rows !== n)
    throw new MatrixShapeError('solveTriangular', `the right-hand side has ${b.rows} rows, the matrix ${n}`)
  checkFinite('solveTriangular', a)
  checkFinite('solveTriangular', b)
  for (let i = 0; i < n; i++) if (a.data[i * n + i] === 0) throw new SingularError('solveTriangular', i)
  const width = b.cols
  const x = b.data.slice()
  const forward = (triangle === 'lower') !== transpose
  const [rowStride, colStride] = transpose ? [1, n] : [n, 1]
  for (let step = 0; step < n; step++) {
    const i = forward ? step : n - 1 - step
    const [from, to] = forward ? [0, i] : [i + 1, n]
    const row = x.subarray(i * width, (i + 1) * width)
    const factors = new Float64Array(to - from)
    for (let k = from; k < to; k++) factors[k - from] = -a.data[i * rowStride + k * colStride]
    addRows(row, factors, x.subarray(from * width), width)
    const pivot = a.data[i * n + i]
    for (let j = 0; j < width; j++) row[j] /= pivot
  }
  return matrix(n, width, x)
}
