/** @file The matrix type of the host's linear algebra: float64, dense, row-major. */
import { MatrixShapeError, NotFiniteError, NotSquareError, NotSymmetricError } from './errors.js'

/** A dense matrix: entry [i, j] is data[i * cols + j]. */
export interface Matrix {
  readonly rows: number
  readonly cols: number
  readonly data: Float64Array
}

/**
 * The matrix over `data`: [rows x cols numbers], row-major, copied unless a Float64Array, or of zeros. Throws
 * MatrixShapeError.
 */
export const matrix = (rows: number, cols: number, data?: ArrayLike<number>): Matrix => {
  for (const size of [rows, cols])
    if (!Number.isSafeInteger(size) || size < 0)
      throw new MatrixShapeError('matrix', `${rows} x ${cols} is no size: two integers from 0 on are needed`)
  if (data && data.length !== rows * cols)
    throw new MatrixShapeError('matrix', `${data.length} entries do not fill ${rows} x ${cols}`)
  if (!data) return { rows, cols, data: new Float64Array(rows * cols) }
  return { rows, cols, data: data instanceof Float64Array ? data : new Float64Array(data) }
}

/** The matrix with the given rows: [cols] each. Throws MatrixShapeError where their lengths differ. */
export const matrixOf = (rows: readonly ArrayLike<number>[]): Matrix => {
  const cols = rows.length ? rows[0].length : 0
  const out = matrix(rows.length, cols)
  rows.forEach((row, i) => {
    if (row.length !== cols)
      throw new MatrixShapeError('matrixOf', `row ${i} has ${row.length} entries, row 0 has ${cols}`)
    out.data.set(row, i * cols)
  })
  return out
}

/** The identity matrix: [n, n]. Throws MatrixShapeError. */
export const identity = (n: number): Matrix => {
  const out = matrix(n, n)
  for (let i = 0; i < n; i++) out.data[i * n + i] = 1
  return out
}

/** The transpose, copied in tiles that stay in the cache. */
export const transpose = ({ rows, cols, data }: Matrix): Matrix => {
  const out = matrix(cols, rows)
  const tile = 32
  for (let top = 0; top < rows; top += tile)
    for (let left = 0; left < cols; left += tile)
      for (let i = top; i < Math.min(top + tile, rows); i++)
        for (let j = left; j < Math.min(left + tile, cols); j++) out.data[j * rows + i] = data[i * cols + j]
  return out
}

/** The first `count` columns. */
export const leadingColumns = ({ rows, cols, data }: Matrix, count: number): Matrix => {
  const out = matrix(rows, count)
  for (let i = 0; i < rows; i++) out.data.set(data.subarray(i * cols, i * cols + count), i * count)
  return out
}

/** Throws NotFiniteError at the first entry that is NaN or infinite; returns the largest magnitude. */
export const checkFinite = (
  name: string,
  { cols, data }: { cols: number; data: ArrayLike<number> },
): number => {
  let largest = 0
  for (let i = 0; i < data.length; i++) {
    const magnitude = Math.abs(data[i])
    if (!(magnitude < Infinity)) throw new NotFiniteError(name, Math.floor(i / cols), i % cols, data[i])
    if (magnitude > largest) largest = magnitude
  }
  return largest
}

/**
 * Throws NotSquareError or NotFiniteError, and NotSymmetricError when two mirrored entries differ by more than
 * `tolerance` times the largest entry.
 */
export const checkSymmetric = (name: string, a: Matrix, tolerance = 1e-10): void => {
  const n = a.rows
  if (a.cols !== n) throw new NotSquareError(name, n, a.cols)
  const limit = checkFinite(name, a) * tolerance
  for (let i = 0; i < n; i++)
    for (let j = 0; j < i; j++) {
      const x = a.data[i * n + j]
      const y = a.data[j * n + i]
      if (Math.abs(x - y) > limit) throw new NotSymmetricError(name, i, j, [x, y])
    }
}

/** A copy of a matrix times 1 / scale, where scale is the power of two near its largest entry: no square overflows. */
export interface Scaled {
  readonly data: Float64Array
  readonly scale: number
}

/** Throws NotFiniteError. Exact but for entries 2^1000 times smaller than the largest. */
export const scaled = (name: string, a: Matrix): Scaled => {
  const largest = checkFinite(name, a)
  const exponent = largest ? Math.max(-1022, Math.min(1022, Math.floor(Math.log2(largest)))) : 0
  const scale = 2 ** exponent
  const inverse = 1 / scale
  const data = new Float64Array(a.data.length)
  for (let i = 0; i < data.length; i++) data[i] = a.data[i] * inverse
  return { data, scale }
}
