import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { keyOf, normal } from '../random/index.js'
import type { Paper } from '../papers/card.js'
import { bars, curve, pareto, reproduction, Sample } from '../papers/index.js'
import type { Measured } from '../papers/plot.js'
import { reproduce } from './reproduce.js'

const paper: Paper = {
  id: 'toy',
  title: 'Toy',
  date: '2026-01-01',
  authors: 1,
  arxiv: '2601.00000',
  family: 'adapt',
  summary: 'A toy.',
  claims: [],
}

const toy = reproduction(
  { paper },
  {
    arms: { base: { loss: 1 }, ours: { loss: 0.5 } },
    measure: (arm, { seed, quick, log }) => {
      for (let step = 1; step <= 3; step++) log({ step, loss: arm.loss + 1 / step + seed })
      return Promise.resolve({ loss: arm.loss * (1 + 0.1 * seed), size: quick ? 1 : 2 })
    },
    claims: ({ holds, notShown }) => [
      holds('ours is lower', (m) => m.ours.loss.below(m.base.loss), { paper: '2x' }),
      holds('ours is far lower', (m) => m.ours.loss.below(m.base.loss, 0.9), { fullOnly: true }),
      holds('base is lower', (m) => m.base.loss.below(m.ours.loss), { known: 'fails', why: 'it is not' }),
      notShown('at 7B', 'too large'),
    ],
    plot: [curve({ y: 'loss' }), bars({ y: 'loss' }), pareto({ x: 'size', y: 'loss' })],
  },
)

describe('a reproduction', () => {
  test('measures every arm with every seed and gives each claim its verdict', async () => {
    const logged: string[] = []
    const result = await reproduce(toy, { log: (_, { series, step }) => logged.push(`${series}@${step}`) })
    expect(result.seeds).toEqual([0, 1, 2])
    expect(result.arms.ours.loss.values).toEqual([0.5, 0.55, 0.6])
    expect(result.claims.map(({ verdict }) => verdict)).toEqual(['holds', 'fails', 'fails', 'not-shown'])
    expect(result.claims[0]).toMatchObject({ paper: '2x', mean: 0.5, spread: 0, unit: 'times base' })
    expect(logged).toHaveLength(2 * 3 * 4)
    expect(logged).toContain('ours/2@3')
  })

  test('leaves open, when quick, what only the full experiment can show', async () => {
    const result = await reproduce(toy, { quick: true })
    expect(result.seeds).toEqual([0, 1])
    expect(result.claims.map(({ verdict }) => verdict)).toEqual(['holds', 'not-shown', 'fails', 'not-shown'])
  })

  test('gives the points of its plots with their spread over seeds', async () => {
    const { plots } = await reproduce(toy)
    const [lines, rods, front] = plots
    expect(lines.series.map(({ name, points }) => [name, points.map(({ x }) => x)])).toEqual([
      ['base', [1, 2, 3]],
      ['ours', [1, 2, 3]],
    ])
    expect(lines.series[0].points[0]).toEqual({ x: 1, y: 3, spread: 1 })
    expect(rods.series[1].points[0]).toMatchObject({ x: 'ours', y: expect.closeTo(0.55, 12) as number })
    expect(front.series[0].points[0].x).toBe(2)
  })

  test('stops between arms when aborted, and refuses metrics that are no numbers', async () => {
    const stop = new AbortController()
    await expect(
      reproduce(toy, { signal: stop.signal, onProgress: ({ done }) => done === 2 && stop.abort('enough') }),
    ).rejects.toBe('enough')
    const broken = { ...toy, measure: () => Promise.resolve({ loss: NaN }) }
    await expect(reproduce(broken)).rejects.toMatchObject({ code: 'NotMeasured' })
    const claims = [{ text: 'mistaken', test: (m: Measured) => m.theirs.loss.below(1) }]
    await expect(reproduce({ ...toy, claims })).rejects.toThrow(/Measured: base \(loss, size\); ours/)
    await expect(reproduce(toy, { seeds: 0 })).rejects.toMatchObject({ code: 'BadOption' })
  })
})

