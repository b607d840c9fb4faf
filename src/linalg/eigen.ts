/** @file Eigenvalues and eigenvectors of symmetric matrices. */
import { NotConvergedError } from './errors.js'
import { accumulate, columnOf, type Reflection, reflect } from './householder.js'
import { checkSymmetric, type Matrix, matrix, scaled, transpose } from './matrix.js'
import { rotateRows, rotationFor, wilkinsonShift } from './rotations.js'
import { dot } from './vector.js'

/** A = V diag(values) V^T. */
export interface SymmetricEigen {
  /** Ascending, as in LAPACK. */
  readonly values: Float64Array
  /** [n, n]; column i is the unit eigenvector of values[i]. */
  readonly vectors: Matrix
}

interface Tridiagonal {
  readonly diagonal: Float64Array
  readonly off: Float64Array
  readonly reflections: readonly Reflection[]
}

/** A -= v w^T + w v^T on the block from [top, top] on. */
const rankTwoUpdate = (
  data: Float64Array,
  n: number,
  top: number,
  v: Float64Array,
  w: Float64Array,
): void => {
  for (let i = 0; i < v.length; i++) {
    const vi = v[i]
    const wi = w[i]
    for (let j = 0, at = (top + i) * n + top; j < v.length; j++) data[at + j] -= vi * w[j] + wi * v[j]
  }
}

/** Q^T A Q = T with reflections (Golub and Van Loan, algorithm 8.3.1). `data` is overwritten. */
const tridiagonalise = (data: Float64Array, n: number): Tridiagonal => {
  const off = new Float64Array(Math.max(0, n - 1))
  const reflections: Reflection[] = []
  for (let k = 0; k < n - 1; k++) {
    const top = k + 1
    const reflection = reflect(columnOf(data, n, top, k))
    const { v, tau } = reflection
    off[k] = reflection.beta
    reflections.push(reflection)
    if (tau === 0) continue
    const w = new Float64Array(v.length)
    let product = 0
    for (let i = 0; i < v.length; i++) {
      w[i] = tau * dot(data, (top + i) * n + top, v, 0, v.length)
      product += w[i] * v[i]
    }
    for (let i = 0; i < v.length; i++) w[i] -= (tau / 2) * product * v[i]
    rankTwoUpdate(data, n, top, v, w)
  }
  return { diagonal: Float64Array.from({ length: n }, (_, i) => data[i * n + i]), off, reflections }
}

/** One implicit QR step with Wilkinson's shift on rows p to q of T (algorithm 8.3.2); the rows of `vectors` follow. */
const qrStep = (d: Float64Array, e: Float64Array, p: number, q: number, vectors: Float64Array): void => {
  const n = d.length
  let x = d[p] - wilkinsonShift(d[q - 1], e[q - 1], d[q])
  let z = e[p]
  for (let k = p; k < q; k++) {
    const rotation = rotationFor(x, z)
    const { c, s, r } = rotation
    if (k > p) e[k - 1] = r
    const a = d[k]
    const b = e[k]
    const g = d[k + 1]
    const cross = 2 * c * s * b
    d[k] = c * c * a + cross + s * s * g
    d[k + 1] = s * s * a - cross + c * c * g
    e[k] = c * s * (g - a) + (c * c - s * s) * b
    if (k < q - 1) {
      x = e[k]
      z = s * e[k + 1]
      e[k + 1] *= c
    }
    rotateRows(vectors, n, k, k + 1, rotation)
  }
}

/** Diagonalises T, deflating from its end where what is dropped is rounding to the largest entry. */
const diagonalise = (d: Float64Array, e: Float64Array, vectors: Float64Array): void => {
  const limit = 60 * d.length
  let largest = 0
  for (const entries of [d, e]) for (const x of entries) largest = Math.max(largest, Math.abs(x))
  const negligible = (k: number): boolean => Math.abs(e[k]) <= Number.EPSILON * largest
  let steps = 0
  for (let q = d.length - 1; q > 0;) {
    if (negligible(q - 1)) {
      q--
      continue
    }
    let p = q - 1
    while (p > 0 && !negligible(p - 1)) p--
    if (++steps > limit) throw new NotConvergedError('symmetricEigen', steps)
    qrStep(d, e, p, q, vectors)
  }
}

/**
 * All eigenvalues and eigenvectors of a symmetric matrix, `a`: [n, n], by tridiagonalisation and implicit QR. Errors
 * are of the order of 1e-16 times the largest eigenvalue. Throws NotSquareError, NotFiniteError, NotSymmetricError.
 *
 * Source: Golub and Van Loan, Matrix Computations (4th ed.), algorithm 8.3.3.
 */
export const symmetricEigen = (a: Matrix): SymmetricEigen => {
  checkSymmetric('symmetricEigen', a)
  const n = a.rows
  const { data, scale } = scaled('symmetricEigen', a)
  const { diagonal, off, reflections } = tridiagonalise(data, n)
  const rows = transpose(matrix(n, n, accumulate(reflections, n, n, 1))).data
  diagonalise(diagonal, off, rows)
  const order = Array.from(diagonal, (_, i) => i).sort((i, j) => diagonal[i] - diagonal[j])
  const sorted = matrix(n, n)
  order.forEach((from, to) => sorted.data.set(rows.subarray(from * n, (from + 1) * n), to * n))
  return { values: Float64Array.from(order, (i) => diagonal[i] * scale), vectors: transpose(sorted) }
}
