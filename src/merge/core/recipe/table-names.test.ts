/** @file Models meet by what a tensor is, whatever their files call it: each is merged with itself as another tool saved it. */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../../../test/golden.js'
import { scratchFolder, tinyConfig, writeRandom } from '../../../../test/tiny.js'
import { CheckpointWriter, encode, type JsonObject, open } from '../../../checkpoint/index.js'
import { openModel } from '../../../models/index.js'
import { type Value, valueOf, zerosValue } from '../../../tensor/index.js'
import { anatomyOf, explainMerge, mergeRecipe, type Recipe, uniformSoup } from '../../index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)
beforeAll(async () => void (scratch = await scratchFolder()))
afterAll(() => scratch.remove())

type Tensors = Record<string, Value>

/** The checkpoint in `from` with other tensors, in `to`. */
const edited = async (
  from: string,
  to: string,
  edit: (tensors: Tensors) => Tensors,
  config: JsonObject = {},
): Promise<void> => {
  await using checkpoint = await open(from)
  const tensors: Tensors = {}
  for (const name of checkpoint.names()) tensors[name] = await checkpoint.read(name)
  const stored = Object.entries(edit(tensors)).map(([name, v]) => ({ name, ...encode(v) }))
  await using writer = await CheckpointWriter.create(to, stored)
  for (const { name, data } of stored) await writer.write(name, data)
  await writer.finish({ 'config.json': { ...checkpoint.config, ...config } })
}

const renamed =
  (rename: (name: string) => string) =>
  (tensors: Tensors): Tensors =>
    Object.fromEntries(Object.entries(tensors).map(([name, v]) => [rename(name), v]))

const mean = (...models: string[]): Recipe => ({
  merge_method: 'linear',
  models: models.map((model) => ({ model, parameters: { weight: 1 } })),
})

const withBuffers = (tensors: Tensors): Tensors => ({
  ...tensors,
  'model.layers.0.self_attn.rotary_emb.inv_freq': valueOf([1, 0.5, 0.25, 0.125], [4]),
})
const asOldGpt2 = (tensors: Tensors): Tensors => ({
  ...renamed((name) => name.replace(/^transformer\./, ''))(tensors),
  'h.0.attn.bias': zerosValue([1, 1, 8, 8]),
  'h.0.attn.masked_bias': valueOf([-10000], []),
})
const withoutShared = renamed((name) => (name === 'shared.weight' ? 'encoder.embed_tokens.weight' : name))
const bare = renamed((name) => name.replace(/^model\./, ''))

describe.each<[string, string, (tensors: Tensors) => Tensors]>([
  ['rotary buffers in one', 'llama', withBuffers],
  ["GPT-2's names without a prefix, and its masks", 'gpt2', asOldGpt2],
  ['a T5 without shared.weight', 't5', withoutShared],
  ['a body without its prefix', 'qwen2', bare],
])('%s', (_, name, edit) => {
  it.each([false, true])('changes nothing, whichever model comes first (%s)', async (swapped) => {
    const original = goldenFolder(name)
    const other = at(`${name}-edited`)
    if (!swapped) await edited(original, other, edit)
    const models = swapped ? [other, original] : [original, other]
    const out = at(`${name}-${swapped}`)
    await mergeRecipe(mean(...models), out)
    const soup = at(`${name}-soup-${swapped}`)
    const opened = await Promise.all(models.map((model) => open(model)))
    await (await uniformSoup(opened)).save(soup)
    await using result = await open(out)
    await openModel(result)
    await using plain = await open(original)
    expect(result.names()).toEqual(plain.names())
    for (const tensor of plain.names())
      expect(await result.readRaw(tensor), tensor).toEqual(await plain.readRaw(tensor))
    await using average = await open(soup)
    expect(average.names()).toEqual(plain.names())
    const [distance] = await anatomyOf(result, new Map([['other', opened[swapped ? 0 : 1]]]))
    expect(distance.series.length).toBeGreaterThan(1)
    await Promise.all(opened.map((model) => model.close()))
  })
})

describe('a head that one model ties to its embeddings and another does not', () => {
  const config = (tied: boolean): Record<string, unknown> => tinyConfig(60, { tie_word_embeddings: tied })
  beforeAll(async () => {
    await writeRandom(at('tied'), config(true), 'tied')
    await writeRandom(at('loose'), config(false), 'loose')
  })

  it.each([
    ['tied', 'loose'],
    ['loose', 'tied'],
  ])(
    'meets the embeddings that it is tied to, and the result is untied (%s first)',
    async (first, second) => {
      const out = at(`${first}-first`)
      await mergeRecipe(mean(at(first), at(second)), out)
      await using result = await open(out)
      expect(result.config.tie_word_embeddings).toBe(false)
      await openModel(result)
      await using tied = await open(at('tied'))
      await using loose = await open(at('loose'))
      const [head, embedding, own] = await Promise.all(
        [
          result.read('lm_head.weight'),
          tied.read('model.embed_tokens.weight'),
          loose.read('lm_head.weight'),
        ].map(async (v) => (await v).data as Float32Array),
      )
      head.forEach((x, i) => expect(x).toBeCloseTo((embedding[i] + own[i]) / 2, 5))
    },
  )

  it('takes the parameters that are given for the head', async () => {
    const weight = [{ filter: 'lm_head', value: 3 }, { value: 1 }]
    const models = ['tied', 'loose'].map((model) => ({ model: at(model), parameters: { weight } }))
    const [{ tensors }] = await explainMerge({ merge_method: 'linear', models })
    expect(tensors.find(({ name }) => name === 'lm_head.weight')!.parameters.weight).toEqual([3, 3])
  })

  it('stays tied where all tie it', async () => {
    await writeRandom(at('tied-too'), config(true), 'tied too')
    await mergeRecipe(mean(at('tied'), at('tied-too')), at('both'))
    await using result = await open(at('both'))
    expect(result.has('lm_head.weight')).toBe(false)
    expect(result.config.tie_word_embeddings).toBe(true)
  })
})

it('scalars and empty tensors that no table names are left out, and said to be', async () => {
  const more = (tensors: Tensors): Tensors => ({ ...tensors, 'layer.k_scale': valueOf([2], []) })
  await edited(goldenFolder('llama'), at('scalar'), more)
  const [{ notes }] = await explainMerge(mean(goldenFolder('llama'), at('scalar')))
  expect(notes.join()).toMatch(/scalar: 1 scalar or empty tensors .* left out: layer.k_scale/)
})

it('a model of an architecture without a table keeps the names of its files', async () => {
  await edited(goldenFolder('llama'), at('exotic'), withBuffers, { model_type: 'some_other' })
  await mergeRecipe(mean(at('exotic')), at('exotic-out'))
  await using result = await open(at('exotic-out'))
  expect(result.has('model.layers.0.self_attn.rotary_emb.inv_freq')).toBe(true)
})
