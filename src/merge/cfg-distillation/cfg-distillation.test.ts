/** @file Exact properties of CFG distillation: guidance, divergence, the reward and its gradient, sampling, mixing. */
import fc from 'fast-check'
import { beforeAll, describe, expect, it, vi } from 'vitest'
import { type Checkpoint } from '../../checkpoint/index.js'
import { createModel, type Model, openModel } from '../../models/index.js'
import { Stream } from '../../random/index.js'
import { compile, grad, logSoftmax, softmax, type Tensor, type Value, valueOf } from '../../tensor/index.js'
import { adamW, initialState, makeStep } from '../../train/index.js'
import { interpolation } from './cfg-distillation.js'
import { advantages, bigrams, meanUnlikeness, unlikeness } from './diversity.js'
import { guidedLogits, sampler } from '../../distil/sampler.js'
import { distillationLoss, distilGuidance, sampledBatch } from './train.js'
import { modelInMemory } from '../core/recipe/in-memory.js'
import { mergedInMemory } from '../tensor-methods/recipes.js'
import { normOf } from '../../tensor/numbers.js'

const numbers = async (v: Value): Promise<number[]> => Array.from(await v.read(), Number)
const run = async (f: (x: Tensor[]) => Tensor, ...rows: number[][]): Promise<number[]> => {
  const inputs = rows.map((row) => valueOf(row, [row.length], 'float32'))
  return numbers(await (await compile(f, inputs)).run(inputs))
}

const config = {
  ...{ model_type: 'gpt2', vocab_size: 6, n_embd: 8, n_layer: 1, n_head: 2, n_positions: 16 },
  ...{ embd_pdrop: 0, attn_pdrop: 0, resid_pdrop: 0, initializer_range: 0.5 },
}
let base: Model
let checkpoint: Checkpoint
let frozen: Model
beforeAll(async () => {
  base = await createModel(config, { seed: 3 })
  checkpoint = await modelInMemory(base)
  frozen = await openModel(checkpoint)
})

describe('guidance', () => {
  const [c, u] = [
    [1, -2, 0.5],
    [0.3, 0.4, -1],
  ]
  it('of 1 is the model with its prompt, of 0 the one without', async () => {
    expect(await run(([a, b]) => guidedLogits(a, b, 1), c, u)).toEqual(c)
    const found = await run(([a, b]) => guidedLogits(a, b, 0), c, u)
    found.forEach((x, i) => expect(x).toBeCloseTo(u[i], 6))
  })

  it('gives the same distribution of logits and of log-probabilities', async () => {
    const of = (normal: (x: Tensor) => Tensor) =>
      run(([a, b]) => softmax(guidedLogits(normal(a), normal(b), 3)), c, u)
    const [raw, logs] = [await of((x) => x), await of(logSoftmax)]
    raw.forEach((p, i) => expect(p).toBeCloseTo(logs[i], 6))
  })
})

const rows = (samples: number[][]) => ({
  prompts: samples.map(() => [4]),
  samples,
  gains: samples.map((_, i) => i - 0.5),
})
const batchOf = (samples: number[][]) => {
  const { prompts, gains } = rows(samples)
  return sampledBatch(prompts, samples, gains, { negative: [5], tokens: 3, width: 1 })
}

