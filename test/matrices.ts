/** @file Random matrices of many kinds, for the properties of decompositions. */
import { expect } from 'vitest'
import fc from 'fast-check'
import { Matrix as Oracle } from 'ml-matrix'
import { keyOf, normal, Stream } from '../src/random/index.js'
import { identity, type Matrix, matrix, multiply, qr } from '../src/linalg/index.js'

export const gaussian = (rows: number, cols: number, seed: number): Matrix => {
  const stream = new Stream(seed)
  return matrix(
    rows,
    cols,
    Float64Array.from({ length: rows * cols }, () => stream.normal()),
  )
}
/** Normal numbers of single precision, drawn many at once: for large matrices. */
export const gaussianInSingle = (rows: number, cols: number, seed: number | string): Matrix => {
  const data = new Float32Array(rows * cols)
  normal(data, keyOf(seed))
  return matrix(rows, cols, data)
}
export const times = (a: Matrix, factor: number): Matrix =>
  matrix(
    a.rows,
    a.cols,
    a.data.map((x) => x * factor),
  )
export const largest = (a: Matrix): number => a.data.reduce((m, x) => Math.max(m, Math.abs(x)), 0)
export const distance = (a: Matrix, b: Matrix): number => {
  expect([a.rows, a.cols]).toEqual([b.rows, b.cols])
  return a.data.reduce((m, x, i) => Math.max(m, Math.abs(x - b.data[i])), 0)
}
export const symmetric = (a: Matrix): Matrix =>
  matrix(
    a.rows,
    a.rows,
    a.data.map((x, i) => (x + a.data[(i % a.rows) * a.rows + Math.floor(i / a.rows)]) / 2),
  )
export const scaleColumns = (a: Matrix, by: Float64Array): Matrix =>
  matrix(
    a.rows,
    a.cols,
    a.data.map((x, i) => x * by[i % a.cols]),
  )
/** An n x n orthogonal matrix. */
export const orthogonal = (n: number, seed: number): Matrix => qr(gaussian(n, n, seed)).q
export const oracle = (a: Matrix): Oracle => Oracle.from1DArray(a.rows, a.cols, [...a.data])

/** Rounding: a modest multiple of n eps, relative to the largest entry. */
export const tolerance = (a: Matrix): number =>
  8 * Math.max(a.rows, a.cols) * Number.EPSILON * Math.max(largest(a), 1e-307)
export const orthonormal = (a: Matrix): void => {
  const gram = multiply(a, a, { transposeA: true })
  expect(distance(gram, identity(a.cols))).toBeLessThan(4 * Math.max(a.rows, 4) * Number.EPSILON)
}

/** Matrices of every awkward kind: any shape, rank-deficient, zero, repeated values, graded, tiny and huge. */
export const kinds: Record<string, (rows: number, cols: number, seed: number) => Matrix> = {
  gaussian,
  'of rank one or two': (m, n, seed) =>
    multiply(gaussian(m, 1 + (seed % 2), seed), gaussian(1 + (seed % 2), n, seed + 1)),
  zero: (m, n) => matrix(m, n),
  'with equal singular values': (m, n, seed) => {
    const q = orthogonal(Math.max(m, n), seed)
    return matrix(
      m,
      n,
      Float64Array.from({ length: m * n }, (_, i) => 3 * q.data[Math.floor(i / n) * q.cols + (i % n)]),
    )
  },
  diagonal: (m, n, seed) =>
    matrix(
      m,
      n,
      gaussian(m, n, seed).data.map((x, i) => (Math.floor(i / n) === i % n ? x : 0)),
    ),
  graded: (m, n, seed) =>
    matrix(
      m,
      n,
      gaussian(m, n, seed).data.map((x, i) => x * 10 ** (-4 * (i % n))),
    ),
  'of entries 600 orders apart': (m, n, seed) => {
    const stream = new Stream(seed)
    return matrix(
      m,
      n,
      Float64Array.from({ length: m * n }, () => stream.normal() * 10 ** (stream.int(600) - 300)),
    )
  },
  'of zeros, ones and squares that underflow': (m, n, seed) => {
    const stream = new Stream(seed)
    return matrix(
      m,
      n,
      Float64Array.from({ length: m * n }, () => stream.choice([0, 0, 1, 1e-160, -1e-160])),
    )
  },
  tiny: (m, n, seed) => times(gaussian(m, n, seed), 1e-300),
  huge: (m, n, seed) => times(gaussian(m, n, seed), 1e300),
  'of small integers': (m, n, seed) => matrix(m, n, gaussian(m, n, seed).data.map(Math.round)),
  'of ones': (m, n) => matrix(m, n, new Float64Array(m * n).fill(1)),
}
export const kind = fc.constantFrom(...Object.keys(kinds))
export const extreme = new Set([
  'graded',
  'tiny',
  'huge',
  'of entries 600 orders apart',
  'of zeros, ones and squares that underflow',
])
export const size = fc.integer({ min: 1, max: 14 })
export const anyMatrix = fc
  .tuple(kind, size, size, fc.nat(10_000))
  .map(([k, m, n, seed]) => kinds[k](m, n, seed))
export const anySquare = fc.tuple(kind, size, fc.nat(10_000)).map(([k, n, seed]) => kinds[k](n, n, seed))
export const runs = { numRuns: 400 }
