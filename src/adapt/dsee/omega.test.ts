import { describe, expect, it } from 'vitest'
import { keyOf, normal, Stream } from '../../random/index.js'
import { type OmegaKind, omegaOf, type OmegaOptions } from './omega.js'

const noise = (length: number, seed: string): Float32Array => {
  const data = new Float32Array(length)
  normal(data, keyOf(seed))
  return data
}

/** A rank-4 matrix of unit deviation with 64 spikes of this height added, up or down. */
const spiked = (height: number, seed: number): { W: Float64Array; spikes: Set<number> } => {
  const n = 96
  const [a, b] = [noise(n * 4, `a ${seed}`), noise(n * 4, `b ${seed}`)]
  const W = new Float64Array(n * n)
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) for (let k = 0; k < 4; k++) W[i * n + j] += (a[i * 4 + k] * b[j * 4 + k]) / 2
  const deviation = Math.sqrt(W.reduce((sum, x) => sum + x * x, 0) / W.length)
  for (let i = 0; i < W.length; i++) W[i] /= deviation
  const stream = new Stream(`spikes ${seed}`)
  const spikes = new Set<number>()
  while (spikes.size < 64) spikes.add(stream.int(n * n))
  for (const i of spikes) W[i] += height * stream.rademacher()
  return { W, spikes }
}

describe('the support of the free entries', () => {
  const recall = async (height: number, seed: number, kind: OmegaKind): Promise<number> => {
    const { W, spikes } = spiked(height, seed)
    const w = { data: Float32Array.from(W), shape: [96, 96] }
    const found = await omegaOf(w, 64, keyOf(seed), { kind })
    return found.filter((i) => spikes.has(i)).length / 64
  }

  it('is nearly all spikes of a low-rank matrix, also of those that its own entries are as high as', async () => {
    for (const [height, least, most] of [
      [2, 0.9, 0.2],
      [3, 0.9, 0.4],
      [5, 0.875, 0.9],
      [10, 0.95, 1],
    ] as const)
      for (const seed of [0, 1, 2, 3, 4]) {
        expect(await recall(height, seed, 'decomposition')).toBeGreaterThanOrEqual(least)
        expect(await recall(height, seed, 'magnitude')).toBeLessThanOrEqual(most)
      }
  })

  it('depends on the threshold, the rounds and the growth of the decomposition', async () => {
    const { W } = spiked(3, 0)
    const w = { data: Float32Array.from(W), shape: [96, 96] }
    const found = (options: Omit<OmegaOptions, 'kind'>) =>
      omegaOf(w, 64, keyOf(0), { kind: 'decomposition', ...options })
    const usual = [...(await found({}))]
    expect([...(await found({ threshold: 0.25, rounds: 10, growth: 5 }))]).toEqual(usual)
    for (const options of [{ threshold: 2 }, { rounds: 1 }, { growth: 1 }])
      expect([...(await found(options))]).not.toEqual(usual)
  })

  it.each(['decomposition', 'magnitude', 'random'] as const)(
    'by %s is N entries, each once',
    async (kind) => {
      const w = { data: noise(12 * 20, 'w'), shape: [12, 20] }
      for (const count of [0, 1, 17, 240]) {
        const found = await omegaOf(w, count, keyOf('key'), { kind })
        expect(found).toHaveLength(count)
        expect([...found]).toEqual([...new Set(found)].sort((a, b) => a - b))
      }
    },
  )

  it('takes of equal entries the first', async () => {
    const w = { data: new Float32Array(16).fill(-2), shape: [4, 4] }
    for (const kind of ['decomposition', 'magnitude'] as const)
      expect([...(await omegaOf(w, 5, keyOf('key'), { kind }))]).toEqual([0, 1, 2, 3, 4])
  })
})
