import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Stream } from '../random/index.js'
import { toNumbers } from '../tensor/value.js'
import { dirichlet, dirichletSplit, longTail, weighted } from './dirichlet.js'
import { gaussianMixture } from './mixture.js'
import { teacher } from './teacher.js'
import { maxOf, minOf, normOf } from '../tensor/numbers.js'

const mean = (xs: ArrayLike<number>): number => Array.from(xs).reduce((a, b) => a + b, 0) / xs.length
const counts = (labels: ArrayLike<number>, classes: number): number[] => {
  const found = Array<number>(classes).fill(0)
  for (let i = 0; i < labels.length; i++) found[labels[i]]++
  return found
}

describe('a Gaussian mixture', () => {
  const task = gaussianMixture({
    classes: 5,
    width: 8,
    prototypes: 3,
    separation: 2,
    noise: 0.5,
    seed: 'task',
  })

  test('is the same for the same seeds and another for others', () => {
    const again = gaussianMixture({
      classes: 5,
      width: 8,
      prototypes: 3,
      separation: 2,
      noise: 0.5,
      seed: 'task',
    })
    const other = gaussianMixture({
      classes: 5,
      width: 8,
      prototypes: 3,
      separation: 2,
      noise: 0.5,
      seed: 'else',
    })
    const data = task.sample(50, { seed: 1 })
    expect(again.sample(50, { seed: 1 })).toEqual(data)
    expect(other.sample(50, { seed: 1 }).x).not.toEqual(data.x)
    expect(task.sample(50, { seed: 2 }).x).not.toEqual(data.x)
  })

  test('has the stated noise around its centres, equal classes, and classes that its centres tell', () => {
    const { x, labels, trueLabels } = task.sample(4000, { seed: 1 })
    expect(x.shape).toEqual([4000, 8])
    expect(labels).toEqual(trueLabels)
    const truth = toNumbers(labels)
    for (const count of counts(truth, 5))
      expect(Math.abs(count - 800)).toBeLessThan(4 * Math.sqrt(4000 * 0.2 * 0.8))
    const guesses = task.nearest(x)
    expect(mean(guesses.map((g, i) => (g === truth[i] ? 1 : 0)))).toBeGreaterThan(0.99)
    const pixels = toNumbers(x)
    const squares = Array.from({ length: 4000 }, (_, i) => {
      const row = pixels.subarray(i * 8, i * 8 + 8)
      return minOf(task.centres.map((c) => c.reduce((sum, m, k) => sum + (row[k] - m) ** 2, 0)))
    })
    expect(mean(squares) / 8).toBeCloseTo(0.25, 2)
  })

  test('replaces the stated share of labels by other classes, and follows class weights', () => {
    const { labels, trueLabels } = task.sample(4000, { seed: 1, labelNoise: 0.3, weights: [1, 1, 0, 0, 2] })
    const [given, truth] = [toNumbers(labels), toNumbers(trueLabels)]
    const changed = mean(given.map((l, i) => (l === truth[i] ? 0 : 1)))
    expect(Math.abs(changed - 0.3)).toBeLessThan(0.03)
    const shares = counts(truth, 5).map((n) => n / 4000)
    expect(shares.slice(2, 4)).toEqual([0, 0])
    expect(Math.abs(shares[4] - 0.5)).toBeLessThan(0.03)
  })

  test('keeps all distances when rotated and shifted by an offset of the stated norm', () => {
    const moved = task.shifted({ seed: 3, rotation: 0.5, offset: 4 })
    const plain = task.shifted({ seed: 3, offset: 4 })
    const distance = (a: Float64Array, b: Float64Array): number => normOf(a.map((x, k) => x - b[k]))
    for (let i = 1; i < task.centres.length; i++)
      expect(distance(moved.centres[0], moved.centres[i])).toBeCloseTo(
        distance(task.centres[0], task.centres[i]),
        10,
      )
    for (const [i, centre] of plain.centres.entries())
      expect(distance(centre, task.centres[i])).toBeCloseTo(4, 10)
    expect(moved.centres[0]).not.toEqual(plain.centres[0])
    expect(task.shifted({ seed: 3 }).centres).toEqual(task.centres)
  })

  test('can give its centres random classes', () => {
    const { classOf } = gaussianMixture({ classes: 8, width: 4, prototypes: 6, randomClasses: true, seed: 0 })
    expect(classOf).toHaveLength(48)
    expect(new Set(counts(classOf, 8)).size).toBeGreaterThan(1)
    expect(() => gaussianMixture({ classes: 0, width: 4, seed: 0 })).toThrow('classes 0')
  })
})

