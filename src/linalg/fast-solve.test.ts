import { describe, expect, it } from 'vitest'
import { gaussianInSingle as gaussian } from '../../test/matrices.js'
import {
  fastSolvePositiveDefinite,
  type Matrix,
  MatrixShapeError,
  multiply,
  NotPositiveDefiniteError,
  NotSymmetricError,
  solvePositiveDefinite,
} from './index.js'

/** A Gram matrix whose condition is about 1e6. */
const positive = (n: number): Matrix => {
  const a = multiply(gaussian(n, n, n), gaussian(n, n, n), { transposeB: true })
  for (let i = 0; i < n; i++) a.data[i * n + i] += 1e-3
  return a
}

describe('fastSolvePositiveDefinite', () => {
  it.each([1, 5, 128, 129, 300, 511])('is the solution at %i rows, whatever their halves', async (n) => {
    const a = positive(n)
    const x = gaussian(n, 3, 1)
    const b = multiply(a, x)
    const found = await fastSolvePositiveDefinite(a, b)
    const host = solvePositiveDefinite(a, b)
    const largest = (m: Matrix): number => m.data.reduce((most, e) => Math.max(most, Math.abs(e)), 0)
    const rest = (s: Matrix): number => {
      const product = multiply(a, s)
      return product.data.reduce((most, p, i) => Math.max(most, Math.abs(p - b.data[i])), 0)
    }
    expect([found.rows, found.cols]).toEqual([n, 3])
    expect(rest(found)).toBeLessThan(1e-12 * largest(b) + 100 * rest(host))
  })

  it('names the pivot that fails, in the whole matrix', async () => {
    const a = positive(200)
    a.data[150 * 200 + 150] = -1
    const failing = fastSolvePositiveDefinite(a, gaussian(200, 1, 2))
    await expect(failing).rejects.toThrow(NotPositiveDefiniteError)
    await expect(failing).rejects.toMatchObject({ pivot: 150 })
  })

  it('refuses what is not symmetric, and right-hand sides of other heights', async () => {
    await expect(fastSolvePositiveDefinite(gaussian(4, 4, 3), gaussian(4, 1, 4))).rejects.toThrow(
      NotSymmetricError,
    )
    await expect(fastSolvePositiveDefinite(positive(4), gaussian(5, 1, 4))).rejects.toThrow(MatrixShapeError)
  })
})
