import { describe, expect, it } from 'vitest'
import { gaussianInSingle as gaussian } from '../../test/matrices.js'
import {
  type Dense,
  hostMatmul,
  identity,
  lowRankApproximation,
  type Matrix,
  matrix,
  MatrixShapeError,
  multiply,
  NotFiniteError,
  qr,
  randomizedSvd,
  svd,
} from './index.js'

/** A matrix with the given singular values. */
const withValues = (rows: number, cols: number, values: Float64Array): Matrix => {
  const u = qr(gaussian(rows, values.length, 1)).q
  const v = qr(gaussian(cols, values.length, 2)).q
  const us = matrix(
    rows,
    values.length,
    u.data.map((x, i) => x * values[i % values.length]),
  )
  return multiply(us, v, { transposeB: true })
}
const orthonormal = (a: Matrix, transposed = false): void => {
  const gram = multiply(a, a, transposed ? { transposeB: true } : { transposeA: true })
  identity(gram.rows).data.forEach((x, i) => expect(Math.abs(gram.data[i] - x)).toBeLessThan(1e-12))
}

describe('randomizedSvd', () => {
  const values = Float64Array.from({ length: 60 }, (_, i) => 0.8 ** i)
  for (const [rows, cols] of [
    [300, 200],
    [150, 400],
  ])
    it(`finds the leading values and the best approximation of a ${rows} x ${cols} matrix that decays`, async () => {
      const a = withValues(rows, cols, values)
      const { u, s, vt } = await randomizedSvd(a, 10)
      expect([u.rows, u.cols, s.length, vt.rows, vt.cols]).toEqual([rows, 10, 10, 10, cols])
      orthonormal(u)
      orthonormal(vt, true)
      s.forEach((x, i) => expect(Math.abs(x / values[i] - 1)).toBeLessThan(1e-5))
      const us = matrix(
        rows,
        10,
        u.data.map((x, i) => x * s[i % 10]),
      )
      const rest = multiply(us, vt).data.reduce((sum, x, i) => sum + (x - a.data[i]) ** 2, 0)
      const best = values.slice(10).reduce((sum, x) => sum + x * x, 0)
      expect(rest / best).toBeLessThan(1.0001)
    })

  it('is exact on a matrix of lower rank than asked for', async () => {
    const a = withValues(120, 100, Float64Array.of(3, 2, 1))
    const { s } = await randomizedSvd(a, 8)
    ;[3, 2, 1, 0, 0, 0, 0, 0].forEach((x, i) => expect(Math.abs(s[i] - x)).toBeLessThan(1e-13))
  })

  it('takes float32 data and products in float32 at float32 accuracy', async () => {
    const exact = withValues(300, 200, values)
    const a = { rows: 300, cols: 200, data: Float32Array.from(exact.data) }
    const { s } = await randomizedSvd(a, 10, {
      matmul: async (x, y, options) => {
        const product = await hostMatmul(x, y, options)
        return { ...product, data: Float32Array.from(product.data) }
      },
    })
    s.forEach((x, i) => expect(Math.abs(x - values[i])).toBeLessThan(1e-5))
  })

  it('finds a planted spectrum on the engine, in the precision of the data', async () => {
    const spectrum = Float64Array.from({ length: 40 }, (_, i) => 0.7 ** i)
    const exact = withValues(900, 700, spectrum)
    const double = await randomizedSvd(exact, 20, { oversampling: 20 })
    spectrum.slice(0, 20).forEach((x, i) => expect(Math.abs(double.s[i] - x)).toBeLessThan(1e-13))
    orthonormal(double.u)
    orthonormal(double.vt, true)
    const single = await randomizedSvd({ ...exact, data: Float32Array.from(exact.data) }, 20)
    spectrum.slice(0, 20).forEach((x, i) => expect(Math.abs(single.s[i] - x)).toBeLessThan(1e-6))
    orthonormal(single.u)
    orthonormal(single.vt, true)
  })

  it('is the full decomposition when the matrix is small', async () => {
    const a = gaussian(12, 9, 4)
    const full = svd(a)
    const { s, u } = await randomizedSvd(a, 5)
    expect([...s]).toEqual([...full.s.slice(0, 5)])
    expect([u.rows, u.cols]).toEqual([12, 5])
  })

  it('is a function of its seed', async () => {
    const a = gaussian(80, 70, 5)
    const [first, again, other] = await Promise.all([7, 7, 8].map((seed) => randomizedSvd(a, 4, { seed })))
    expect(again).toEqual(first)
    expect(other.s).not.toEqual(first.s)
  })

  it('refuses a rank that is not there, and entries that are not finite', async () => {
    const a = gaussian(30, 20, 6)
    for (const rank of [0, 21, 1.5, NaN])
      await expect(randomizedSvd(a, rank)).rejects.toThrow(MatrixShapeError)
    await expect(randomizedSvd(a, 2, { oversampling: -1 })).rejects.toThrow(MatrixShapeError)
    a.data[3] = NaN
    await expect(randomizedSvd(a, 2)).rejects.toThrow(NotFiniteError)
  })
})

describe('lowRankApproximation', () => {
  const worst = (a: Dense, b: Dense): number =>
    Float64Array.from(a.data).reduce((m, x, i) => Math.max(m, Math.abs(x - b.data[i])), 0)

  it.each([
    [60, 50],
    [900, 700],
  ])('of a %i x %i matrix of that rank is the matrix', async (rows, cols) => {
    const a = withValues(rows, cols, Float64Array.of(4, 3, 2, 1))
    expect(worst(a, await lowRankApproximation(a, 4))).toBeLessThan(1e-6)
  })

  it('is within a thousandth of the best of its rank, by Eckart and Young', async () => {
    const spectrum = Float64Array.from({ length: 60 }, (_, i) => 1 / (1 + i))
    const a = withValues(500, 400, spectrum)
    const near = await lowRankApproximation(a, 10)
    const rest = a.data.reduce((sum, x, i) => sum + (x - near.data[i]) ** 2, 0)
    const best = spectrum.slice(10).reduce((sum, x) => sum + x * x, 0)
    expect(rest / best).toBeGreaterThan(1 - 1e-5)
    expect(rest / best).toBeLessThan(1.001)
  })

  it('is the matrix itself from its full rank on', async () => {
    const a = gaussian(5, 9, 3)
    expect(await lowRankApproximation(a, 5)).toBe(a)
  })
})
