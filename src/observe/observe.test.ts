import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { opened } from '../../test/opened.js'
import { type Model, openModel } from '../models/index.js'
import { baseTensor } from '../models/stored.js'
import { Stream } from '../random/index.js'
import { compile, type Tensor, toNumbers, type Value, valueOf } from '../tensor/index.js'
import { type Batch, forward } from '../train/index.js'
import { absoluteInputs, accumulated, type Moments, observe, weightGradients, type Wanted } from './index.js'

const time = 5
const vocabulary = 90

let model: Model
beforeAll(async () => {
  model = await openModel(await opened(goldenFolder('llama')))
})

/** Rows of tokens, the last `padding` of which are padding. */
const batchOf = (rows: readonly number[], padding = 0): Batch => {
  const tokens = rows.flatMap((row) => {
    const stream = new Stream(`observe/${row}`)
    return Array.from({ length: time }, (_, t) => (t < time - padding ? stream.int(vocabulary) : 0))
  })
  const mask = tokens.map((_, i) => Number(i % time < time - padding))
  const labels = tokens.map((token, i) => (mask[i] ? token : -100))
  const shape = [rows.length, time]
  return {
    ids: valueOf(tokens, shape, 'int32'),
    attentionMask: valueOf(mask, shape, 'int32'),
    labels: valueOf(labels, shape, 'int32'),
  }
}

const observed = async (
  batches: readonly Batch[],
  wanted: Wanted,
  options: { readonly limit?: number } = {},
): Promise<Map<string, Readonly<Record<string, Float64Array>>>> => {
  const all = new Map<string, Readonly<Record<string, Float64Array>>>()
  for await (const { module, sums } of observe([model], batches, wanted, options)) all.set(module, sums)
  return all
}

const expectNear = (a: ArrayLike<number>, b: ArrayLike<number>): void => {
  expect(a).toHaveLength(b.length)
  const scale = Array.from(b).reduce((most, x) => Math.max(most, Math.abs(x)), 1e-3)
  Array.from(a).forEach((x, i) => expect(Math.abs(x - b[i])).toBeLessThan(1e-5 * scale))
}

const product: Moments = ({ x }) => {
  const rows = x.reshape([-1, x.shape[x.rank - 1]])
  return { xx: rows.t().matmul(rows) }
}

const divided = (rows: readonly number[], sizes: readonly number[]): Batch[] => {
  const batches: Batch[] = []
  for (let from = 0, i = 0; from < rows.length; from += sizes[i++ % sizes.length])
    batches.push(batchOf(rows.slice(from, from + sizes[i % sizes.length])))
  return batches
}