describe('Dirichlet', () => {
  test.each([0.1, 1, 10])('shares of concentration %d have its mean and variance', (alpha) => {
    const stream = new Stream(1)
    const first = Array.from({ length: 4000 }, () => {
      const shares = dirichlet(stream, 4, alpha)
      expect(shares.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 10)
      return shares[0]
    })
    const variance = (0.25 * 0.75) / (4 * alpha + 1)
    expect(Math.abs(mean(first) - 0.25)).toBeLessThan(4 * Math.sqrt(variance / 4000))
    expect(mean(first.map((x) => (x - 0.25) ** 2)) / variance).toBeGreaterThan(0.85)
    expect(mean(first.map((x) => (x - 0.25) ** 2)) / variance).toBeLessThan(1.15)
  })

  test('a split gives each example to exactly one client, whatever the concentration', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 80 }),
        fc.integer({ min: 1, max: 9 }),
        fc.double({ min: 0.001, max: 100, noNaN: true }),
        (labels, clients, alpha) => {
          const split = dirichletSplit(labels, { clients, alpha, seed: 1 })
          expect(split).toHaveLength(clients)
          expect(split.flat().sort((a, b) => a - b)).toEqual(labels.map((_, i) => i))
          expect(dirichletSplit(labels, { clients, alpha, seed: 1 })).toEqual(split)
        },
      ),
    )
  })

  test('a small concentration gives clients few classes, a large one all', () => {
    const labels = Array.from({ length: 2000 }, (_, i) => i % 10)
    const largestShare = (alpha: number): number =>
      mean(
        dirichletSplit(labels, { clients: 10, alpha, seed: 2 })
          .filter((members) => members.length > 0)
          .map(
            (members) =>
              maxOf(
                counts(
                  members.map((i) => labels[i]),
                  10,
                ),
              ) / members.length,
          ),
      )
    expect(largestShare(0.05)).toBeGreaterThan(0.6)
    expect(largestShare(100)).toBeLessThan(0.2)
    expect(() => dirichletSplit(labels, { clients: 2, alpha: 0, seed: 1 })).toThrow('alpha is 0')
  })

  test('weights are drawn in proportion, zeros never', () => {
    const stream = new Stream(4)
    const drawn = counts(
      Array.from({ length: 8000 }, () => weighted(stream, [0, 1, 0, 3, 0])),
      5,
    )
    expect([drawn[0], drawn[2], drawn[4]]).toEqual([0, 0, 0])
    expect(Math.abs(drawn[3] / 8000 - 0.75)).toBeLessThan(0.02)
  })

  test('a long tail falls from the head by the ratio', () => {
    expect(longTail(3, 1000, 100)).toEqual([1000, 100, 10])
  })
})

describe('a random teacher', () => {
  test('changed, agrees as much as is kept of it', () => {
    const task = teacher({ in: 16, hidden: 24, out: 4, seed: 1 })
    const agreement = (keep: number): number => {
      const [a, b] = [task, task.changed({ seed: 2, keep })].map((t) => t.sample(2000, { seed: 3 }))
      expect(b.x).toEqual(a.x)
      const [mine, theirs] = [a, b].map(({ labels }) => toNumbers(labels))
      return mean(Array.from(mine, (label, i) => Number(label === theirs[i])))
    }
    expect(agreement(1)).toBe(1)
    expect(agreement(0)).toBeLessThan(0.4)
    expect(agreement(0.9)).toBeGreaterThan(agreement(0.6))
    expect(() => task.changed({ seed: 2, keep: 2 })).toThrow(/keep is 2/)
  })

  const options = { in: 6, hidden: 16, out: 4, seed: 9 }

  test('gives the same data for the same seeds, its outputs for its inputs, and the largest as label', () => {
    const task = teacher(options)
    const data = task.sample(100, { seed: 1 })
    expect(teacher(options).sample(100, { seed: 1 })).toEqual(data)
    expect(teacher({ ...options, seed: 8 }).sample(100, { seed: 1 }).x).toEqual(data.x)
    expect(teacher({ ...options, seed: 8 }).sample(100, { seed: 1 }).y).not.toEqual(data.y)
    const [x, y, labels] = [toNumbers(data.x), toNumbers(data.y), toNumbers(data.labels)]
    for (let i = 0; i < 100; i++) {
      const outputs = task.outputs(x.subarray(i * 6, i * 6 + 6))
      outputs.forEach((o, k) => expect(y[i * 4 + k]).toBeCloseTo(o, 5))
      expect(labels[i]).toBe(outputs.indexOf(maxOf(outputs)))
    }
  })

  test('has inputs of mean 0, or shifted by the stated norm, and noise of the stated size', () => {
    const task = teacher(options)
    const centre = (shift: number): number[] => {
      const x = toNumbers(task.sample(4000, { seed: 1, shift }).x)
      return Array.from({ length: 6 }, (_, k) => mean(Array.from({ length: 4000 }, (_, i) => x[i * 6 + k])))
    }
    expect(normOf(centre(0))).toBeLessThan(0.1)
    expect(normOf(centre(4))).toBeCloseTo(4, 0)
    // Noise is drawn between the inputs, so a single example keeps its input.
    const clean = Array.from({ length: 500 }, (_, seed) => toNumbers(task.sample(1, { seed }).y)[0])
    const noisy = Array.from(
      { length: 500 },
      (_, seed) => toNumbers(task.sample(1, { seed, noise: 0.5 }).y)[0],
    )
    expect(mean(noisy.map((y, i) => (y - clean[i]) ** 2))).toBeCloseTo(0.25, 1)
  })

  test('is linear without its hidden layer, and refuses sizes below 1', () => {
    const line = teacher({ ...options, inner: 0, linear: 2 })
    const [a, b, c] = [
      [1, 0, 0, 0, 0, 0],
      [0, 1, 0, 0, 0, 0],
      [1, 1, 0, 0, 0, 0],
    ].map((x) => line.outputs(x))
    c.forEach((sum, k) => expect(sum).toBeCloseTo(a[k] + b[k], 10))
    expect(() => teacher({ ...options, hidden: 0 })).toThrow('hidden is 0')
  })
})
