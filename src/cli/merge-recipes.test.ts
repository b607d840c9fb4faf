/** @file `weft merge` with what recipes say beside weights: vocabularies, adapters, templates; where errors are placed. */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, sentences, tinyConfig, writeRandom, writeTinyLlama } from '../../test/tiny.js'
import { type Outcome, weftWith } from '../../test/weft.js'
import { open } from '../checkpoint/index.js'
import { openTokenizer, saveTokenizer, trainBytePairs } from '../text/index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)
const weft = (...argv: string[]): Promise<Outcome> => weftWith({ WEFT_HOME: at('home') }, argv)

const german = ['Die Katze schläft im Regen.', 'Der Hund rennt im Regen.', 'Die Eule singt nachts.']

beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(at('base'))
  const json = trainBytePairs(german, { vocabularySize: 300, specialTokens: ['<s>', '</s>'] })
  await writeRandom(at('german'), tinyConfig(Object.keys(json.model.vocab).length), 'german')
  await saveTokenizer(at('german'), json, { bos: '<s>', eos: '</s>', pad: '</s>' })
  await writeFile(at('data.jsonl'), sentences.map((text) => JSON.stringify({ text })).join('\n'))
  const training = ['--data', at('data.jsonl'), '--steps', '2', '--batch', '2', '--lr', '0.1']
  await weft('adapt', 'lora', at('base'), ...training, '--out', at('adapter'))
  await weft('fold', at('base'), at('adapter'), '--out', at('folded'))
})
afterAll(() => scratch.remove())

let recipes = 0
const merged = async (text: string, ...flags: string[]): Promise<Outcome> => {
  const file = at(`recipe-${recipes++}.yaml`)
  await writeFile(file, text)
  return weft('merge', file, ...flags)
}

const sameWeights = async (a: string, b: string): Promise<void> => {
  await using x = await open(a)
  await using y = await open(b)
  expect(x.names()).toEqual(y.names())
  for (const name of x.names()) expect(await x.readRaw(name), name).toEqual(await y.readRaw(name))
}

describe('a union of vocabularies', () => {
  const recipe = (): string => `merge_method: linear
models:
  - { model: ${at('base')}, parameters: { weight: 1 } }
  - { model: ${at('german')}, parameters: { weight: 1 } }
tokenizer:
  source: union
  tokens:
    <|im_start|>: { source: { kind: model_token, model: ${at('base')}, token: <s> } }
    <|im_end|>: { source: { kind: zero } }
  pad_to_multiple_of: 8
chat_template: chatml
dtype: float32
`

  it('is merged, reads and writes the text of both, and generates with and without its chat template', async () => {
    expect(await merged(recipe(), '--out', at('union'))).toMatchObject({ code: 0 })
    const tokenizer = await openTokenizer(at('union'))
    for (const text of [...sentences, ...german]) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
    for (const flags of [[], ['--no-chat']]) {
      const said = await weft('generate', at('union'), '--prompt', 'Die Katze', '--max-tokens', '4', ...flags)
      expect(said).toMatchObject({ code: 0 })
      expect(said.out.trim()).not.toBe('')
    }
    const config = JSON.parse(await readFile(join(at('union'), 'config.json'), 'utf8')) as {
      vocab_size: number
    }
    expect(config.vocab_size % 8).toBe(0)
    const map = JSON.parse(await readFile(join(at('union'), 'special_tokens_map.json'), 'utf8')) as object
    expect(map).toMatchObject({ bos_token: '<s>', eos_token: '</s>' })
  })

  it('is explained with the rows that it will have', async () => {
    await using checkpoint = await open(at('union'))
    const { out } = await merged(recipe(), '--dry-run')
    expect(out).toMatch(
      new RegExp(`embed_tokens.weight +F32 +${String(checkpoint.config.vocab_size)}x32 +merge`),
    )
  })

  it.each([
    ['an unknown key', 'tokens:', 'tokns:', /yaml:7:3: tokenizer.tokns: unknown key\n {2}Nearest: tokens/],
    ['an unknown key of a token', 'kind: zero', 'knid: zero', /yaml:9:29: .*knid: unknown key/],
    [
      'a token that is forced to nothing',
      '{ source: { kind: zero } }',
      '{ force: true }',
      /yaml:9:17: .*expected a source/,
    ],
    [
      'a padding that is none',
      'pad_to_multiple_of: 8',
      'pad_to_multiple_of: 0',
      /yaml:10:23: .*pad_to_multiple_of/,
    ],
    [
      'two ways to say it',
      'dtype: float32',
      'tokenizer_source: base',
      /at most one of tokenizer and tokenizer_source/,
    ],
    ['an unknown token', 'token: <s>', 'token: <zzz>', /has no token "<zzz>"/],
  ])('refuses %s, with its place', async (_, from, to, message) => {
    const { code, err } = await merged(recipe().replace(from, to), '--out', at('x'))
    expect(code).toBe(2)
    expect(err).toMatch(message)
  })
})

