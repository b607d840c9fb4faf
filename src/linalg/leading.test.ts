/** What is leading of a matrix, against the whole decomposition: also where singular values are close together. */
import { describe, expect, it } from 'vitest'
import { Stream } from '../random/index.js'
import { gaussianInSingle as gaussian } from '../../test/matrices.js'
import { minOf } from '../tensor/numbers.js'
import {
  type Dense,
  largestIndices,
  leadingQr,
  leadingSvd,
  lowRankApproximation,
  type Matrix,
  matrix,
  multiply,
  qr,
  svd,
} from './index.js'

const single = ({ rows, cols, data }: Matrix): Dense => ({ rows, cols, data: Float32Array.from(data) })

/** U S V of a decomposition cut at a rank. */
const product = (
  { u, s, vt }: { u: Matrix; s: Float64Array; vt: Matrix },
  rank: number,
): { data: Float64Array } => {
  const scaled = matrix(
    u.rows,
    u.cols,
    u.data.map((x, i) => (i % u.cols < rank ? x * s[i % u.cols] : 0)),
  )
  return multiply(scaled, vt)
}
const worst = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let most = 0
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i] - b[i]))
  return most
}

/** Spikes of 14 entries a vector, four outer products of them, and noise. */
const planted = (side: number): Matrix => {
  const stream = new Stream('planted')
  const a = gaussian(side, side, 9)
  for (let p = 0; p < 4; p++) {
    const [rows, cols] = [stream.permutation(side).slice(0, 14), stream.permutation(side).slice(0, 14)]
    for (const i of rows) for (const j of cols) a.data[i * side + j] += 8
  }
  return a
}

const cases: readonly (readonly [string, Matrix])[] = [
  ['a random matrix, tall', gaussian(300, 210, 1)],
  ['a random matrix, wide', gaussian(210, 300, 2)],
  ['a planted matrix', planted(240)],
  ['a matrix of lower rank than is asked for', multiply(gaussian(260, 4, 3), gaussian(4, 220, 4))],
]

describe.each(cases)('leadingSvd of %s', (_, a) => {
  const full = svd(a)

  it.each(['float64', 'float32'] as const)('is the whole decomposition cut off, in %s', async (precision) => {
    const tolerance = precision === 'float64' ? 1e-9 : 2e-4
    const found = await leadingSvd(precision === 'float64' ? a : single(a), 8)
    expect(worst(found.s, full.s.subarray(0, 8)) / full.s[0]).toBeLessThan(tolerance / 100)
    expect(worst(product(found, 8).data, product(full, 8).data) / full.s[0]).toBeLessThan(tolerance)
  })
})

it('leadingSvd takes ties and zeros as they are', async () => {
  const ties = matrix(220, 220)
  for (let i = 0; i < 220; i++) ties.data[i * 220 + i] = 3
  expect(worst((await leadingSvd(ties, 5)).s, [3, 3, 3, 3, 3])).toBeLessThan(1e-12)
  expect([...(await leadingSvd(matrix(220, 230), 3)).s]).toEqual([0, 0, 0])
})

describe.each(cases.slice(0, 3))('the entries that are largest in %s at a low rank', (_, a) => {
  it('are those of the exact approximation, but for ties within rounding', async () => {
    const exact = product(svd(a), 8).data
    const near = await lowRankApproximation(single(a), 8, { iterations: 'converged' })
    const count = Math.floor(0.05 * exact.length)
    const found = largestIndices(Float64Array.from(near.data), count, { by: 'magnitude' })
    const wanted = new Set(largestIndices(exact, count, { by: 'magnitude' }))
    const least = minOf([...wanted].map((i) => Math.abs(exact[i])))
    for (const i of found) if (!wanted.has(i)) expect(Math.abs(exact[i])).toBeGreaterThan(least * (1 - 1e-3))
  })
})

it('leadingQr is what qr begins with', async () => {
  for (const [rows, cols] of [
    [40, 30],
    [30, 40],
    [300, 280],
  ]) {
    const a = gaussian(rows, cols, 5)
    const { q, r } = await leadingQr(a, 6)
    const whole = qr(a)
    for (let i = 0; i < rows; i++)
      expect(worst(q.data.subarray(i * 6, i * 6 + 6), whole.q.data.subarray(i * whole.q.cols))).toBeLessThan(
        1e-12,
      )
    expect(worst(r.data, whole.r.data.subarray(0, 6 * cols))).toBeLessThan(1e-11)
    expect(r.data.filter((x, i) => i % cols < Math.floor(i / cols) && x !== 0)).toHaveLength(0)
  }
})
