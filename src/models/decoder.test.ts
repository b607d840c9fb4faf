import { afterAll, describe, expect, test } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { distance, numbersOf } from '../../test/golden-case.js'
import { type Checkpoint, open } from '../checkpoint/index.js'
import { UsageError } from '../errors.js'
import { compile, concat, full, type Tensor, type Value, valueOf } from '../tensor/index.js'
import { answering, decoder, type llama, type Model, openModel, type t5 } from './index.js'

const opened: Checkpoint[] = []
const modelOf = async (name: string, trainable = false): Promise<Model> => {
  const checkpoint = await open(goldenFolder(name))
  opened.push(checkpoint)
  return openModel(checkpoint, { trainable })
}
afterAll(() => Promise.all(opened.map((c) => c.close())))

/** Logits of every position of one sequence, without a cache: [time, vocabulary]. */
const uncached = async (model: Model, ids: readonly number[]): Promise<Float64Array[]> => {
  const program = await compile(
    (given) => model.architecture.forward(model.weights(given.parameters, {}), given, model.config).logits,
    { ids: valueOf(ids, [1, ids.length], 'int32'), parameters: model.parameters },
  )
  const logits = await program.run({
    ids: valueOf(ids, [1, ids.length], 'int32'),
    parameters: model.parameters,
  })
  const numbers = await numbersOf(logits)
  const width = numbers.length / ids.length
  return ids.map((_, i) => numbers.slice(i * width, (i + 1) * width))
}

const sequence = (length: number, step: number): number[] =>
  Array.from({ length }, (_, i) => 4 + ((i * i * step + 7 * i + step) % 90))

const families = [
  'llama',
  'llama3-rope',
  'mistral',
  'gemma2',
  'gemma3',
  'mixtral',
  'phi3',
  'gpt2',
  'gpt-neox',
]
describe.each(families)('%s', (name) => {
  test('cached logits equal uncached ones: two rows of unlike lengths, prompts in pieces, past a bucket', async () => {
    const model = await modelOf(name)
    const rows = [sequence(40, 3), sequence(33, 5)]
    const expected = await Promise.all(rows.map((ids) => uncached(model, ids)))
    const cached = decoder(model, { batch: 2, capacity: 64, chunk: 16 })
    const prompts = [rows[0].slice(0, 30), rows[1].slice(0, 9)]
    let logits = await cached.prefill(prompts)
    const at = prompts.map((p) => p.length)
    const compare = async (): Promise<void> => {
      const numbers = await numbersOf(logits)
      const width = numbers.length / 2
      for (const row of [0, 1])
        expect(
          distance(numbers.slice(row * width, (row + 1) * width), expected[row][at[row] - 1]),
          `row ${row} after ${at[row]}`,
        ).toBeLessThan(2e-5)
    }
    await compare()
    for (let i = 0; i < 8; i++) {
      logits = await cached.step(rows.map((ids, row) => ids[at[row]++]))
      await compare()
    }
    logits = await cached.extend(rows.map((ids, row) => ids.slice(at[row])))
    rows.forEach((ids, row) => (at[row] = ids.length))
    await compare()
  })
})

test('one program makes every step, however long the sequence is', async () => {
  const base = await modelOf('mistral')
  let traces = 0
  const counted: Model = {
    ...base,
    weights: (...given) => {
      traces++
      return base.weights(...given)
    },
  }
  const cached = decoder(counted, { capacity: 300 })
  await cached.prefill([sequence(60, 3)])
  await cached.step([4])
  const before = traces
  for (let i = 0; i < 220; i++) await cached.step([i % 90])
  expect(traces).toBe(before)
})

test('cached keys pass from a bucket to the next', async () => {
  const model = await modelOf('mistral')
  const ids = sequence(64, 11)
  const expected = await uncached(model, ids)
  const cached = decoder(model, { capacity: 64, chunk: 8 })
  let logits = await cached.prefill([ids.slice(0, 3)])
  for (let at = 3; ; at++) {
    expect(distance(await numbersOf(logits), expected[at - 1]), `after ${at}`).toBeLessThan(2e-5)
    if (at === ids.length) break
    logits = await cached.step([ids[at]])
  }
})

