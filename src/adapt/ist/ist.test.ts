import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { createModel, type Model } from '../../models/index.js'
import { Stream } from '../../random/index.js'
import { toNumbers, type Value, valueOf } from '../../tensor/index.js'
import { type Batch, fit, type FitOptions, rehearse, type TrainingState } from '../../train/index.js'
import { savedBytes } from '../../train/saved-bytes.js'
import { layerImportance, layerSampled } from './ist.js'
import { skippableFor } from './layers.js'
import { combinations, drawCandidates, drawTrained, updatedImportance } from './importance.js'
import { houlsby, lora, prompt } from '../index.js'

const layers = 4
let base: Model
beforeAll(async () => {
  const config = { model_type: 'llama', vocab_size: 24, hidden_size: 16, intermediate_size: 24 }
  const heads = { num_attention_heads: 2, num_key_value_heads: 2, num_hidden_layers: layers }
  base = await createModel(
    { ...config, ...heads, max_position_embeddings: 16, rms_norm_eps: 1e-6 },
    { seed: 1 },
  )
})

const data = function* (startAt: number): Generator<Batch> {
  for (let i = startAt; ; i++) {
    const stream = new Stream('data').fork(i)
    const ids = valueOf(
      Array.from({ length: 24 }, () => stream.int(24)),
      [3, 8],
      'int32',
    )
    yield { ids, labels: ids }
  }
}

const numbers = (parameters: Readonly<Record<string, Value>>): Record<string, number[]> =>
  Object.fromEntries(Object.entries(parameters).map(([name, v]) => [name, [...toNumbers(v)]]))
const layerOf = (name: string): number => Number(/layers\.(\d+)\./.exec(name)![1])

/** The parameters and the optimiser's state after every step. */
const trajectory = async (
  model: Parameters<typeof fit>[0],
  options: FitOptions,
): Promise<
  { parameters: Record<string, number[]>; m: Record<string, number[]>; importance?: number[] }[]
> => {
  const found: Awaited<ReturnType<typeof trajectory>> = []
  const hook = ({ parameters, optimizers, ...state }: TrainingState): void => {
    const m = Object.fromEntries(Object.entries(optimizers[0]).map(([name, slots]) => [name, slots.m]))
    const importance = layerImportance({ optimizers, ...state })
    found.push({ parameters: numbers(parameters), m: numbers(m), importance })
  }
  await fit(model, data, { learningRate: 1e-2, seed: 3, ...options, hook })
  return found
}