describe('the loss', () => {
  const lossOf = async (
    scale: number,
    batch = batchOf([
      [1, 2, 3],
      [0, 1],
    ]),
    student = base.parameters,
  ) => {
    const guidance = { scale, negative: [5] }
    const objectives = [{ loss: distillationLoss(base, frozen, { guidance }), optimizer: adamW() }]
    const state = initialState(objectives, student)
    return (await makeStep(objectives, { clip: 1 })(state, batch, { learningRate: 0 })).metrics
  }

  it('of a model and itself without guidance is 0, and so is its gradient', async () => {
    const { kl, gradientNorm } = await lossOf(1)
    expect(Math.abs(kl)).toBeLessThan(1e-6)
    expect(gradientNorm).toBeLessThan(1e-5)
  })

  it('is above 0 under guidance', async () => {
    expect((await lossOf(3)).kl).toBeGreaterThan(1e-3)
  })

  it('looks at nothing behind the end of a sample', async () => {
    const padded = batchOf([
      [1, 2, 3],
      [0, 1],
    ])
    const data = Int32Array.from(padded.ids.data as Int32Array)
    data[7] = 2
    const other = { ...padded, ids: valueOf(data, padded.ids.shape, 'int32') }
    expect(await lossOf(3, other)).toEqual(await lossOf(3, padded))
  })

  it("has the gradient p (log p - log q - KL) in the student's logits", async () => {
    const kl = ([l, t]: Tensor[]): Tensor => {
      const [p, q] = [logSoftmax(l), logSoftmax(t)]
      return p.exp().mul(p.sub(q)).sum()
    }
    const [l, t] = [
      [0.5, -1, 2],
      [1, 0.2, -0.3],
    ]
    const found = await run(([a, b]) => grad((x: Tensor) => kl([x, b]))(a), l, t)
    const log = (x: number[]): number[] => {
      const sum = Math.log(x.reduce((s, v) => s + Math.exp(v), 0))
      return x.map((v) => v - sum)
    }
    const [p, q] = [log(l), log(t)]
    const total = p.reduce((s, v, i) => s + Math.exp(v) * (v - q[i]), 0)
    found.forEach((g, i) => expect(g).toBeCloseTo(Math.exp(p[i]) * (p[i] - q[i] - total), 5))
  })
})

describe('the diversity reward', () => {
  const vectors = fc.array(
    fc.array(fc.double({ min: -3, max: 3, noNaN: true }), { minLength: 3, maxLength: 3 }),
    {
      minLength: 2,
      maxLength: 5,
    },
  )
  const usable = vectors.filter((list) => list.every((v) => normOf(v) > 1e-3))

  it('is symmetric, 0 of a sample with itself, and within [0, 2]', () => {
    fc.assert(
      fc.property(usable, (list) => {
        const r = unlikeness([...list, list[0]])
        r.forEach((row, i) =>
          row.forEach((v, j) => (expect(v).toBeCloseTo(r[j][i], 12), expect(v >= 0 && v <= 2).toBe(true))),
        )
        expect(r[0].at(-1)).toBeCloseTo(0, 12)
      }),
    )
    expect(() =>
      unlikeness([
        [0, 0],
        [1, 0],
      ]),
    ).toThrow(/not 0/)
    expect(
      meanUnlikeness(
        unlikeness([
          [1, 2],
          [1, 2],
          [2, 4],
        ]),
      ),
    ).toBeCloseTo(0, 12)
  })

  it('has advantages that are leave-one-out ones times (N - 1) / (N - 2), and batch-mean ones times N / (N - 2)', () => {
    const r = unlikeness([
      [1, 0, 2],
      [0, 1, 1],
      [1, 1, 0],
      [3, 1, 1],
    ])
    const n = r.length
    const own = r.map((row) => row.reduce((a, b) => a + b) / (n - 1))
    const mean = own.reduce((a, b) => a + b) / n
    advantages(r, 0).forEach((a, i) => {
      const others = (n * mean - own[i]) / (n - 1)
      expect(own[i] - others).toBeCloseTo(((n - 2) / (n - 1)) * a, 12)
      expect(own[i] - mean).toBeCloseTo(((n - 2) / n) * a, 12)
    })
  })

  it('uses the running mean for two samples', () => {
    expect(
      advantages(
        [
          [0, 0.75],
          [0.75, 0],
        ],
        0.5,
      ),
    ).toEqual([0.25, 0.25])
  })

  it('counts pairs of neighbours', () => {
    expect([...Array.from(bigrams(2)([0, 1, 1, 0]))]).toEqual([0, 1, 1, 1])
    expect(normOf(Array.from(bigrams(1000)([])))).toBe(1)
  })

  it('estimates the gradient of the expected unlikeness without bias', () => {
    // One token of three, and another whose distribution depends on it: every sample can be listed.
    const logits = [
      [0.4, -0.3, 0.1],
      [0.5, 0, -0.5],
      [-0.2, 0.6, 0],
      [0.1, 0.2, 0.3],
    ]
    const probabilities = logits.map((l) => {
      const e = l.map(Math.exp)
      const sum = e.reduce((a, b) => a + b)
      return e.map((v) => v / sum)
    })
    const all = [0, 1, 2].flatMap((a) => [0, 1, 2].map((b) => [a, b]))
    const embed = ([a, b]: number[]): number[] => [
      1,
      Number(a === 0) + 2 * Number(b === 1),
      Number(a === 2) - Number(b === 0),
      a * b,
    ]
    const chance = ([a, b]: number[]): number => probabilities[0][a] * probabilities[a + 1][b]
    /** d log p / d logit of the first token, [3]. */
    const score = ([a]: number[]): number[] => probabilities[0].map((p, k) => Number(a === k) - p)
    const r = unlikeness(all.map(embed))
    const exact = [0, 1, 2].map((k) =>
      all.reduce(
        (sum, x, i) =>
          sum + all.reduce((s, y, j) => s + 2 * chance(x) * chance(y) * r[i][j] * score(x)[k], 0),
        0,
      ),
    )
    const stream = new Stream(4)
    const pick = (p: number[]): number => {
      let left = stream.uniform()
      return Math.max(
        0,
        p.findIndex((v) => (left -= v) < 0),
      )
    }
    const [n, groups] = [4, 20_000]
    const [sum, squares] = [
      [0, 0, 0],
      [0, 0, 0],
    ]
    for (let g = 0; g < groups; g++) {
      const drawn = Array.from({ length: n }, () => {
        const a = pick(probabilities[0])
        return 3 * a + pick(probabilities[a + 1])
      })
      const gains = advantages(
        drawn.map((i) => drawn.map((j) => r[i][j])),
        0,
      )
      for (let k = 0; k < 3; k++) {
        const estimate = drawn.reduce((s, i, m) => s + (2 * gains[m] * score(all[i])[k]) / n, 0)
        sum[k] += estimate / groups
        squares[k] += estimate ** 2 / groups
      }
    }
    exact.forEach((e, k) => {
      const error = Math.sqrt((squares[k] - sum[k] ** 2) / groups)
      expect(Math.abs(sum[k] - e)).toBeLessThan(4 * error)
    })
    expect(normOf(exact)).toBeGreaterThan(0.05)
  })
})

