import { describe, expect, it } from 'vitest'
import { keyOf, Stream } from '../random/index.js'
import { gaussianInSingle as gaussian } from '../../test/matrices.js'
import {
  largestIndices,
  lowRankPlusSparse,
  type Matrix,
  MatrixShapeError,
  multiply,
  NotFiniteError,
} from './index.js'

/** A matrix of rank 4 and unit deviation with spikes of `height` at 64 entries. */
const planted = (side: number, height: number, seed: string): { w: Matrix; spikes: Int32Array } => {
  const w = multiply(gaussian(side, 4, `${seed}u`), gaussian(4, side, `${seed}v`))
  for (let i = 0; i < w.data.length; i++) w.data[i] /= 2
  const stream = new Stream(seed)
  const spikes = Int32Array.from(stream.permutation(side * side).slice(0, 64)).sort()
  for (const place of spikes) w.data[place] += stream.uniform() < 0.5 ? height : -height
  return { w, spikes }
}

describe('lowRankPlusSparse', () => {
  const recall = async (height: number, seed: string, restart: boolean): Promise<number> => {
    const { w, spikes } = planted(96, height, seed)
    const { sparse } = await lowRankPlusSparse(w, keyOf(seed), { restart })
    const support = new Set(spikes)
    return largestIndices(sparse, 64, { by: 'magnitude' }).filter((place) => support.has(place)).length / 64
  }

  it.each([3, 5, 10])('finds planted spikes of %i deviations when each round restarts', async (height) => {
    for (const seed of ['a', 'b', 'c']) expect(await recall(height, seed, true)).toBeGreaterThan(0.9)
  })

  it('finds the highest of them too when the sparse part is carried from round to round', async () => {
    for (const seed of ['a', 'b', 'c']) expect(await recall(10, seed, false)).toBeGreaterThan(0.97)
  })

  it('leaves less than the threshold, with exact zeros and an orthonormal left factor', async () => {
    const { w } = planted(120, 5, 'rest')
    const threshold = 0.3
    const { left, right, sparse } = await lowRankPlusSparse(w, keyOf('start'), {
      threshold,
      rounds: 3,
      greatestRank: 11,
    })
    expect([left.rows, left.cols, right.rows, right.cols]).toEqual([120, 11, 11, 120])
    multiply(left, right).data.forEach((x, i) => {
      expect(Math.abs(w.data[i] - x - sparse[i])).toBeLessThan(threshold + 1e-5)
      expect(sparse[i] === 0 || Math.abs(sparse[i]) >= threshold).toBe(true)
    })
    const gram = multiply(left, left, { transposeA: true })
    gram.data.forEach((x, i) => expect(Math.abs(x - Number(i % 12 === 0))).toBeLessThan(1e-5))
  })

  it('stops growing at the greatest rank and is a function of its key', async () => {
    const { w } = planted(64, 5, 'rank')
    const options = { rounds: 50, greatestRank: 12 }
    const [first, again, other] = await Promise.all(
      ['a', 'a', 'b'].map((key) => lowRankPlusSparse(w, keyOf(key), options)),
    )
    expect(first.right.rows).toBe(11)
    expect(again).toEqual(first)
    expect(other.left).not.toEqual(first.left)
  })

  it('refuses options out of range and numbers that are not finite', async () => {
    const { w } = planted(16, 5, 'bad')
    for (const options of [
      { rounds: 0 },
      { growth: 0.5 },
      { sweeps: -1 },
      { threshold: NaN },
      { greatestRank: 0 },
    ])
      await expect(lowRankPlusSparse(w, keyOf(0), options)).rejects.toThrow(MatrixShapeError)
    w.data[7] = Infinity
    await expect(lowRankPlusSparse(w, keyOf(0))).rejects.toThrow(NotFiniteError)
  })
})