describe('IST', () => {
  it('with all layers and no importance loop trains as the adapter alone', async () => {
    const adapter = await lora(base, { rank: 2 })
    const alone = await trajectory(adapter, { steps: 4 })
    const sampled = await trajectory(layerSampled(adapter, { trained: layers, every: 0 }), { steps: 4 })
    for (const [i, { parameters }] of alone.entries())
      for (const [name, x] of Object.entries(parameters))
        x.forEach((n, j) => expect(sampled[i].parameters[name][j]).toBeCloseTo(n, 6))
  })

  it('moves exactly N_u layers a step; weights and moments of the others keep their bits', async () => {
    const model = layerSampled(await lora(base, { rank: 2 }), { trained: 2, every: 2, suppressed: 2 })
    let last: { parameters: Record<string, number[]>; m?: Record<string, number[]> } = {
      parameters: numbers(model.parameters),
    }
    const differing = (now: Record<string, number[]>, before: Record<string, number[]>): Set<number> =>
      new Set(
        Object.keys(now)
          .filter((name) => `${now[name]}` !== `${before[name]}`)
          .map(layerOf),
      )
    for (const now of await trajectory(model, { steps: 6 })) {
      const moved = differing(now.parameters, last.parameters)
      expect(moved.size).toBe(2)
      if (last.m) expect(differing(now.m, last.m)).toEqual(moved)
      last = now
    }
  })

  it('keeps less of every step than the adapter alone: of the lowest layers nothing but what enters them', async () => {
    const adapter = await lora(base, { rank: 2, targets: 'all-linear' })
    const batch = data(0).next().value as Batch
    const flags = valueOf([1, 0, 0, 0], [layers])
    const bytes = (skippable: number): number =>
      savedBytes(layerSampled(adapter, { trained: 1, skippable }), { ...batch, istTrains: flags })
    const [all, ...fewer] = [0, 1, 2, 3, 4].map(bytes)
    // The entry of each block that keeps nothing is there in its place.
    const entry = 4 * batch.ids.data.length * 16
    const alone = savedBytes(adapter, batch)
    expect(all).toBe(alone)
    fewer.forEach((saved, i) => expect(saved).toBeLessThan(alone * (1 - (i + 1) / 5) + (i + 1) * entry))
    expect(savedBytes(layerSampled(adapter, { trained: 1 }), { ...batch, istTrains: flags })).toBe(fewer[2])
  })

  it('takes less memory for the values of its one program than that of the adapter alone, trials included', async () => {
    const adapter = await lora(base, { rank: 2, targets: 'all-linear' })
    const options = { steps: 2 }
    const alone = await rehearse(adapter, data, options)
    const sampled = await rehearse(layerSampled(adapter, { trained: 1 }), data, options)
    expect(sampled.values).toBeLessThan(alone.values)
    expect(sampled.mapped).toBe(alone.mapped)
  })

  it('gives the same numbers, but for rounding, however many of the lowest layers are skipped', async () => {
    const adapter = await lora(base, { rank: 2, dropout: 0.2 })
    const runs = []
    for (const skippable of [0, 2, layers])
      runs.push(await trajectory(layerSampled(adapter, { trained: 1, every: 2, skippable }), { steps: 4 }))
    for (const run of runs)
      for (const [step, { parameters, importance }] of run.entries()) {
        const expected = { importance: runs[0][step].importance!, ...runs[0][step].parameters }
        for (const [name, x] of Object.entries({ importance: importance!, ...parameters }))
          x.forEach((n, i) => expect(n, name).toBeCloseTo(expected[name as 'importance'][i], 6))
      }
  })

  it('skips so many of the lowest layers that passes are spared as well as memory: none where all layers train', () => {
    // Of four layers one trains: the backward passes of the lowest three are needed in 1, 2 and 3 steps of 4.
    expect(skippableFor(4, 1)).toBe(3)
    expect(skippableFor(12, 3)).toBe(5)
    expect(skippableFor(32, 8)).toBe(6)
    for (const n of [1, 2, 12]) expect(skippableFor(n, n)).toBe(0)
  })

  it('skips no block that depends on what always trains', async () => {
    const whole = await lora(base, { rank: 2, modulesToSave: ['embed_tokens'] })
    const batch = { ...data(0).next().value, istTrains: valueOf([0, 0, 0, 1], [layers]) } as Batch
    const bytes = (skippable: number): number =>
      savedBytes(layerSampled(whole, { trained: 1, skippable }), batch)
    expect(bytes(layers)).toBe(bytes(0))
    const [{ parameters }] = await trajectory(layerSampled(whole, { trained: 1, every: 0 }), { steps: 1 })
    const table = 'model.embed_tokens.weight'
    expect(parameters[table]).not.toEqual(numbers(whole.parameters)[table])
  })

  it('clips by the gradients of the layers that train alone', async () => {
    const adapter = await lora(base, { rank: 2 })
    const norms: number[] = []
    const one = layerSampled(adapter, { trained: 1, every: 0 })
    const all = layerSampled(adapter, { trained: layers, every: 0 })
    for (const model of [one, all])
      await fit(model, data, {
        ...{ steps: 1, seed: 3, clip: 1e9 },
        hook: (_, { metrics }) => void norms.push(metrics.gradientNorm),
      })
    expect(norms[0]).toBeLessThan(norms[1])
    expect(norms[0]).toBeGreaterThan(0)
  })

  it('changes no importance while B is zero, nor where nothing is suppressed, and some afterwards', async () => {
    const model = await lora(base, { rank: 2 })
    const still = await trajectory(layerSampled(model, { suppression: 1, every: 1, trained: 1 }), {
      steps: 3,
    })
    still.at(-1)!.importance!.forEach((i) => expect(Math.abs(i)).toBeLessThan(1e-12))
    const zero = await trajectory(layerSampled(model, { every: 1 }), { steps: 1, learningRate: 1e-30 })
    zero[0].importance!.forEach((i) => expect(Math.abs(i)).toBeLessThan(1e-6))
    const some = await trajectory(layerSampled(model, { every: 2, trained: 2 }), { steps: 4 })
    expect(some.at(-1)!.importance!.some((i) => i !== 0)).toBe(true)
  })

  it('draws the same layers whether or not it looks at importance: each draw has its own stream', () => {
    const rounds = [0, 1, 2].map((step) =>
      drawTrained([0, 0, 0, 0], 2, new Stream(5).fork('ist layers').fork(step)),
    )
    drawCandidates([0, 0, 0, 0], { sets: 3, count: 2 }, new Stream(5).fork('ist candidates').fork(1))
    const again = [0, 1, 2].map((step) =>
      drawTrained([0, 0, 0, 0], 2, new Stream(5).fork('ist layers').fork(step)),
    )
    expect(again).toEqual(rounds)
  })

  it('wraps serial adapters too, and refuses what has no layers or more than it has', async () => {
    const serial = layerSampled(await houlsby(base, { bottleneck: 2 }), { trained: 1, every: 0 })
    const [{ parameters }] = await trajectory(serial, { steps: 1 })
    const first = numbers(serial.parameters)
    const moved = Object.keys(parameters).filter((name) => `${parameters[name]}` !== `${first[name]}`)
    expect(new Set(moved.map(layerOf)).size).toBe(1)
    const adapter = await lora(base)
    const virtual = await prompt(base, { tokens: 2 })
    expect(() => layerSampled(virtual)).toThrow(/prompt/)
    expect(() => layerSampled(adapter, { trained: 5 })).toThrow(
      /trained is 5; the adapter stands in 4 layers/,
    )
    expect(() => layerSampled(adapter, { suppressed: 4 })).toThrow(/2 sets of 4 layers out of 4; there are 1/)
    expect(() => layerSampled(adapter, { candidates: 1 })).toThrow()
  })
})

