/** @file Exact properties of Fusion-X: the gate, its mask, its balance, and where its gradient goes. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, writeTinyLlama } from '../../../test/tiny.js'
import { open } from '../../checkpoint/index.js'
import { createModel, type Model, type Parameters } from '../../models/index.js'
import type { Example, Tokenizer } from '../../text/index.js'
import { compile, constant, grad, type Tensor, type Value, valueOf } from '../../tensor/index.js'
import { causalLoss, forward, modelLoss } from '../../train/index.js'
import {
  fusedCrossEntropy,
  fusedEntropy,
  fusionLoss,
  taughtBatch,
  type TaughtExample,
  type Teaching,
  teachings,
  translatedTeachings,
  uniformly,
} from '../../distil/index.js'
import { fusionX } from './fusion-x.js'
import { gate, gateParameters, imbalance, kept } from './gate.js'
import { surprise, trainFusionX } from './train.js'

const numbers = async (v: Value): Promise<number[]> => Array.from(await v.read(), Number)

/** `f` of a matrix, computed. */
const computed = async (
  f: (x: Tensor) => Tensor,
  rows: readonly (readonly number[])[],
): Promise<number[]> => {
  const x = valueOf(rows.flat(), [rows.length, rows[0].length], 'float32')
  return numbers(await (await compile(f, x)).run(x))
}

const close = (got: readonly number[], wanted: readonly number[], digits = 5): void => {
  expect(got.length).toBe(wanted.length)
  wanted.forEach((w, i) => expect(got[i]).toBeCloseTo(w, digits))
}

describe('the mask', () => {
  const g = [[0.5, 0.3, 0.2]]
  it('at 0 hears all, at 1 the greatest, between them those above it', async () => {
    close(await computed((x) => kept(x, 0), g), g[0])
    close(await computed((x) => kept(x, 1), g), [1, 0, 0])
    close(await computed((x) => kept(x, 0.25), g), [0.625, 0.375, 0])
  })

  it('of equal g hears all above the threshold, or else the first', async () => {
    const even = [[1 / 3, 1 / 3, 1 / 3]]
    close(await computed((x) => kept(x, 0.2), even), even[0])
    close(await computed((x) => kept(x, 0.4), even), [1, 0, 0])
  })
})

describe('the feedback loss', () => {
  it('is 0 where all say the same, K where one says all, and does not depend on the number of rows', async () => {
    const twice = (rows: number[][]): number[][] => [...rows, ...rows]
    const uneven = [
      [0.7, 0.2, 0.1],
      [0.1, 0.1, 0.8],
    ]
    close(
      await computed(imbalance, [
        [0.2, 0.8],
        [0.8, 0.2],
      ]),
      [0],
    )
    close(
      await computed(imbalance, [
        [0, 1, 0],
        [0, 1, 0],
      ]),
      [3],
    )
    close(await computed(imbalance, [[1]]), [0])
    close(await computed(imbalance, twice(uneven)), await computed(imbalance, uneven))
  })
})

describe('the gate', () => {
  it('has 5 K² + 4 K numbers, and weights that sum to 1', async () => {
    for (const k of [1, 3, 5]) {
      const parameters = gateParameters(k, 0)
      const count = Object.values(parameters).reduce((n, v) => n + v.data.length, 0)
      expect(count).toBe(5 * k * k + 4 * k)
      const scores = valueOf(
        Float32Array.from({ length: 4 * k }, (_, i) => (i % 5) / 5),
        [4, k],
        'float32',
      )
      const f = ({ parameters, scores }: { parameters: Parameters<Tensor>; scores: Tensor }): Tensor =>
        gate(parameters, scores).sum(1)
      close(
        await numbers(await (await compile(f, { parameters, scores })).run({ parameters, scores })),
        [1, 1, 1, 1],
      )
    }
  })
})

const gpt2 = (width: number): Parameters<typeof createModel>[0] & Record<string, never> =>
  ({
    ...{ model_type: 'gpt2', vocab_size: 12, n_embd: width, n_layer: 1, n_head: 2, n_positions: 8 },
    ...{ embd_pdrop: 0, attn_pdrop: 0, resid_pdrop: 0, initializer_range: 0.3 },
  }) as never