describe('sampling', () => {
  const prompts = [[4], [4], [3]]
  const options = { batch: 3, prompt: 1, tokens: 8 }

  it('is the same for a seed, and takes two passes a token under guidance', async () => {
    const plain = sampler(base, options)
    const one = await plain(prompts, new Stream(1))
    expect(await plain(prompts, new Stream(1))).toEqual(one)
    expect((await plain(prompts, new Stream(2))).samples).not.toEqual(one.samples)
    expect(one.forwards).toBe(1)
    const guided = await sampler(base, { ...options, guidance: { scale: 3, negative: [5] } })(
      prompts,
      new Stream(1),
    )
    expect(guided.forwards).toBe(2)
    const none = await sampler(base, { ...options, guidance: { scale: 1, negative: [5] } })(
      prompts,
      new Stream(1),
    )
    expect(none).toEqual(one)
  })

  it('draws tokens as often as the model says, guided by logits', async () => {
    const many = { batch: 600, prompt: 1, tokens: 1, guidance: { scale: 2, negative: [5] } }
    const { samples } = await sampler(base, many)(
      Array.from({ length: 600 }, () => [4]),
      new Stream(7),
    )
    const logits = async (prompt: number): Promise<number[]> => {
      const f = ({ parameters, ids }: { parameters: Record<string, Tensor>; ids: Tensor }): Tensor =>
        base.architecture.forward(base.weights(parameters, {}), { ids }, base.config).logits
      const inputs = { parameters: { ...base.parameters }, ids: valueOf([prompt], [1, 1], 'int32') }
      return numbers(await (await compile(f, inputs)).run(inputs))
    }
    const [c, u] = [await logits(4), await logits(5)]
    const guided = u.map((l, i) => Math.exp(l + 2 * (c[i] - l)))
    const total = guided.reduce((a, b) => a + b)
    guided.forEach((g, id) => {
      const [p, seen] = [g / total, samples.filter(([s]) => s === id).length / 600]
      expect(Math.abs(seen - p)).toBeLessThan(4.5 * Math.sqrt((p * (1 - p)) / 600) + 1e-9)
    })
  })

  it('ends a sample with an end token', async () => {
    const { samples } = await sampler(base, { ...options, ends: new Set([0, 1, 2]) })(prompts, new Stream(1))
    for (const row of samples)
      expect(row.findIndex((id) => id < 3)).toBe(
        row.length < 8 ? row.length - 1 : row.findIndex((id) => id < 3),
      )
  })
})

