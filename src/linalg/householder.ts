/**
 * @file Householder reflections H = I - tau v v^T on row-major storage. Left and right application both run along rows.
 *
 * Source: Golub and Van Loan, Matrix Computations (4th ed.), section 5.1.
 */
import { addRows, dot } from './vector.js'

/** A reflection that takes the vector it was made from to a multiple of the first unit vector. */
export interface Reflection {
  /** Entry 0 is 1. */
  readonly v: Float64Array
  /** 0 for the identity. */
  readonly tau: number
  /** What the first entry becomes: minus its sign times the norm, as in LAPACK. */
  readonly beta: number
}

/**
 * The reflection for `x`, which is overwritten by v. It is made from x over its largest entry, so that it is orthogonal
 * to rounding also where squares, or x itself, leave the range of normal numbers.
 */
export const reflect = (x: Float64Array): Reflection => {
  let largest = 0
  for (let i = 0; i < x.length; i++) largest = Math.max(largest, Math.abs(x[i]))
  const alpha = largest && x[0] / largest
  let squares = 0
  for (let i = 1; i < x.length; i++) squares += (largest && x[i] / largest) ** 2
  if (squares === 0) {
    const beta = x[0]
    x.fill(0)[0] = 1
    return { v: x, tau: 0, beta }
  }
  const length = Math.sqrt(alpha * alpha + squares)
  const beta = alpha > 0 ? -length : length
  for (let i = 1; i < x.length; i++) x[i] = x[i] / largest / (alpha - beta)
  x[0] = 1
  return { v: x, tau: (beta - alpha) / beta, beta: beta * largest }
}

/** Entries [top .., column] of a matrix with rows of `cols`. */
export const columnOf = (data: Float64Array, cols: number, top: number, column: number): Float64Array => {
  const out = new Float64Array(data.length / cols - top)
  for (let i = 0; i < out.length; i++) out[i] = data[(top + i) * cols + column]
  return out
}

/** H A for the block of A that starts at [top, left] (to the last row and column). */
export const reflectLeft = (
  data: Float64Array,
  cols: number,
  top: number,
  left: number,
  { v, tau }: Reflection,
): void => {
  if (tau === 0) return
  const width = cols - left
  const sums = new Float64Array(width)
  addRows(sums, v, data.subarray(top * cols + left), cols)
  for (let i = 0; i < v.length; i++) {
    const factor = tau * v[i]
    for (let j = 0, at = (top + i) * cols + left; j < width; j++) data[at + j] -= factor * sums[j]
  }
}

/** A H for the block of A that starts at [top, left]. */
export const reflectRight = (
  data: Float64Array,
  cols: number,
  top: number,
  left: number,
  { v, tau }: Reflection,
): void => {
  if (tau === 0) return
  for (let at = top * cols + left; at < data.length; at += cols) {
    const factor = tau * dot(data, at, v, 0, v.length)
    for (let j = 0; j < v.length; j++) data[at + j] -= factor * v[j]
  }
}

/**
 * The first `cols` columns of H_0 H_1 ... as rows x cols, where the i-th reflection acts on the entries from
 * i + shift on. Built from the last to the first, so that only the part that is not yet unit vectors is touched.
 */
export const accumulate = (
  reflections: readonly Reflection[],
  rows: number,
  cols: number,
  shift = 0,
): Float64Array => {
  const data = new Float64Array(rows * cols)
  for (let i = 0; i < Math.min(rows, cols); i++) data[i * cols + i] = 1
  for (let i = reflections.length - 1; i >= 0; i--)
    reflectLeft(data, cols, i + shift, i + shift, reflections[i])
  return data
}
