/** @file The singular value decomposition, in full. */
import { NotConvergedError } from './errors.js'
import { accumulate, columnOf, type Reflection, reflect, reflectLeft, reflectRight } from './householder.js'
import { type Matrix, matrix, scaled, transpose } from './matrix.js'
import { multiply } from './multiply.js'
import { qr } from './qr.js'
import { rotateRows, rotationFor, wilkinsonShift } from './rotations.js'

/** A = U diag(s) V^T with k = min(m, n). */
export interface SVD {
  /** [m, k], orthonormal columns. */
  readonly u: Matrix
  /** [k], descending, not negative. */
  readonly s: Float64Array
  /** [k, n], orthonormal rows. */
  readonly vt: Matrix
}

/** An upper bidiagonal matrix under QR iteration, with U^T and V^T, whose rows follow the rotations. */
interface Bidiagonal {
  readonly d: Float64Array
  readonly e: Float64Array
  readonly ut: Float64Array
  readonly vt: Float64Array
}

/** U^T A V = B for a square A (Golub and Van Loan, algorithm 5.4.2). `data` is overwritten. */
const bidiagonalise = (data: Float64Array, n: number): Bidiagonal => {
  const left: Reflection[] = []
  const right: Reflection[] = []
  const d = new Float64Array(n)
  const e = new Float64Array(Math.max(0, n - 1))
  for (let k = 0; k < n; k++) {
    left.push(reflect(columnOf(data, n, k, k)))
    d[k] = left[k].beta
    reflectLeft(data, n, k, k + 1, left[k])
    if (k + 1 === n) break
    right.push(reflect(data.slice(k * n + k + 1, (k + 1) * n)))
    e[k] = right[k].beta
    reflectRight(data, n, k + 1, k + 1, right[k])
  }
  const rows = (columns: Float64Array): Float64Array => transpose(matrix(n, n, columns)).data
  return { d, e, ut: rows(accumulate(left, n, n)), vt: rows(accumulate(right, n, n, 1)) }
}

/** One implicit QR step on rows p to q of B (algorithm 8.6.1). No d from p to q is 0. */
const golubKahanStep = ({ d, e, ut, vt }: Bidiagonal, p: number, q: number): void => {
  const n = d.length
  const above = q - 1 > p ? e[q - 2] : 0
  const shift = wilkinsonShift(d[q - 1] ** 2 + above ** 2, d[q - 1] * e[q - 1], d[q] ** 2 + e[q - 1] ** 2)
  let x = d[p] - shift / d[p]
  let z = e[p]
  for (let k = p; k < q; k++) {
    const right = rotationFor(x, z)
    if (k > p) e[k - 1] = right.r
    x = right.c * d[k] + right.s * e[k]
    e[k] = right.c * e[k] - right.s * d[k]
    z = right.s * d[k + 1]
    d[k + 1] *= right.c
    rotateRows(vt, n, k, k + 1, right)
    const left = rotationFor(x, z)
    d[k] = left.r
    x = left.c * e[k] + left.s * d[k + 1]
    d[k + 1] = left.c * d[k + 1] - left.s * e[k]
    e[k] = x
    if (k < q - 1) {
      z = left.s * e[k + 1]
      e[k + 1] *= left.c
    }
    rotateRows(ut, n, k, k + 1, left)
  }
}

/** d[k] = 0 above row q: rotates the rest of row k away, so that B falls apart there. */
const clearRow = ({ d, e, ut }: Bidiagonal, k: number, q: number): void => {
  let rest = e[k]
  e[k] = 0
  for (let j = k + 1; j <= q && rest !== 0; j++) {
    const rotation = rotationFor(d[j], rest)
    d[j] = rotation.r
    rest = j < q ? -rotation.s * e[j] : 0
    if (j < q) e[j] *= rotation.c
    rotateRows(ut, d.length, j, k, rotation)
  }
}

/** d[q] = 0: rotates the rest of column q away. */
const clearColumn = ({ d, e, vt }: Bidiagonal, p: number, q: number): void => {
  let rest = e[q - 1]
  e[q - 1] = 0
  for (let j = q - 1; j >= p && rest !== 0; j--) {
    const rotation = rotationFor(d[j], rest)
    d[j] = rotation.r
    rest = j > p ? -rotation.s * e[j - 1] : 0
    if (j > p) e[j - 1] *= rotation.c
    rotateRows(vt, d.length, j, q, rotation)
  }
}

/** Diagonalises B (algorithm 8.6.2). */
const diagonalise = (b: Bidiagonal): void => {
  const { d, e } = b
  const limit = 60 * d.length
  const negligible = (k: number): boolean =>
    Math.abs(e[k]) <= Number.EPSILON * (Math.abs(d[k]) + Math.abs(d[k + 1])) + 1e-290
  let steps = 0
  for (let q = d.length - 1; q > 0;) {
    if (negligible(q - 1)) {
      e[--q] = 0
      continue
    }
    let p = q - 1
    while (p > 0 && !negligible(p - 1)) p--
    if (p > 0) e[p - 1] = 0
    if (++steps > limit) throw new NotConvergedError('svd', steps)
    let largest = Math.abs(d[q])
    for (let k = p; k < q; k++) largest = Math.max(largest, Math.abs(d[k]), Math.abs(e[k]))
    const zero = d.subarray(p, q + 1).findIndex((x) => Math.abs(x) <= Number.EPSILON * largest)
    if (zero < 0) golubKahanStep(b, p, q)
    else {
      d[p + zero] = 0
      if (p + zero < q) clearRow(b, p + zero, q)
      else clearColumn(b, p, q)
    }
  }
}

/** The decomposition of a square matrix: positive, sorted. */
const squareSvd = (a: Matrix): SVD => {
  const n = a.rows
  const { data, scale } = scaled('svd', a)
  const b = bidiagonalise(data, n)
  diagonalise(b)
  const order = Array.from(b.d, (_, i) => i).sort((i, j) => Math.abs(b.d[j]) - Math.abs(b.d[i]))
  const ut = matrix(n, n)
  const vt = matrix(n, n)
  order.forEach((from, to) => {
    ut.data.set(b.ut.subarray(from * n, (from + 1) * n), to * n)
    const sign = b.d[from] < 0 ? -1 : 1
    for (let j = 0; j < n; j++) vt.data[to * n + j] = sign * b.vt[from * n + j]
  })
  return { u: transpose(ut), s: Float64Array.from(order, (i) => Math.abs(b.d[i]) * scale), vt }
}

/**
 * The thin singular value decomposition of `a`: [m, n], by QR, bidiagonalisation and implicit QR. Errors are of the
 * order of 1e-16 times the largest singular value; the signs of a pair of vectors are arbitrary. The work grows as
 * m n min(m, n): for large matrices of low rank see `randomizedSvd`. Throws NotFiniteError.
 *
 * Source: Golub and Van Loan, Matrix Computations (4th ed.), section 8.6.
 */
export const svd = (a: Matrix): SVD => {
  if (a.rows < a.cols) {
    const { u, s, vt } = svd(transpose(a))
    return { u: transpose(vt), s, vt: transpose(u) }
  }
  if (a.rows === a.cols) return squareSvd(a)
  const { q, r } = qr(a)
  const { u, s, vt } = squareSvd(r)
  return { u: multiply(q, u), s, vt }
}