describe('an adapter on its base', () => {
  const adapted = (): string => `${at('base')}+${at('adapter')}`
  const linear = (model: string, more = ''): string =>
    `merge_method: linear\nmodels:\n  - { model: ${model}, parameters: { weight: 1 } }\n${more}`
  const slerp = (model: string): string =>
    `merge_method: slerp\nbase_model: ${model}\nmodels:\n  - { model: ${at('base')} }\nparameters: { t: 0.25 }\n`
  const slices = (model: string): string =>
    `merge_method: passthrough\nslices:\n  - sources: [{ model: ${model}, layer_range: [0, 2] }]\n`
  const modules = (model: string): string =>
    `merge_method: linear\nmodules:\n  default:\n    models:\n      - { model: ${model}, parameters: { weight: 1 } }\n`
  const tokens = (model: string): string =>
    linear(
      model,
      `tokenizer: { source: ${model}, tokens: { a: { source: ${model}, force: true } } }\nchat_template: chatml\n`,
    )
  const sliceBase = (model: string): string =>
    `merge_method: slerp\nslices:\n  - base_model: ${model}\n    sources:\n      - { model: ${at('base')}, layer_range: [0, 2] }\n      - { model: ${model}, layer_range: [0, 2] }\nparameters: { t: 0.25 }\n`

  it.each<[string, (model: string) => string]>([
    ['models', linear],
    ['base_model', slerp],
    ['slices', slices],
    ["a slice's base_model", sliceBase],
    ['modules', modules],
    ['tokenizer and tokens', tokens],
  ])('stands in %s as what it folds to', async (name, text) => {
    const [ours, theirs] = [`ours-${name}`, `theirs-${name}`].map((x) => at(x.replace(/\W/g, '-')))
    expect(await merged(text(adapted()), '--out', ours)).toMatchObject({ code: 0 })
    expect(await merged(text(at('folded')), '--out', theirs)).toMatchObject({ code: 0 })
    await sameWeights(ours, theirs)
    expect((await merged(text(adapted()), '--dry-run')).code).toBe(0)
  })

  it('stands on an earlier step, also where that is only explained', async () => {
    const text = `name: step\n${linear(at('base'))}---\n${linear(`step+${at('adapter')}`)}`
    expect((await merged(text, '--dry-run')).code).toBe(0)
    expect(await merged(text, '--out', at('on-step'))).toMatchObject({ code: 0 })
    await sameWeights(at('on-step'), at('folded'))
  })

  it('and with --method', async () => {
    const flags = ['--method', 'slerp', '--base', adapted(), '-p', 't=0.25', '--out', at('flags')]
    expect(await weft('merge', at('base'), ...flags)).toMatchObject({ code: 0 })
    await sameWeights(at('flags'), at('ours-base_model'))
  })

  it('is not seen in a folder that has a + in its name', async () => {
    await mkdir(at('c++'))
    await rename(at('folded'), join(at('c++'), 'folded'))
    expect(await merged(linear(join(at('c++'), 'folded')), '--out', at('plus'))).toMatchObject({ code: 0 })
    await rename(join(at('c++'), 'folded'), at('folded'))
    await sameWeights(at('plus'), at('folded'))
  })
})