const rows = [
  [1, 2, 3, 4, 5],
  [5, 4, 3, 2],
  [7, 8, 9, 10, 11],
].map((ids) => ({ ids, labels: ids }))

let target: Model
let taught: TaughtExample[]
let said: Awaited<ReturnType<typeof teachings>>[]
beforeAll(async () => {
  target = await createModel(gpt2(8), { seed: 9 })
  const sources = await Promise.all([1, 2, 3].map((seed) => createModel(gpt2(16), { seed })))
  said = await Promise.all(sources.map((source) => teachings(source, rows, { top: 12 })))
  taught = rows.map((row, r) => ({ ...row, sources: said.map((one) => one[r]) }))
})

type Inputs = { parameters: Parameters<Tensor>; batch: Record<string, Tensor> }
const run = async <T>(f: (inputs: Inputs) => T, batch: object, parameters: object = target.parameters) => {
  const inputs = { parameters, batch } as never
  return (await compile(f as never, inputs)).run(inputs) as never
}

describe('the fused target', () => {
  it('of the means of distributions is the mean of the cross-entropies to each', async () => {
    const batch = taughtBatch(taught, 5)
    const fused = async (of: typeof taught): Promise<number> => {
      const b = taughtBatch(of, 5)
      const f = ({ parameters, batch }: Inputs): Tensor =>
        fusedCrossEntropy(forward(target, parameters, batch).logits, batch, uniformly(batch, {}))
      return (await numbers(await run(f, b)))[0]
    }
    expect(batch.teacherGold.shape).toEqual([3, 4, 3])
    const alone = await Promise.all(
      said.map((one) => fused(rows.map((row, r) => ({ ...row, sources: [one[r]] })))),
    )
    expect(await fused(taught)).toBeCloseTo(alone.reduce((a, b) => a + b) / 3, 5)
  })

  it('as a divergence is 0 for what the student says itself, with the gradient of the cross-entropy', async () => {
    const own = await teachings(target, rows, { top: 12 })
    const itself = taughtBatch(
      rows.map((row, r) => ({ ...row, sources: [own[r], own[r]] })),
      5,
    )
    const loss = (divergence: 'cross-entropy' | 'kl') => fusionLoss(target, 0, uniformly, divergence)
    const f = ({ parameters, batch }: Inputs): Tensor => loss('kl')(parameters, batch, {}).loss
    expect((await numbers(await run(f, itself)))[0]).toBeCloseTo(0, 5)
    const gradient = (divergence: 'cross-entropy' | 'kl') =>
      async function () {
        const g = ({ parameters, batch }: Inputs): Tensor =>
          grad((p: Record<string, Tensor>) => loss(divergence)(p, batch, {}).loss)({ ...parameters })[
            'transformer.wte.weight'
          ]
        return numbers(await run(g, taughtBatch(taught, 5)))
      }
    close(await gradient('kl')(), await gradient('cross-entropy')())
  })

  it('has the entropy of the mean of distributions, entries of one token together', async () => {
    const point = (ids: number[], p: number[]): Teaching => ({
      ids: Int32Array.from(ids),
      probabilities: Float32Array.from(p),
      gold: Float32Array.of(0.5),
      spoken: Uint8Array.of(1),
      loss: 1,
    })
    const sources = [point([3, 4], [0.5, 0.5]), point([4, 5], [0.5, 0.5])]
    const batch = taughtBatch([{ ids: [1, 2], labels: [1, 2], sources }], 2)
    const f = ({ batch }: Inputs): Tensor => fusedEntropy(batch, uniformly(batch, {}))
    const wanted = -(0.25 * Math.log(0.25) * 2 + 0.5 * Math.log(0.5))
    expect((await numbers(await run(f, batch)))[0]).toBeCloseTo(wanted, 5)
  })

  it('with labels alone is the ordinary loss, bit for bit', async () => {
    const batch = taughtBatch(taught, 5)
    const f = ({ parameters, batch }: Inputs) => ({
      own: fusionLoss(target, 1, uniformly)(parameters, batch, {}).loss,
      plain: modelLoss(target, causalLoss)(parameters, batch, {}).loss,
    })
    const { own, plain } = (await run(f, batch)) as { own: Value; plain: Value }
    expect(await numbers(own)).toEqual(await numbers(plain))
  })
})

