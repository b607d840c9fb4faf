import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Checkpoint, type JsonObject, open } from '../../checkpoint/index.js'
import { createModel, type Model, openModel } from '../../models/index.js'
import { normal, keyOf, Stream } from '../../random/index.js'
import { compile, sizeOf, toNumbers, type Value, value, valueOf } from '../../tensor/index.js'
import type { Batch } from '../../train/loss.js'
import { inputsOf } from '../../train/loss.js'
import {
  insideUnit,
  modelOf,
  moveUnits,
  permutationGroups,
  readTensors,
  type Tensors,
} from '../../units/permutation/index.js'
import { pleas, pleasMerge } from './pleas.js'
import { maxOf } from '../../tensor/numbers.js'

const noise = (shape: readonly number[], seed: string): Value => {
  const data = new Float32Array(sizeOf(shape))
  normal(data, keyOf(seed))
  return value(data, shape, 'float32')
}

const configs = {
  mlp: { model_type: 'weft_mlp', sizes: [8, 24, 20, 4] },
  resnet: {
    model_type: 'resnet',
    layer_type: 'basic',
    embedding_size: 8,
    hidden_sizes: [8, 16],
    depths: [1, 1],
    num_labels: 3,
  },
  vit: {
    model_type: 'vit',
    hidden_size: 16,
    num_hidden_layers: 1,
    num_attention_heads: 4,
    intermediate_size: 24,
    image_size: 8,
    patch_size: 4,
    num_labels: 3,
  },
  llama: {
    model_type: 'llama',
    vocab_size: 32,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: 1,
    num_attention_heads: 4,
    num_key_value_heads: 2,
  },
} satisfies Record<string, JsonObject>
type Name = keyof typeof configs

const count = 3

/** Some inputs for each architecture; the llama's second row is half padding. */
const batchFor = (name: Name, seed: string, size = 16): Batch => {
  if (name === 'mlp') return { embeddings: noise([size, 8], seed) }
  if (name === 'resnet') return { pixels: noise([size / 2, 3, 16, 16], seed) }
  if (name === 'vit') return { pixels: noise([size, 3, 8, 8], seed) }
  const stream = new Stream(seed)
  const ids = Array.from({ length: size * 8 }, () => stream.int(32))
  const mask = ids.map((_, i) => Number(i < 8 || i >= 12))
  return { ids: valueOf(ids, [size, 8], 'int32'), attentionMask: valueOf(mask, [size, 8], 'int32') }
}

const data = (name: Name, seed = 'data'): (() => Batch[]) => {
  const batches = Array.from({ length: count }, (_, i) => batchFor(name, `${seed} ${i}`))
  return () => batches
}

/** Random numbers everywhere, so that biases, norms and statistics tell units apart. */
const newModel = async (name: Name, seed: string): Promise<Checkpoint> => {
  // A ResNet's own spread keeps its numbers near 1.
  const spread: JsonObject = name === 'resnet' ? {} : { initializer_range: 0.3 }
  const model = await createModel({ ...configs[name], ...spread }, { seed })
  const tensors = Object.fromEntries(
    Object.entries(await readTensors(model.checkpoint)).map(([key, v]) => {
      if (v.dtype === 'int64' || v.shape.length > 1) return [key, v]
      const [start, spread] = /norm.*weight|running_var/.test(key) ? [1, 0.1] : [0, 0.2]
      const drawn = noise(v.shape, `${seed} ${key}`).data as Float32Array
      return [
        key,
        value(
          drawn.map((x) => start + spread * x),
          v.shape,
          'float32',
        ),
      ]
    }),
  )
  return (await modelOf(model.checkpoint.config, tensors)).checkpoint
}

const logitsOf = async (model: Model, batch: Batch): Promise<Float64Array> => {
  const program = await compile(
    ({ parameters, batch }) =>
      model.architecture.forward(model.weights(parameters, {}), inputsOf(model, batch), model.config).logits,
    { parameters: { ...model.parameters }, batch: { ...batch } },
  )
  return toNumbers(await program.run({ parameters: { ...model.parameters }, batch: { ...batch } }))
}

const checkpointLogits = async (checkpoint: Checkpoint, batch: Batch): Promise<Float64Array> =>
  logitsOf(await openModel(checkpoint), batch)

const largestDifference = (x: Float64Array, y: Float64Array): number =>
  x.reduce((most, v, i) => Math.max(most, Math.abs(v - y[i])), 0)

