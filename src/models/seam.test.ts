import { afterAll, describe, expect, test } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { distance, numbersOf } from '../../test/golden-case.js'
import { type Checkpoint, open } from '../checkpoint/index.js'
import { compile, type Tensor, tensor, type Value } from '../tensor/index.js'
import {
  answering,
  gpt2,
  llama,
  type Model,
  openModel,
  plainWeights,
  positionsFrom,
  type Weights,
} from './index.js'

const weightsOf = (tensors: Record<string, Tensor>, reports?: Map<string, Tensor>): Weights =>
  plainWeights(
    (name) => tensors[name],
    () => Object.keys(tensors),
    { reports, layouts: (module) => (module.endsWith('conv1d') ? 'in-out' : 'out-in') },
  )

const numbers = async (t: Tensor): Promise<number[]> => {
  const program = await compile(() => ({ t }), {}, { device: 'reference' })
  return [...(await numbersOf((await program.run({})).t))]
}

const base = weightsOf({
  'a.b.weight': tensor([1, 2, 3, 4], [2, 2]),
  'a.b.bias': tensor([10, 20]),
  'conv.weight': tensor([1, 2], [1, 2, 1, 1]),
  'conv1d.weight': tensor([1, 2, 3, 4], [2, 2]),
})
const x = tensor([1, 1], [1, 2])
const pixels = tensor([1, 1], [1, 2, 1, 1])

describe('the seam', () => {
  test('a linear module is x Wᵀ + b, or x W where its weight is stored [in, out]', async () => {
    expect(await numbers(base.linear('a.b', x))).toEqual([13, 27])
    expect(await numbers(base.linear('conv1d', x))).toEqual([4, 6])
  })

  test('an answer that changes tensors alone changes linear, embedding and conv', async () => {
    const doubled = answering(base, { tensor: (name) => base.tensor(name).mul(2) })
    expect(await numbers(doubled.linear('a.b', x))).toEqual([26, 54])
    expect(await numbers(doubled.embedding('a.b', tensor([1], [1], 'int32')))).toEqual([6, 8])
    expect(await numbers(doubled.conv('conv', pixels, {}))).toEqual([6])
  })

  test('an answer keeps the layouts it is given', async () => {
    const doubled = answering(base, { tensor: (name) => base.tensor(name).mul(2) }, () => 'in-out')
    expect(await numbers(doubled.linear('conv1d', x))).toEqual([8, 12])
  })

  test('answers stand on one another, the last one outermost', async () => {
    const doubled = answering(base, { tensor: (name) => base.tensor(name).mul(2) })
    const shifted = answering(doubled, { linear: (name, x) => doubled.linear(name, x).add(1) })
    const tripled = answering(shifted, { tensor: (name) => shifted.tensor(name).mul(3) })
    expect(await numbers(shifted.linear('a.b', x))).toEqual([27, 55])
    // Who answers for tensors decides what is made of them.
    expect(await numbers(tripled.linear('a.b', x))).toEqual([78, 162])
  })

  test('names seen from inside a module are full names to whoever answers', async () => {
    const asked: string[] = []
    const listening = answering(base, {
      linear: (name, x) => (asked.push(name), base.linear(name, x)),
      module: (name, x, at, body) => (asked.push(name), body(x, at)),
    })
    const at = positionsFrom(1, { causal: true })
    listening.in('a').in('b').linear('', x)
    listening.in('a').linear('b', x)
    listening.in('a').module('norm', x, at, (x) => x)
    expect(asked).toEqual(['a.b', 'a.b', 'a.norm'])
  })

  test('reports come out under full names', () => {
    const reports = new Map<string, Tensor>()
    weightsOf({}, reports).in('layer').report('load', x)
    expect([...reports.keys()]).toEqual(['layer.load'])
  })

  test('a name that no tensor has is an error with the nearest ones', () => {
    expect(() => base.in('a').tensor('b.wait')).toThrow(/'a\.b\.wait'[\s\S]*Nearest: a\.b\.weight/)
  })
})