describe('a source with another tokenizer', () => {
  const words = (tokens: readonly string[]): Tokenizer =>
    ({
      vocabularySize: tokens.length,
      token: (id: number) => tokens[id],
      decode: (ids: readonly number[]) => ids.map((id) => tokens[id]).join(' '),
      // Numbers are ours, whatever a token is called.
      encode: (text: string) => text.split(' ').map((word) => ours.indexOf(word)),
    }) as unknown as Tokenizer
  const ours = ['the', 'cat', 'sat', 'on', 'in', 'at', 'to', 'it', 'up', 'by', 'we', 'go']
  const speak = async (theirs: readonly string[], row: Example, more: object = {}): Promise<Teaching> => {
    const model = await createModel(gpt2(8), { seed: 1 })
    return (await translatedTeachings(model, words(theirs), words(ours), [row], { top: 3, ...more }))[0]
  }

  it('says nothing where its token is another text: the label stands, and counts in no loss', async () => {
    const said = await speak(ours.with(1, 'dog'), { ids: [0, 1, 2], labels: [0, 1, 2] })
    expect([said.ids[0], said.probabilities[0], said.gold[0], said.spoken[0]]).toEqual([1, 1, 1, 0])
    expect(said.spoken[1]).toBe(1)
    expect(said.loss).toBeCloseTo(-Math.log(said.gold[1]), 5)
  })

  it("has source 0's distribution where exact spelling leaves nothing of its own", async () => {
    // Of the row it spells only the second token as ours, and thinks another the likeliest to come.
    const theirs = ours.map((word, id) => (id === 1 ? word : `${word}${word}`))
    const row = { ids: [0, 1], labels: [0, 1] }
    const first: Teaching = {
      ids: Int32Array.of(4, 1),
      probabilities: Float32Array.of(0.75, 0.25),
      gold: Float32Array.of(0.25),
      spoken: Uint8Array.of(1),
      loss: Math.log(4),
    }
    const nearest = await speak(theirs, row, { top: 1 })
    expect(nearest.spoken[0]).toBe(1)
    const said = await speak(theirs, row, { exact: true, first: [first], top: 1 })
    expect([said.ids[0], said.probabilities[0], said.gold[0], said.spoken[0]]).toEqual([4, 1, 0, 0])
    const withoutFirst = await speak(theirs, row, { exact: true, top: 1 })
    expect([withoutFirst.ids[0], withoutFirst.gold[0], withoutFirst.spoken[0]]).toEqual([1, 1, 0])
  })

  it('is no certainty to the gate where something stands in its place', async () => {
    // Source 0 is unsure and says so; sources 1 and 2 say nothing, so that the label stands for them.
    const silent = taught.map(({ sources, ...row }) => ({
      ...row,
      sources: sources.map((s, k) =>
        k === 0
          ? { ...s, gold: s.gold.map(() => 0.4) }
          : { ...s, gold: s.gold.map(() => 1), spoken: s.spoken.map(() => 0) },
      ),
    }))
    const batch = taughtBatch(silent, 5)
    const of = (weights: number[]) => async (): Promise<number> => {
      const f = ({ batch }: Inputs): Tensor =>
        surprise(batch, constant(valueOf(weights, [1, 3], 'float32')).expand([3, 3]))
      return (await numbers(await run(f, batch)))[0]
    }
    expect(await of([0.2, 0.4, 0.4])()).toBeCloseTo(-Math.log(0.4), 5)
    expect(await of([0.9, 0.1, 0])()).toBeCloseTo(-Math.log(0.4), 5)
    // Where nobody has spoken nothing counts.
    expect(await of([0, 0.5, 0.5])()).toBeCloseTo(-Math.log(1e-9), 3)
  })
})