/** The same function with its units, and the dimensions inside its heads, in another order. */
const shuffled = async (checkpoint: Checkpoint): Promise<Checkpoint> => {
  const stream = new Stream('shuffled')
  let state: ReturnType<typeof moveUnits> = { tensors: await readTensors(checkpoint), orders: {} }
  for (const group of permutationGroups(await openModel(checkpoint))) {
    state = moveUnits(state, group, stream.permutation(group.units))
    for (const inside of group.insides)
      for (let u = 0; u < group.units; u++)
        state = moveUnits(state, insideUnit(inside, u), stream.permutation(inside.size))
  }
  return (await modelOf(checkpoint.config, state.tensors)).checkpoint
}

const names = Object.keys(configs) as Name[]

describe.each(names)('of a %s', (name) => {
  let a: Checkpoint
  let b: Checkpoint
  const test = batchFor(name, 'test')
  beforeAll(async () => {
    a = await newModel(name, 'a')
    b = await newModel(name, 'b')
  })
  afterAll(async () => {
    await a.close()
    await b.close()
  })

  it.each(['activations', 'weights'] as const)(
    'and its shuffled copy, matched by %s, the merge is the model',
    async (match) => {
      const copy = await shuffled(a)
      const { tensors } = await pleasMerge([a, copy], { match, leastSquares: false, data: data(name) })
      const original = await readTensors(a)
      for (const [key, v] of Object.entries(tensors))
        if (!/running_|num_batches/.test(key))
          expect(largestDifference(toNumbers(v), toNumbers(original[key])), key).toBeLessThan(1e-6)
    },
  )

  it('and its shuffled copy the merge with least squares is the same function', async () => {
    const { model, notes } = await pleasMerge([a, await shuffled(a)], { data: data(name) })
    // A norm that is measured anew on the data differs from the random one that the model had.
    if (name === 'resnet') expect(notes.length).toBeGreaterThan(0)
    else
      expect(largestDifference(await logitsOf(model, test), await checkpointLogits(a, test))).toBeLessThan(
        1e-4,
      )
  })

  it('layers are solved better than by permutation, and the folder computes what the same inputs give again', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'weft-pleas-'))
    try {
      const given = { ratio: 0.5, data: data(name) }
      const merged = await pleas([a, b], given)
      const layers = Object.entries(merged.report.layers as Record<string, { before: number; after: number }>)
      expect(layers.length).toBeGreaterThan(2)
      for (const [layer, { before, after }] of layers) expect(after, layer).toBeLessThan(before + 1e-6)
      expect(layers.some(([, { before, after }]) => after < 0.9 * before)).toBe(true)
      expect(merged.report.cost).toBeGreaterThan(1.2)

      await merged.save(folder)
      await using saved = await open(folder)
      const again = await pleasMerge([a, b], given)
      expect(await readTensors(saved)).toEqual(again.tensors)
      const difference = largestDifference(
        await checkpointLogits(saved, test),
        await logitsOf(again.model, test),
      )
      expect(difference).toBeLessThan(1e-5)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})

describe.each(['mlp', 'resnet'] as const)('of a %s, where no norm spans units', (name) => {
  const test = batchFor(name, 'test')

  it.each([false, true])(
    'with every unit apart the logits are the average of both (least squares %s)',
    async (leastSquares) => {
      const [a, b] = [await newModel(name, 'a'), await newModel(name, 'b')]
      const { model, report } = await pleasMerge([a, b], { budget: 2, leastSquares, data: data(name) })
      const [x, y] = [await checkpointLogits(a, test), await checkpointLogits(b, test)]
      const average = x.map((v, i) => (v + y[i]) / 2)
      expect(largestDifference(await logitsOf(model, test), average)).toBeLessThan(1e-5)
      expect(report.cost).toBeCloseTo(2, 9)
    },
  )

  it.each([0, 0.25, 0.5, 1])('with itself, unmatched, any ratio (%s) is the same function', async (ratio) => {
    const a = await newModel(name, 'a')
    const { model } = await pleasMerge([a, a], { match: 'none', ratio })
    expect(largestDifference(await logitsOf(model, test), await checkpointLogits(a, test))).toBeLessThan(1e-5)
  })
})

