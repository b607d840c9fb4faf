import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { scratch, writeRun } from '../../test/lab.js'
import { curvesOf } from './metrics.js'
import { maxOf, minOf } from '../tensor/numbers.js'

const { folder, remove } = scratch('metrics')
afterAll(remove)

const near = (a: number, b: number): void =>
  expect(Math.abs(a - b)).toBeLessThanOrEqual(1e-9 * (Math.abs(a) + 1e3))

describe('a downsampled curve', () => {
  test('has few points, the extremes of all, and the mean of all', async () => {
    const values = fc.array(fc.double({ min: -1e3, max: 1e3, noNaN: true }), { minLength: 1, maxLength: 400 })
    await fc.assert(
      fc.asyncProperty(values, fc.integer({ min: 2, max: 40 }), async (ys, points) => {
        writeRun(
          folder,
          'run',
          {},
          ys.map((loss, step) => ({ step, loss })),
        )
        const { series, rows } = await curvesOf(join(folder, 'run'), { points })
        const [{ x, y, low, high }] = series
        expect(rows).toBe(ys.length)
        expect(x.length).toBeLessThanOrEqual(points)
        expect(x.length).toBeGreaterThanOrEqual(Math.min(ys.length, Math.floor(points / 2)))
        near(minOf(low), minOf(ys))
        near(maxOf(high), maxOf(ys))
        expect(x).toEqual([...x].sort((a, b) => a - b))
        y.forEach((mean, i) => expect(mean >= low[i] - 1e-9 && mean <= high[i] + 1e-9).toBe(true))
        // All but the last bucket hold equally many rows.
        const width = 2 ** Math.ceil(Math.log2(ys.length / x.length))
        const weights = x.map((_, i) => (i < x.length - 1 ? width : ys.length - width * (x.length - 1)))
        const mean = (list: readonly number[]): number => list.reduce((sum, v) => sum + v, 0) / ys.length
        near(mean(y.map((v, i) => v * weights[i])), mean(ys))
      }),
      { numRuns: 60 },
    )
  })

  test('keeps series and names apart, gives only those asked for, and passes over what is no number', async () => {
    writeRun(folder, 'arms', {}, [
      { series: 'a/0', step: 1, loss: 1, accuracy: 0.5 },
      { series: 'b/0', step: 1, loss: 2, note: 'text' },
      { loss: 3 },
      { loss: 4 },
    ])
    const names = async (wanted?: string[]): Promise<string[]> =>
      (await curvesOf(join(folder, 'arms'), { points: 10, names: wanted })).series.map(({ name }) => name)
    expect(await names()).toEqual(['a/0/loss', 'a/0/accuracy', 'b/0/loss', 'loss'])
    expect(await names(['loss'])).toEqual(['a/0/loss', 'b/0/loss', 'loss'])
    expect(await names(['a/0/loss'])).toEqual(['a/0/loss'])
    appendFileSync(join(folder, 'arms', 'metrics.jsonl'), '{"loss":1e999}\n{"loss":null}\n[]\nnonsense\n')
    const { series } = await curvesOf(join(folder, 'arms'), { points: 10, names: ['loss'] })
    expect(series[2].x).toEqual([0, 1])
  })
})