describe('moments of a module', () => {
  it('are sums over all rows, however these are divided into batches and passes', async () => {
    const rows = [1, 2, 3, 4, 5, 6]
    const wanted: Wanted = { down_proj: product, o_proj: absoluteInputs }
    const whole = await observed([batchOf(rows)], wanted)
    expect(whole.size).toBe(6)
    const divisions = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 3 })
    await fc.assert(
      fc.asyncProperty(divisions, fc.constantFrom(1, 6000, undefined), async (sizes, limit) => {
        const parts = await observed(divided(rows, sizes), wanted, { limit })
        expect([...parts.keys()].sort()).toEqual([...whole.keys()].sort())
        for (const [module, sums] of whole)
          for (const [name, sum] of Object.entries(sums)) expectNear(parts.get(module)![name], sum)
      }),
      { numRuns: 3 },
    )
  })

  it('are those of what the module is given: its input times its weight is its output', async () => {
    const batch = batchOf([1, 2])
    const wanted: Wanted = { up_proj: ({ x, y }) => ({ x: x.sum([0, 1]), y: y.sum([0, 1]) }) }
    for (const [module, { x, y }] of await observed([batch], wanted)) {
      const W = await baseTensor(model, `${module}.weight`)
      const expected = Float64Array.from(y, (_, o) =>
        x.reduce((sum, value, i) => sum + value * Number(W.data[o * x.length + i]), 0),
      )
      expectNear(y, expected)
    }
  })

  it('of the head are the logits', async () => {
    const batch = batchOf([7])
    const sums = await observed([batch], { lm_head: ({ y }) => ({ y: y.sum([0, 1]) }) })
    const program = await compile(
      (inputs: Record<string, Tensor>) => forward(model, {}, inputs).logits.sum([0, 1]),
      { ...batch } as Record<string, Value>,
    )
    expectNear(sums.get('lm_head')!.y, toNumbers(await program.run({ ...batch })))
  })

  it('count no row of padding', async () => {
    const padded = (await observed([batchOf([1, 2], 2)], { q_proj: absoluteInputs })).values()
    for (const { rows, sum } of padded) {
      expect([...rows]).toEqual([2 * (time - 2)])
      expect(sum.every((x) => x > 0)).toBe(true)
    }
  })

  it('hold at most the numbers asked for: each pass goes through the batches once', async () => {
    const passes = async (limit?: number): Promise<number> => {
      let begun = 0
      const batches = async function* (): AsyncGenerator<Batch> {
        begun++
        yield batchOf([1])
      }
      for await (const _ of observe([model], batches, { down_proj: product }, { limit }));
      return begun - 1 // The shapes are read from the first batch.
    }
    expect(await passes()).toBe(1)
    expect(await passes(2 * 72 ** 2)).toBe(2)
    expect(await passes(72 ** 2)).toBe(3)
  })
})

describe('what cannot be observed', () => {
  it('a name that no module has is an error with the nearest', async () => {
    await expect(observed([batchOf([1])], { donw_proj: product })).rejects.toMatchObject({
      code: 'NoSuchModule',
      hint: expect.stringContaining('down_proj'),
    })
  })

  it('moments with a size of their own in each batch are an error', async () => {
    const batches = [batchOf([1]), batchOf([2, 3])]
    const everything: Wanted = { down_proj: ({ x }) => ({ x }) }
    await expect(observed(batches, everything)).rejects.toMatchObject({ code: 'MomentShape' })
  })

  it('an abort ends between two batches', async () => {
    const abort = new AbortController()
    const batches = async function* (): AsyncGenerator<Batch> {
      yield batchOf([1])
      abort.abort()
      yield batchOf([2])
    }
    const { signal } = abort
    const sums = accumulated(batches, ({ ids }) => ({ ids: ids.sum().reshape([1]) }), { signal })
    await expect(sums).rejects.toThrow(/abort/)
  })
})

describe('gradients at weights', () => {
  it('are the same means in one pass and in several, and of what is made of them', async () => {
    const names = ['model.layers.0.mlp.up_proj.weight', 'model.layers.1.self_attn.o_proj.weight']
    const tensors: Record<string, Value> = {}
    for (const name of names) tensors[name] = await baseTensor(model, name)
    const batches = [batchOf([1]), batchOf([2])]
    const means = async (some: readonly Batch[], options = {}): Promise<Map<string, Float64Array>> => {
      const all = new Map<string, Float64Array>()
      for await (const [name, mean] of weightGradients(model, tensors, some, options)) all.set(name, mean)
      return all
    }
    const whole = await means(batches)
    const passes = await means(batches, { limit: 1 })
    const squares = await means(batches, { of: (g: Tensor) => g.square() })
    const each = await Promise.all(batches.map((batch) => means([batch])))
    for (const name of names) {
      expectNear(passes.get(name)!, whole.get(name)!)
      const [first, second] = each.map((one) => one.get(name)!)
      expectNear(
        whole.get(name)!,
        first.map((g, i) => (g + second[i]) / 2),
      )
      expectNear(
        squares.get(name)!,
        first.map((g, i) => (g ** 2 + second[i] ** 2) / 2),
      )
    }
  })
})