describe('the gradient of the gate', () => {
  const norm = async (weights: (g: Tensor) => Tensor, of: readonly TaughtExample[]): Promise<number> => {
    const parameters = gateParameters(3, 1)
    const loss = (p: Parameters<Tensor>, batch: Record<string, Tensor>): Tensor => {
      const w = weights(gate(p, batch.teacherLosses.neg().exp()))
      return batch.teacherGold.mul(w.unsqueeze(1)).sum(2).maximum(1e-9).log().mean()
    }
    const f = ({ parameters, batch }: Inputs): Tensor =>
      Object.values(grad((p: Record<string, Tensor>) => loss(p, batch))({ ...parameters }))
        .map((g) => g.square().sum())
        .reduce((a, b) => a.add(b))
    return Math.sqrt((await numbers(await run(f, taughtBatch(of, 5), parameters)))[0])
  }

  it('is 0 where each row hears one source, and is not through all g', async () => {
    expect(await norm((g) => kept(g, 1), taught)).toBeLessThan(1e-6)
    expect(await norm((g) => g, taught)).toBeGreaterThan(1e-4)
  })

  it('is 0 where all sources say the same', async () => {
    const same = taught.map(({ sources, ...row }) => ({
      ...row,
      sources: [sources[0], sources[0], sources[0]],
    }))
    expect(await norm((g) => g, same)).toBeLessThan(1e-6)
  })
})

describe('training', () => {
  it('moves the target, and finds the source that knows the rows', async () => {
    // Source 1 is sure of what comes; the others are not.
    const sure = taught.map(({ sources, ...row }) => ({
      ...row,
      sources: sources.map((s, k) => (k === 1 ? { ...s, gold: s.gold.map(() => 0.9), loss: 0.1 } : s)),
    }))
    const settings = { steps: 60, batch: 3, learningRate: 1e-3, gateRate: 2e-2, balance: 0 }
    const { model, selection } = await trainFusionX(target, sure, settings)
    expect(selection.hit).toBe(1)
    expect(selection.usage[1]).toBeGreaterThan(0.9)
    expect(Object.keys(model.parameters)).toEqual(Object.keys(target.parameters))
    const name = 'transformer.wte.weight'
    expect(await model.parameters[name].read()).not.toEqual(await target.parameters[name].read())
  })

  it.each(['paper', 'gold-masked'] as const)(
    'with the gate taught by %s runs, balanced by the feedback loss',
    async (gateLoss) => {
      const settings = { steps: 30, batch: 3, learningRate: 1e-3, gateLoss, balance: 5, standardise: true }
      const { selection } = await trainFusionX(target, taught, settings)
      expect(selection.entropy).toBeGreaterThan(Math.log(3) - 0.1)
    },
  )
})

describe('weft merge --method fusion-x', () => {
  let scratch: Awaited<ReturnType<typeof scratchFolder>>
  beforeAll(async () => {
    scratch = await scratchFolder()
    await writeTinyLlama(`${scratch.path}/target`, { hidden_size: 16 })
    await writeTinyLlama(`${scratch.path}/source`)
  })
  afterAll(() => scratch.remove())

  it('writes the target, with who was heard in the report', async () => {
    await using a = await open(`${scratch.path}/target`)
    await using b = await open(`${scratch.path}/source`)
    const data = [{ text: 'The cat sleeps today.' }, { prompt: 'The dog', completion: ' runs.' }]
    const result = await fusionX([a, b], { data, evaluation: data, steps: 2, batch: 2, learningRate: 1e-3 })
    const sources = result.report.sources as { source: string; usage: number }[]
    expect(sources.map(({ source }) => source)).toEqual([a.folder, b.folder])
    expect(sources[0].usage + sources[1].usage).toBeCloseTo(1, 4)
    await result.save(`${scratch.path}/out`)
    await using out = await open(`${scratch.path}/out`)
    expect(out.names()).toEqual(a.names())
    await expect(fusionX([a, b], { data, threshold: 2 })).rejects.toThrow(/threshold/)
    await expect(fusionX([a], { data })).rejects.toThrow(/at least 2/)
  })
})
