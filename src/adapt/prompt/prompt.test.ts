import { afterAll, describe, expect, it } from 'vitest'
import { changed, countOf, gap, logitsOf } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { type Checkpoint, open } from '../../checkpoint/index.js'
import { openModel } from '../../models/index.js'
import { compile, type Tensor, toNumbers, type Value, valueOf } from '../../tensor/index.js'
import { forward, type GeneratedToken, generateTokens } from '../../train/index.js'
import { type AdaptedModel, prefix, prompt, pTuning } from '../index.js'

const opened: Checkpoint[] = []
const golden = async (name: string): Promise<Checkpoint> => {
  const checkpoint = await open(goldenFolder(name))
  opened.push(checkpoint)
  return checkpoint
}
afterAll(() => Promise.all(opened.map((checkpoint) => checkpoint.close())))

const ids = [3, 14, 15, 92, 6, 53]

/** Logits of `ids`, and of these with padding behind. */
const logitsFor = async (model: AdaptedModel, tokens: readonly number[], mask?: readonly number[]) => {
  const batch: Record<string, Value> = { ids: valueOf([...tokens], [1, tokens.length], 'int32') }
  if (mask) batch.attentionMask = valueOf([...mask], [1, mask.length], 'int32')
  type Inputs = { parameters: Record<string, Tensor>; batch: Record<string, Tensor> }
  const program = await compile(({ parameters, batch }: Inputs) => forward(model, parameters, batch).logits, {
    parameters: { ...model.parameters },
    batch,
  })
  return toNumbers(await program.run({ parameters: { ...model.parameters }, batch } as never))
}

const generated = async (model: AdaptedModel, cache: boolean, promptIds = ids, maxTokens = 6) => {
  const tokens = generateTokens(model, promptIds, { temperature: 0, maxTokens, eos: [], cache })
  const all: GeneratedToken[] = []
  for await (const token of tokens) all.push(token)
  return all
}

const methods = { prompt, prefix, pTuning }

describe.each(Object.keys(methods) as (keyof typeof methods)[])('virtual tokens of %s', (name) => {
  const method = methods[name]

  it.each(['llama', 'gpt2', 'gemma2', 'qwen3'])(
    'generate on %s with the cache what they do without',
    async (architecture) => {
      const model = await method(await golden(architecture), { tokens: 5, seed: 1 })
      const [cached, whole] = [await generated(model, true), await generated(model, false)]
      expect(cached.map(({ id }) => id)).toEqual(whole.map(({ id }) => id))
      cached.forEach(({ logProbability }, i) =>
        expect(Math.abs(logProbability - whole[i].logProbability)).toBeLessThan(1e-4),
      )
    },
  )

  it('a token sees nothing of what stands behind it, padded or not', async () => {
    const model = await method(await golden('llama'), { tokens: 4 })
    const short = await logitsFor(model, ids)
    const padded = await logitsFor(model, [...ids, 0, 0], [...ids.map(() => 1), 0, 0])
    expect(gap(padded.slice(0, short.length), short)).toBeLessThan(1e-5)
  })

  it('take positions: the prompt may be as much shorter', async () => {
    const base = await golden('gpt2')
    const limit = Number(base.config.n_positions)
    const model = await method(base, { tokens: 5 })
    const long = Array.from({ length: limit - 6 }, (_, i) => i % 90)
    expect(await generated(model, true, long, 100)).toHaveLength(1)
    await expect(generated(model, true, [...long, 1], 100)).rejects.toMatchObject({ code: 'TooLong' })
  })

  it('change the outputs of every kind of model that reads tokens', async () => {
    for (const [architecture, more] of [
      ['bert-mlm', {}],
      ['bert-classify', {}],
      ['t5', { decoderIds: valueOf([0, 4, 5, 6, 0, 9], [2, 3], 'int32') }],
    ] as const) {
      const base = await golden(architecture)
      const plain = await logitsOf(await openModel(base), more)
      const own = await logitsOf(await method(base, { tokens: 3 }), more)
      expect(own.length).toBe(plain.length)
      expect(gap(own, plain)).toBeGreaterThan(1e-4)
    }
  })
})

describe('prompt', () => {
  it('trains p numbers for each of the width', async () => {
    expect(countOf(await prompt(await golden('llama'), { tokens: 7 }))).toBe(7 * 32)
  })

  it('of embeddings of words is those words', async () => {
    const base = await golden('gpt2')
    const table = toNumbers(await base.read('transformer.wte.weight'))
    const model = await prompt(base, { tokens: 2 })
    const [words, width] = [[11, 12], 32]
    const rows = changed(model, () =>
      words.flatMap((word) => [...table.slice(word * width, (word + 1) * width)]),
    )
    const own = await logitsFor(rows, ids)
    const plain = await logitsOf(await openModel(base), { ids: valueOf([...words, ...ids], [1, 8], 'int32') })
    expect(gap(own, plain.slice(plain.length - own.length))).toBeLessThan(1e-5)
  })

  it('refuses a model that reads no tokens', async () => {
    const attempt = prompt(await golden('vit'))
    await expect(attempt).rejects.toMatchObject({ code: 'NotApplicable' })
    await expect(attempt).rejects.toThrow(/vit has no token embeddings/)
  })
})

describe('p-tuning', () => {
  it('saves what its encoder makes of its embeddings: a prompt of p numbers for each of the width', async () => {
    const model = await pTuning(await golden('llama'), { tokens: 4, encoderWidth: 10 })
    const exported = await model.exported()
    expect(Object.keys(exported.parameters)).toEqual(['prompt_embeddings'])
    expect(countOf(model)).toBe(4 * 32 + (32 * 10 + 10) + (10 * 10 + 10) + (10 * 32 + 32))
    expect(countOf(exported)).toBe(4 * 32)
    expect(gap(await logitsFor(exported, ids), await logitsFor(model, ids))).toBeLessThan(1e-5)
  })
})