describe('importance', () => {
  const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))

  it('is drawn as often as its weights say: the first of two drawn without replacement', () => {
    const importance = [2, 0, -1, 1]
    const weights = importance.map(sigmoid)
    const total = weights.reduce((a, b) => a + b)
    const draws = 10_000
    const counts = [0, 0, 0, 0]
    const stream = new Stream('frequencies')
    for (let i = 0; i < draws; i++) counts[drawTrained(importance, 1, stream)[0]]++
    const chi = counts.reduce(
      (sum, n, l) => sum + (n - (draws * weights[l]) / total) ** 2 / ((draws * weights[l]) / total),
      0,
    )
    // 99.9 % of the chi-square distribution of 3 degrees of freedom.
    expect(chi).toBeLessThan(16.27)
  })

  it('draws distinct layers and distinct candidates', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -3, max: 3, noNaN: true }), { minLength: 5, maxLength: 9 }),
        (importance) => {
          const drawn = drawTrained(importance, 3, new Stream('x'))
          expect(new Set(drawn).size).toBe(3)
          const sets = drawCandidates(importance, { sets: 3, count: 2 }, new Stream('y'))
          expect(new Set(sets.map(String)).size).toBe(3)
        },
      ),
      { numRuns: 50 },
    )
    expect(combinations(12, 6)).toBe(924)
  })

  it('does not move by what all candidates share, and its moves sum to zero with equal p', () => {
    const options = { rate: 10, normalized: false }
    const all = [0, 1, 2, 3]
    updatedImportance([0, 0.5, -1, 2], [all, all, all], [1, 2, 0.5], options).forEach((i, l) =>
      expect(i).toBeCloseTo([0, 0.5, -1, 2][l], 12),
    )
    const moved = updatedImportance(
      [0, 0, 0, 0],
      [
        [0, 1],
        [1, 2],
        [2, 3],
      ],
      [1, 2, 0.5],
      options,
    )
    expect(moved.reduce((a, b) => a + b)).toBeCloseTo(0, 12)
    // The set whose suppression hurt least, the last, becomes less important.
    expect(moved[3]).toBeLessThan(0)
    expect(updatedImportance([1, 2], [[0], [1]], [1, 1], options)).toEqual([1, 2])
  })

  it('finds the layers that a loss depends on', () => {
    const key = [3, 8]
    let right = 0
    for (let seed = 0; seed < 20; seed++) {
      let importance = new Array<number>(12).fill(0)
      const stream = new Stream(`bandit ${seed}`)
      for (let update = 0; update < 200; update++) {
        const sets = drawCandidates(importance, { sets: 3, count: 6 }, stream)
        const losses = sets.map(
          (set) => 0.5 + 0.02 * stream.normal() + 0.05 * key.filter((l) => set.includes(l)).length,
        )
        importance = updatedImportance(importance, sets, losses, { rate: 10, normalized: false })
      }
      const order = importance.map((i, l) => ({ i, l })).sort((a, b) => b.i - a.i)
      if (order.slice(0, 2).every(({ l }) => key.includes(l))) right++
    }
    expect(right).toBeGreaterThanOrEqual(19)
  })
})
