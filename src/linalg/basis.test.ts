import { describe, expect, it } from 'vitest'
import { gaussianInSingle as gaussian } from '../../test/matrices.js'
import { roughBasis } from './basis.js'
import { matrix, type Matrix, multiply, NotFiniteError, orthonormalBasis } from './index.js'

/** The greatest distance of Qᵀ Q from the identity. */
const skew = (q: Matrix): number =>
  multiply(q, q, { transposeA: true }).data.reduce(
    (worst, x, i) => Math.max(worst, Math.abs(x - Number(i % (q.cols + 1) === 0))),
    0,
  )

/** How far the columns of `y` reach out of the span of `q`, over the greatest entry. */
const outside = (y: Matrix, q: Matrix): number => {
  const inside = multiply(q, multiply(q, y, { transposeA: true }))
  let worst = 0
  let greatest = 0
  for (let i = 0; i < y.data.length; i++) {
    worst = Math.max(worst, Math.abs(y.data[i] - inside.data[i]))
    greatest = Math.max(greatest, Math.abs(y.data[i]))
  }
  return worst / greatest
}

describe('orthonormalBasis', () => {
  const sizes = [
    ['small', 40, 7],
    ['large', 2000, 60],
  ] as const
  it.each(sizes)(
    'of a %s matrix spans its columns, also where they are nearly dependent',
    async (_, rows, cols) => {
      for (const decay of [1, 1e-2, 1e-8, 1e-15]) {
        const y = gaussian(rows, cols, 1)
        for (let i = 0; i < y.data.length; i++)
          if (i % cols) y.data[i] = y.data[i - (i % cols)] + decay * y.data[i]
        const q = await orthonormalBasis(y)
        expect([q.rows, q.cols]).toEqual([rows, cols])
        expect(skew(q)).toBeLessThan(1e-13)
        expect(outside(y, q)).toBeLessThan(1e-13)
      }
    },
  )

  it.each(sizes)(
    'of a %s matrix is complete beyond its rank, and holds at any scale',
    async (_, rows, cols) => {
      const thin = gaussian(rows, 2, 2)
      const y = multiply(thin, gaussian(2, cols, 3))
      expect(skew(await orthonormalBasis(y))).toBeLessThan(1e-13)
      for (const scale of [1e-250, 1e250]) {
        const far = matrix(
          rows,
          cols,
          gaussian(rows, cols, 4).data.map((x) => x * scale),
        )
        expect(skew(await orthonormalBasis(far))).toBeLessThan(1e-13)
      }
      y.data[5] = NaN
      await expect(orthonormalBasis(y)).rejects.toThrow(NotFiniteError)
    },
  )
})

describe('roughBasis', () => {
  it('spans the columns in the precision of the matrix, at right angles as near as is asked for', async () => {
    for (const decay of [1, 1e-2, 1e-5]) {
      const y = gaussian(2000, 60, 5)
      for (let i = 0; i < y.data.length; i++) if (i % 60) y.data[i] = y.data[i - (i % 60)] + decay * y.data[i]
      const near = await roughBasis({ ...y, data: Float32Array.from(y.data) }, 0.5)
      expect(near.data).toBeInstanceOf(Float32Array)
      const q = matrix(near.rows, near.cols, near.data)
      expect(skew(q)).toBeLessThan(1e-6)
      expect(outside(y, q)).toBeLessThan(1e-5)
    }
  })
})