const opened: Checkpoint[] = []
const modelOf = async (name: string): Promise<Model> => {
  const checkpoint = await open(goldenFolder(name))
  opened.push(checkpoint)
  return openModel(checkpoint)
}
const goldenOf = async (name: string): Promise<(tensor: string) => Promise<Value>> => {
  const golden = await open(goldenFolder(name, 'golden.safetensors'))
  opened.push(golden)
  return async (tensor) => golden.read(tensor, tensor.startsWith('hidden') ? undefined : 'int32')
}
afterAll(() => Promise.all(opened.map((c) => c.close())))

test.each([
  ['llama', 'model.embed_tokens'],
  ['gemma2', 'model.embed_tokens'],
  ['gpt2', 'transformer.wte'],
])('%s takes embeddings in place of ids', async (name, table) => {
  const model = await modelOf(name)
  const ids = await (await goldenOf(name))('input_ids')
  const program = await compile(
    ({ ids }) => {
      const w = model.weights({}, {})
      const run = (inputs: object): Tensor => model.architecture.forward(w, inputs, model.config).logits
      return { given: run({ embeddings: w.embedding(table, ids) }), asked: run({ ids }) }
    },
    { ids },
  )
  const { given, asked } = await program.run({ ids })
  expect(distance(await numbersOf(given), await numbersOf(asked))).toBe(0)
})

test.each([
  ['llama', 'model.layers', llama.block],
  ['gemma2', 'model.layers', llama.block],
  ['mixtral', 'model.layers', llama.block],
  ['gpt2', 'transformer.h', gpt2.block],
])("%s's block stands by itself: it takes each hidden state to the next", async (name, path, block) => {
  const model = await modelOf(name)
  const golden = await goldenOf(name)
  const [mask, before, after] = await Promise.all(['attention_mask', 'hidden.1', 'hidden.2'].map(golden))
  const program = await compile(
    ({ mask, before }) => {
      const at = positionsFrom(before.shape[1], { causal: true, mask })
      const c = model.config as { layers: readonly unknown[] }
      return { y: block(model.weights({}, {}).in(`${path}.1`), before, c as never, c.layers[1] as never, at) }
    },
    { mask, before },
  )
  const { y } = await program.run({ mask, before })
  expect(distance(await numbersOf(y), await numbersOf(after))).toBeLessThan(5e-5)
})

test('a method may run a block on some of the tokens: they keep their positions', async () => {
  const model = await modelOf('llama')
  const golden = await goldenOf('llama')
  const [before, after] = await Promise.all(['hidden.0', 'hidden.1'].map(golden))
  const kept = [0, 1, 2, 3, 4]
  const program = await compile(
    ({ x }) => {
      const rows = tensor(kept, [kept.length], 'int32')
      const at = positionsFrom(x.shape[1], { causal: true })
      const some = { ...at, ids: at.ids.gather(rows, 1), keys: at.keys.gather(rows, 1) }
      const c = model.config as llama.LlamaConfig
      return {
        y: llama.block(model.weights({}, {}).in('model.layers.0'), x.gather(rows, 1), c, c.layers[0], some),
      }
    },
    { x: before },
  )
  const { y } = await program.run({ x: before })
  const [batch, time, width] = after.shape
  const expected = Float64Array.from(
    Array.from({ length: batch }, (_, b) => [
      ...after.data.slice(b * time * width, (b * time + kept.length) * width),
    ]).flat() as number[],
  )
  expect(distance(await numbersOf(y), expected)).toBeLessThan(2e-5)
})

test("an expert mixture reports each expert's share of the tokens", async () => {
  const model = await modelOf('mixtral')
  const ids = await (await goldenOf('mixtral'))('input_ids')
  const program = await compile(
    ({ ids }) => {
      const reports = new Map<string, Tensor>()
      model.architecture.forward(model.weights({}, { reports }), { ids }, model.config)
      return Object.fromEntries(reports)
    },
    { ids },
  )
  const reports = await program.run({ ids })
  const { experts, layers } = model.config as llama.LlamaConfig
  for (const i of layers.keys()) {
    const loads = [...(await numbersOf(reports[`model.layers.${i}.block_sparse_moe.router`]))]
    expect(loads).toHaveLength(experts!.count)
    expect(loads.reduce((a, b) => a + b)).toBeCloseTo(experts!.perToken, 5)
  }
})