describe('of an mlp', () => {
  const n = [8, 24, 20, 4]
  /** [out, in] as rows. */
  const rowsOf = (v: Value): number[][] => {
    const numbers = [...toNumbers(v)]
    return Array.from({ length: v.shape[0] }, (_, o) => numbers.slice(o * v.shape[1], (o + 1) * v.shape[1]))
  }

  it('what is only one model’s and what is only the other’s are not connected, and the rest counts as the budget says', async () => {
    const [a, b] = [await newModel('mlp', 'a'), await newModel('mlp', 'b')]
    const { tensors, report } = await pleasMerge([a, b], { ratio: 0.25, data: data('mlp') })
    const apart = [0, 6, 5, 0]
    const nonzero = (v: Value): number => toNumbers(v).filter((x) => x !== 0).length
    let total = 0
    for (const [i, name] of ['layers.0', 'layers.1', 'head'].entries()) {
      const [r, s] = [apart[i] / n[i], apart[i + 1] / n[i + 1]]
      const expected = (1 + r + s - r * s) * n[i] * n[i + 1]
      expect(nonzero(tensors[`${name}.weight`]), name).toBe(Math.round(expected))
      total += expected
    }
    expect(report.cost).toBeCloseTo(total / (8 * 24 + 24 * 20 + 20 * 4), 9)
    const middle = rowsOf(tensors['layers.1.weight'])
    // [merged 15 | A 5 | B 5] of [merged 18 | A 6 | B 6].
    for (let o = 15; o < 20; o++) expect(middle[o].slice(24)).toEqual(new Array(6).fill(0))
    for (let o = 20; o < 25; o++) expect(middle[o].slice(18, 24)).toEqual(new Array(6).fill(0))
  })

  it('no more than the budget is spent, and 1 and 2 are one model and both', async () => {
    const [a, b] = [await newModel('mlp', 'a'), await newModel('mlp', 'b')]
    const costs: number[] = []
    for (const budget of [1, 1.3, 1.7, 2]) {
      const { report } = await pleasMerge([a, b], { budget })
      costs.push(Number(report.cost))
      expect(report.cost).toBeLessThanOrEqual(budget + 1e-9)
      expect(report.cost).toBeGreaterThan(budget - 0.1)
    }
    expect(costs[0]).toBe(1)
    expect(costs[3]).toBe(2)
  })

  it('the budget goes to the group that gains most', async () => {
    const [a, b] = [await newModel('mlp', 'a'), await newModel('mlp', 'b')]
    const gains = { 'layers.0.hidden': 0, 'layers.1.hidden': 1 }
    const { report } = await pleasMerge([a, b], { budget: 1.3, gains })
    const groups = report.groups as Record<string, { apart: number }>
    expect(groups['layers.1.hidden'].apart).toBeGreaterThan(groups['layers.0.hidden'].apart)
  })

  it('unmatched, without least squares and nothing apart it is the plain average', async () => {
    const [a, b] = [await newModel('mlp', 'a'), await newModel('mlp', 'b')]
    const { tensors } = await pleasMerge([a, b], { match: 'none', leastSquares: false })
    const [x, y] = [await readTensors(a), await readTensors(b)]
    for (const [name, v] of Object.entries(tensors)) {
      const average = toNumbers(x[name]).map((p, i) => (p + toNumbers(y[name])[i]) / 2)
      expect(largestDifference(toNumbers(v), average), name).toBeLessThan(1e-7)
    }
  })

  it('unmatched, on rows of one model after the other, it is RegMean', async () => {
    const [a, b] = [await newModel('mlp', 'a'), await newModel('mlp', 'b')]
    const batches = data('mlp')
    const { tensors } = await pleasMerge([a, b], {
      match: 'none',
      rows: 'stacked',
      ridge: 1e-9,
      data: batches,
    })
    // Of the first layer both models have the same inputs, so RegMean's weights are the average there.
    const [x, y] = [await readTensors(a), await readTensors(b)]
    for (const name of ['layers.0.weight', 'layers.0.bias']) {
      const average = toNumbers(x[name]).map((p, i) => (p + toNumbers(y[name])[i]) / 2)
      expect(largestDifference(toNumbers(tensors[name]), average), name).toBeLessThan(1e-4)
    }
    // Of the second: the weights W with (G_a + G_b) W = G_a W_a + G_b W_b, where G = Σ h hᵀ with a 1 behind.
    const affine = (t: Tensors, name: string): number[][] => {
      const bias = toNumbers(t[`${name}.bias`])
      return rowsOf(t[`${name}.weight`]).map((row, o) => [...row, bias[o]])
    }
    const dot = (x: readonly number[], y: readonly number[]): number => x.reduce((s, v, i) => s + v * y[i], 0)
    const inputs = batches().flatMap(({ embeddings }) => rowsOf(embeddings).map((row) => [...row, 1]))
    const hidden = (t: Tensors): number[][] => {
      const first = affine(t, 'layers.0')
      return inputs.map((row) => [...first.map((w) => Math.max(0, dot(w, row))), 1])
    }
    const solution = affine(tensors, 'layers.1')
    const gradients = solution.map(() => new Float64Array(25))
    for (const t of [x, y]) {
      const own = affine(t, 'layers.1')
      for (const h of hidden(t))
        solution.forEach((w, o) => {
          const error = dot(w, h) - dot(own[o], h)
          h.forEach((v, i) => (gradients[o][i] += v * error))
        })
    }
    // The gradient of the summed squared error at the solution is 0, beside sums of hundreds.
    for (const gradient of gradients) expect(maxOf(gradient.map(Math.abs))).toBeLessThan(0.02)
  })

  it('for other labels it needs to be told whose head to keep, and keeps that', async () => {
    const a = await newModel('mlp', 'a')
    const other = await createModel({ model_type: 'weft_mlp', sizes: [8, 24, 20, 7] }, { seed: 9 })
    const b = (await modelOf(other.checkpoint.config, other.parameters)).checkpoint
    await expect(pleasMerge([a, b])).rejects.toThrow(/labels/)
    const test = batchFor('mlp', 'test')
    for (const [head, checkpoint] of [
      ['first', a],
      ['second', b],
    ] as const) {
      const { model } = await pleasMerge([a, b], { head, ratio: 1, data: data('mlp') })
      expect(
        largestDifference(await logitsOf(model, test), await checkpointLogits(checkpoint, test)),
      ).toBeLessThan(1e-4)
    }
  })

  it('bad input is refused by name', async () => {
    const [a, wide] = [
      await newModel('mlp', 'a'),
      await createModel({ model_type: 'weft_mlp', sizes: [8, 25, 20, 4] }),
    ]
    await expect(pleasMerge([a, wide.checkpoint])).rejects.toThrow(/layers\.0\.weight.*\[24,8\].*\[25,8\]/)
    await expect(pleasMerge([a, a], { match: 'activations' })).rejects.toThrow(/data/)
    await expect(pleas([a, a], { budget: 3 })).rejects.toThrow(/budget/)
    await expect(pleas([a, a], { ratio: -1 })).rejects.toThrow(/ratio/)
    const nan = { embeddings: valueOf(new Array(8).fill(NaN), [1, 8]) }
    await expect(pleasMerge([a, a], { match: 'none', data: () => [nan] })).rejects.toThrow(/layers\.0/)
    const { notes } = await pleasMerge([a, a], { data: () => [batchFor('mlp', 'few', 3)] })
    expect(notes.join()).toMatch(/Fewer rows/)
  })
})