test('the sum of exp(logits) comes with them, each row its own', async () => {
  const cached = decoder(await modelOf('gemma2'), { batch: 2, capacity: 32, chunk: 8 })
  const compare = async (logits: Value): Promise<void> => {
    const numbers = await numbersOf(logits)
    const width = numbers.length / 2
    for (const row of [0, 1]) {
      const sum = numbers.slice(row * width, (row + 1) * width).reduce((total, x) => total + Math.exp(x), 0)
      expect(Math.abs(cached.logSumExp[row] - Math.log(sum))).toBeLessThan(1e-5)
    }
  }
  // The first row ends a piece before the second.
  await compare(await cached.prefill([sequence(5, 3), sequence(12, 5)]))
  await compare(await cached.step([7, 8]))
})

test('parameters that train are those of the model, as they are now', async () => {
  const model = await modelOf('llama', true)
  const ids = sequence(12, 3)
  const moved = model.with(
    Object.fromEntries(
      Object.entries(model.parameters).map(([name, p]) => [
        name,
        valueOf(
          (p.data as Float32Array).map((x) => x * 1.1),
          p.shape,
        ),
      ]),
    ),
  )
  const expected = await uncached(moved, ids)
  const logits = await decoder(moved, { capacity: 16 }).prefill([ids])
  expect(distance(await numbersOf(logits), expected[11])).toBeLessThan(2e-5)
})

/** A method that changes a linear module, and lets every token see one more key of its own. */
const withMethod = (base: Model): Model => ({
  ...base,
  weights(parameters, trace) {
    const w = base.weights(parameters, trace)
    return answering(w, {
      linear: (name, x) =>
        name.endsWith('v_proj') ? w.linear(name, x).mul(1.5).add(0.1) : w.linear(name, x),
      attend(name, { k, v, at, ...parts }, core) {
        const [batch, heads, , size] = k.shape
        const extra = full([batch, heads, 1, size], 0.3)
        const one = full([at.keys.shape[0], 1], 0, 'int32')
        const seen = {
          ...at,
          keys: concat([one, at.keys], 1),
          valid: at.valid && concat([full([at.valid.shape[0], 1], true, 'bool'), at.valid], 1),
        }
        return w.attend(
          name,
          { ...parts, k: concat([extra, k], 2), v: concat([extra, v], 2), at: seen },
          core,
        )
      },
    })
  },
})

test('a method that answers for modules and for attention generates with the cache as without', async () => {
  const base = await modelOf('llama')
  const model = withMethod(base)
  const ids = sequence(20, 3)
  const expected = await uncached(model, ids)
  expect(distance(expected[19], (await uncached(base, ids))[19])).toBeGreaterThan(1e-2)
  const cached = decoder(model, { capacity: 32 })
  expect(distance(await numbersOf(await cached.prefill([ids.slice(0, 15)])), expected[14])).toBeLessThan(2e-5)
  for (let at = 15; at < ids.length; at++)
    expect(distance(await numbersOf(await cached.step([ids[at]])), expected[at])).toBeLessThan(2e-5)
})

test('once prepared, nothing is traced again: any prompt and any step up to the capacity', async () => {
  const opened = await modelOf('llama')
  let traces = 0
  const model: Model = {
    ...opened,
    config: { ...(opened.config as llama.LlamaConfig), positions: 128 },
    weights: (...given) => (traces++, opened.weights(...given)),
  }
  await decoder(model, { capacity: 128, chunk: 16 }).prepare()
  const before = traces
  expect(before).toBeGreaterThan(0)
  // Another decoder, of a like capacity.
  const cached = decoder(model, { capacity: 120, chunk: 16 })
  for (const length of [1, 2, 15, 16, 17, 31, 63, 64, 65, 100]) {
    await cached.prefill([sequence(length, 3)])
    await cached.step([5])
  }
  expect(traces).toBe(before)
})