describe('distilling', () => {
  const options = {
    guidance: { scale: 3, negative: [5] },
    tokens: 6,
    prompts: 2,
    samples: 4,
    learningRate: 1e-2,
  }

  it('comes nearer to the guided model, and never embeds without a reward', async () => {
    const embed = vi.fn(() => [1])
    const kls: number[] = []
    const { model } = await distilGuidance(base, frozen, [[4], [3]], {
      ...{ ...options, steps: 40, embed },
      onStep: (_, { kl }) => kls.push(kl),
    })
    expect(embed).not.toHaveBeenCalled()
    const mean = (part: number[]): number => part.reduce((a, b) => a + b) / part.length
    expect(mean(kls.slice(-10))).toBeLessThan(0.5 * mean(kls.slice(0, 5)))
    expect(Object.keys(model.parameters)).toEqual(Object.keys(base.parameters))
  })

  it('with a reward says more unlike things, and is the same for a seed', async () => {
    const rewarded = { ...options, steps: 40, diversity: 20, seed: 2 }
    const one = await distilGuidance(base, frozen, [[4], [3]], rewarded)
    const plain = await distilGuidance(base, frozen, [[4], [3]], { ...rewarded, diversity: 1e-9 })
    expect(one.diversity).toBeGreaterThan(plain.diversity)
    const again = await distilGuidance(base, frozen, [[4], [3]], { ...rewarded, steps: 3 })
    const third = await distilGuidance(base, frozen, [[4], [3]], { ...rewarded, steps: 3 })
    for (const [name, v] of Object.entries(again.model.parameters))
      expect(await third.model.parameters[name].read()).toEqual(await v.read())
  })

  it.each([
    [{ diversity: 1, samples: 1 }, /two samples/],
    [{ guidance: { scale: -1, negative: [5] } }, /guidance of -1/],
    [{ guidance: { scale: 3, negative: [] } }, /negative prompt has no token/],
    [{ diversity: -2 }, /diversity of -2/],
  ])('refuses %o', async (change, message) => {
    await expect(distilGuidance(base, frozen, [[4]], { ...options, steps: 1, ...change })).rejects.toThrow(
      message,
    )
    await expect(distilGuidance(base, frozen, [], { ...options, steps: 1 })).rejects.toThrow(/no prompt/)
  })
})

describe('mixing', () => {
  it('is one of the students at the ends, and between them in between', async () => {
    const other = await modelInMemory(await createModel(config, { seed: 5 }))
    const opened = new Map([
      ['q', checkpoint],
      ['d', other],
    ])
    for (const [mix, from] of [
      [0, checkpoint],
      [1, other],
    ] as const) {
      const got = await mergedInMemory(interpolation('q', 'd', mix), opened)
      for (const name of got.names()) expect(await got.readRaw(name)).toEqual(await from.readRaw(name))
    }
    const got = await mergedInMemory(interpolation('q', 'd', 1.25), opened)
    const name = 'transformer.h.0.mlp.c_fc.weight'
    const [m, q, d] = await Promise.all(
      [got, checkpoint, other].map(async (c) => (await c.read(name)).data as Float32Array),
    )
    m.forEach((v, i) => expect(v).toBeCloseTo(-0.25 * q[i] + 1.25 * d[i], 5))
  })
})