it('of transformers whose widths only a list could say, Weft’s list is written, and what cannot be said is refused', async () => {
  const two = { ...configs.llama, num_hidden_layers: 2 }
  const a = (await createModel(two, { seed: 1 })).checkpoint
  const gains = { 'layers.0.hidden': 1 }
  const { model, config } = await pleasMerge([a, a], { match: 'none', budget: 1.15, gains })
  expect((config.weft as JsonObject).intermediate_size).toHaveLength(2)
  const batch = batchFor('llama', 'test')
  expect(largestDifference(await logitsOf(model, batch), await checkpointLogits(a, batch))).toBeLessThan(1e-5)
  const sizes = { vocab_size: 16, d_model: 8, d_kv: 4, d_ff: 8, num_layers: 2, num_heads: 2 }
  const b = (await createModel({ model_type: 't5', ...sizes }, { seed: 1 })).checkpoint
  const first = { 'encoder.layers.0.hidden': 1 }
  const unequal = pleasMerge([b, b], { match: 'none', budget: 1.05, gains: first })
  await expect(unequal).rejects.toThrow(/config\.json can only say/)
})

it('widens heads and channels of GPT-2, whose config.json says head_dim from then on', async () => {
  const gpt2 = { model_type: 'gpt2', vocab_size: 32, n_embd: 8, n_layer: 1, n_head: 2, n_positions: 8 }
  const c = (await createModel(gpt2, { seed: 1 })).checkpoint
  const { model, config, notes } = await pleasMerge([c, c], { match: 'none', ratio: 0.5 })
  expect(config).toMatchObject({ n_head: 3, head_dim: 4, n_inner: 48 })
  expect(notes.join()).toMatch(/Weft reads it/)
  const batch = batchFor('llama', 'test')
  expect(largestDifference(await logitsOf(model, batch), await checkpointLogits(c, batch))).toBeLessThan(1e-5)
})

it('a residual stream that a norm spans is widened only when asked, and then loads', async () => {
  const [a, b] = [await newModel('llama', 'a'), await newModel('llama', 'b')]
  expect((await pleasMerge([a, b], { ratio: 1 })).config.hidden_size).toBe(16)
  const { config, model } = await pleasMerge([a, b], { ratio: 1, residual: true, data: data('llama') })
  expect(config).toMatchObject({
    hidden_size: 32,
    head_dim: 4,
    num_attention_heads: 8,
    num_key_value_heads: 4,
  })
  const logits = await logitsOf(model, batchFor('llama', 'test'))
  expect(logits.every(Number.isFinite)).toBe(true)
})