describe('what arms of a seed share', () => {
  const sharing = (made: string[], fails = false): ReturnType<typeof reproduction> =>
    reproduction(
      { paper },
      {
        arms: { base: 1, ours: 2 },
        sizes: { quick: { steps: 3 }, full: { steps: 30 } },
        measure: async (arm, { seed, size, once }) => {
          const value = await once('start', async () => {
            made.push(`${seed}: ${size.steps}`)
            if (fails && made.length === 1) throw new Error('out of memory')
            return { seed }
          })
          return { loss: arm + value.seed }
        },
        claims: ({ holds }) => [
          holds('is lower', (m) => m.base.loss.below(m.ours.loss)),
          // @ts-expect-error: there is no such arm.
          holds('misspelt arm', (m) => m.bose.loss.below(9), { fullOnly: true }),
          // @ts-expect-error: nothing of that name is measured.
          holds('misspelt metric', (m) => m.base.lost.below(9), { fullOnly: true }),
        ],
      },
    )

  test('is made once a seed, and the size is that of the form', async () => {
    const made: string[] = []
    await reproduce(sharing(made), { quick: true })
    expect(made).toEqual(['0: 3', '1: 3'])
  })

  test('is let go when the seed is done', async () => {
    const values: WeakRef<object>[] = []
    const experiment = reproduction(
      { paper },
      {
        arms: { ours: 1 },
        measure: async (_, { seed, once }) => {
          values.push(
            new WeakRef(await once('large', () => Promise.resolve({ numbers: new Float64Array(1e6) }))),
          )
          // A turn of the event loop lets weak references go.
          await new Promise((resolve) => setTimeout(resolve))
          if (seed > 0) globalThis.gc?.()
          return { freed: Number(seed === 0 || values[0].deref() === undefined) }
        },
        claims: () => [],
      },
    )
    setFlagsFromString('--expose-gc')
    globalThis.gc ??= runInNewContext('gc') as NonNullable<typeof globalThis.gc>
    const { arms } = await reproduce(experiment, { seeds: 3 })
    expect(arms.ours.freed.values[2]).toBe(1)
  })

  test('is made anew where it failed', async () => {
    const made: string[] = []
    const experiment = sharing(made, true)
    await expect(reproduce(experiment, { quick: true })).rejects.toThrow('out of memory')
    await reproduce(experiment, { quick: true })
    expect(made).toEqual(['0: 3', '0: 3', '1: 3'])
  })
})

describe('a comparison', () => {
  const sample = (...values: number[]): Sample => new Sample('other', values)

  test('pairs the seeds: a small difference in every seed counts, one within the noise does not', () => {
    expect(sample(1, 5, 9).below(sample(1.1, 5.1, 9.1)).holds).toBe(true)
    expect(sample(1, 5, 9).below(sample(0.5, 6, 9)).holds).toBe(false)
    expect(sample(1.1, 5.1, 9.1).above(sample(1, 5, 9)).holds).toBe(true)
  })

  test('asks for the margin that is named', () => {
    expect(sample(0.9, 0.9).below(sample(1, 1), 0.05).holds).toBe(true)
    expect(sample(0.96, 0.96).below(sample(1, 1), 0.05).holds).toBe(false)
    expect(sample(1.04, 1.04).notAbove(sample(1, 1), 0.05).holds).toBe(true)
    expect(sample(1.06, 1.06).notAbove(sample(1, 1), 0.05).holds).toBe(false)
    expect(sample(0.94).notBelow(1, 0.05).holds).toBe(false)
    expect(sample(1.06).within(1, 0.05).holds).toBe(false)
    expect(sample(-1.04).within(-1, 0.05).holds).toBe(true)
  })

  test('of two samples of the same noise seldom holds', () => {
    const draws = new Float32Array(2000 * 6)
    normal(draws, keyOf('noise'))
    let held = 0
    for (let i = 0; i < 2000; i++) {
      const [a, b] = [draws.subarray(6 * i, 6 * i + 3), draws.subarray(6 * i + 3, 6 * i + 6)]
      if (sample(...a).below(sample(...b)).holds) held++
    }
    // One standard error, one side, two degrees of freedom: a fifth.
    expect(held / 2000).toBeCloseTo(0.21, 1)
  })
})
