/** @file CMA-ES finds minima, and depends on nothing but the order of costs and the seed. */
import { describe, expect, it } from 'vitest'
import { CmaEs, type CmaEsOptions } from './cma-es.js'
import { minOf } from '../tensor/numbers.js'

const sphere = (x: Float64Array): number => x.reduce((sum, v) => sum + v * v, 0)
/** In each pair of coordinates one axis counts 1,000 times the other, and they are turned by 45 degrees. */
const ellipsoid = (x: Float64Array): number =>
  x.reduce((sum, v, i) => {
    const w = i % 2 ? (v - x[i - 1]) / Math.SQRT2 : (v + x[i + 1]) / Math.SQRT2
    return sum + (i % 2 ? 1e3 : 1) * w * w
  }, 0)

/** The lowest cost after each generation. */
const search = (
  cost: (x: Float64Array) => number,
  options: Partial<CmaEsOptions>,
  evaluations: number,
): { best: number[]; mean: Float64Array } => {
  const search = new CmaEs({ start: new Array<number>(10).fill(1), step: 0.3, ...options })
  const best: number[] = []
  for (let done = 0; done + search.population <= evaluations; done += search.population) {
    const costs = search.ask().map(cost)
    search.tell(costs)
    best.push(
      minOf(
        costs.filter((c) => !Number.isNaN(c)),
        best.at(-1) ?? Infinity,
      ),
    )
  }
  return { best, mean: search.mean }
}

describe('CMA-ES', () => {
  it.each([0, 1, 2, 3])(
    'reaches 1e-8 on a sphere of 10 dimensions in 2,000 evaluations (seed %i)',
    (seed) => {
      expect(search(sphere, { seed }, 2000).best.at(-1)).toBeLessThan(1e-8)
    },
  )

  it('learns the covariances of a turned ellipsoid, which variances alone do not give', () => {
    const full = search(ellipsoid, {}, 5000).best.at(-1)!
    expect(full).toBeLessThan(1e-8)
    expect(search(ellipsoid, { diagonal: true }, 5000).best.at(-1)).toBeGreaterThan(1e-6)
  })

  it('with variances alone it reaches 1e-8 on 80 dimensions', () => {
    const start = new Array<number>(80).fill(1)
    expect(search(sphere, { start }, 12_000).best.at(-1)).toBeLessThan(1e-8)
  })

  it('takes the same way for a cost and its logarithm, and for the same seed', () => {
    const { mean } = search(sphere, { seed: 5 }, 500)
    expect(search((x) => Math.log(sphere(x)), { seed: 5 }, 500).mean).toEqual(mean)
    expect(search(sphere, { seed: 5 }, 500).mean).toEqual(mean)
    expect(search(sphere, { seed: 6 }, 500).mean).not.toEqual(mean)
  })

  it('gets past costs that are no numbers', () => {
    const broken = (x: Float64Array): number => (x[0] < -0.5 ? NaN : sphere(x))
    expect(search(broken, {}, 2000).best.at(-1)).toBeLessThan(1e-6)
  })

  it('refuses what is no search', () => {
    expect(() => new CmaEs({ start: [], step: 1 })).toThrow(/expected at least 1/)
    expect(() => new CmaEs({ start: [0], step: 0 })).toThrow(/step 0/)
  })
})