/** Logits of every token of a decoder behind an encoder, without a cache: [time, vocabulary]. */
const decoded = async (
  model: Model,
  ids: readonly number[],
  decoderIds: readonly number[],
): Promise<Float64Array[]> => {
  const row = (ids: readonly number[]): Value => valueOf(ids, [1, ids.length], 'int32')
  const inputs = { ids: row(ids), decoderIds: row(decoderIds) }
  const program = await compile(
    (inputs) => model.architecture.forward(model.weights({}, {}), inputs, model.config).logits,
    inputs,
  )
  const numbers = await numbersOf(await program.run(inputs))
  const width = numbers.length / decoderIds.length
  return decoderIds.map((_, i) => numbers.slice(i * width, (i + 1) * width))
}

test('behind an encoder, cached logits equal uncached ones: texts of unlike lengths, and others after them', async () => {
  const model = await modelOf('t5')
  const { start } = model.config as t5.T5Config
  const target = sequence(6, 9)
  const cached = decoder(model, { batch: 2, capacity: 8 })
  for (const texts of [
    [sequence(20, 3), sequence(7, 5)],
    [sequence(3, 7), sequence(40, 2)],
  ]) {
    const expected = await Promise.all(texts.map((ids) => decoded(model, ids, [start, ...target])))
    let logits = await cached.prefill(texts)
    for (let at = 0; at <= target.length; at++) {
      const numbers = await numbersOf(logits)
      const width = numbers.length / 2
      for (const row of [0, 1])
        expect(
          distance(numbers.slice(row * width, (row + 1) * width), expected[row][at]),
          `row ${row} after ${at}`,
        ).toBeLessThan(5e-5)
      if (at < target.length) logits = await cached.step([target[at], target[at]])
    }
  }
})

/** The experts that each layer chooses for the tokens of one text. */
const chosenExperts = async (model: Model, ids: readonly number[]): Promise<Set<number>[]> => {
  const inputs = { ids: valueOf(ids, [1, ids.length], 'int32'), parameters: model.parameters }
  const program = await compile(({ ids, parameters }) => {
    const reports = new Map<string, Tensor>()
    model.architecture.forward(model.weights(parameters, { reports }), { ids }, model.config)
    return Object.fromEntries([...reports].filter(([name]) => name.endsWith('.router')))
  }, inputs)
  const shares = Object.values(await program.run(inputs))
  return Promise.all(
    shares.map(async (v) => new Set([...(await numbersOf(v))].flatMap((share, i) => (share > 0 ? [i] : [])))),
  )
}

test('a mixture runs only the experts that were chosen: others may hold anything', async () => {
  const opened = await modelOf('mixtral', true)
  const { experts, layers } = opened.config as llama.LlamaConfig
  const clean = await decoder(opened, { capacity: 16 }).prefill([[5]])
  const chosen = await chosenExperts(opened, [5])
  const spoilt = opened.with(
    Object.fromEntries(
      Object.entries(opened.parameters).map(([name, v]) => {
        const [, layer, expert] = /layers\.(\d+)\..*experts\.(\d+)\./.exec(name) ?? []
        const idle = expert !== undefined && !chosen[Number(layer)].has(Number(expert))
        return [
          name,
          idle
            ? valueOf(
                (v.data as Float32Array).map(() => NaN),
                v.shape,
              )
            : v,
        ]
      }),
    ),
  )
  expect(chosen.map(({ size }) => size)).toEqual(layers.map(() => experts!.perToken))
  // NaN times a weight of 0 would be NaN.
  const logits = await decoder(spoilt, { capacity: 16 }).prefill([[5]])
  expect(distance(await numbersOf(logits), await numbersOf(clean))).toBe(0)
})

test('a full cache, a wrong number of rows and an empty prompt are refused', async () => {
  const cached = decoder(await modelOf('llama'), { capacity: 8 })
  await expect(cached.prefill([sequence(9, 3)])).rejects.toThrow(UsageError)
  await expect(cached.prefill([[1], [2]])).rejects.toThrow(/2 rows for a decoder of 1/)
  expect(() => cached.prefill([[]])).toThrow(/at least one token/)
  const model = await modelOf('gpt2')
  expect(() => decoder(model, { capacity: 0 })).toThrow(/capacity is 0/)
  await expect(decoder(model, { capacity: 65 }).prefill([[1]])).rejects.toThrow(/64 positions/)
  expect(() =>
    decoder({ ...model, architecture: { ...model.architecture, cache: undefined } }, { capacity: 8 }),
  ).toThrow(/no cache/)
})
