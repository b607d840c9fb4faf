/** @file Vocabularies in merges: whose rows the tokens get, what the tokenizer of the result reads and writes. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, tinyConfig, writeRandom } from '../../../../../test/tiny.js'
import { open } from '../../../../checkpoint/index.js'
import { openModel } from '../../../../models/index.js'
import { openTokenizer, saveTokenizer, trainBytePairs } from '../../../../text/index.js'
import { generate } from '../../../../train/index.js'
import { explainMerge, mergeRecipe, type Recipe } from '../../../index.js'
import { maxOf } from '../../../../tensor/numbers.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)

const english = ['the cat sleeps in the rain', 'the dog runs in the rain', 'the owl sings at night']
const german = ['die Katze schläft im Regen', 'der Hund rennt im Regen', 'die Eule singt nachts']

interface Changes {
  special?: string[]
  config?: Record<string, unknown>
  rows?: number
}

/** A tiny Llama whose tokenizer was trained on `texts`. */
const writeModel = async (name: string, texts: string[], { special = [], config, rows }: Changes = {}) => {
  const json = trainBytePairs(texts, { vocabularySize: 290, specialTokens: ['<s>', '</s>'] })
  const size = Object.keys(json.model.vocab).length
  special.forEach((content, i) =>
    json.added_tokens.push({ ...json.added_tokens[0], content, id: size + i, normalized: false }),
  )
  await writeRandom(at(name), tinyConfig(rows ?? size + special.length, config), name)
  await saveTokenizer(at(name), json, { bos: '<s>', eos: '</s>', pad: '</s>' })
}

beforeAll(async () => {
  scratch = await scratchFolder()
  await writeModel('english', english)
  await writeModel('german', german)
  await writeModel('chat', english, { special: ['<|im_start|>', '<|im_end|>'] })
  await writeModel('other', english, { special: ['<|im_end|>', '<|think|>'] })
})
afterAll(() => scratch.remove())

const folder = (): string => scratch.path
const embedding = 'model.embed_tokens.weight'
const head = 'lm_head.weight'

/** The row that a model's tensor has for a token. */
const rowOf = async (model: string, token: string | number, tensor = embedding): Promise<number[]> => {
  await using checkpoint = await open(at(model))
  const id = typeof token === 'number' ? token : (await openTokenizer(at(model))).id(token)!
  const { data, shape } = await checkpoint.read(tensor, 'float32')
  return Array.from(data.slice(id * shape[1], (id + 1) * shape[1]), Number)
}

const mean = (...rows: number[][]): number[] =>
  rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length)

const close = (a: number[], b: number[]): void => {
  expect(a.length).toBe(b.length)
  a.forEach((x, i) => expect(x).toBeCloseTo(b[i], 6))
}

const linear = (models: string[], more: Partial<Recipe> = {}): Recipe => ({
  merge_method: 'linear',
  models: models.map((model) => ({ model, parameters: { weight: 1 } })),
  ...more,
})

const merged = async (name: string, recipe: Recipe) => mergeRecipe(recipe, at(name), { folder: folder() })

describe('a tokenizer of none of the models', () => {
  it('gives the result its tokens, whose rows are those of the models', async () => {
    const json = trainBytePairs(english, { vocabularySize: 280, specialTokens: ['</s>', '<s>'] })
    await mkdir(at('tokenizer'), { recursive: true })
    await saveTokenizer(at('tokenizer'), json, { bos: '<s>', eos: '</s>', pad: '</s>' })
    await merged('foreign', linear(['english', 'chat'], { tokenizer_source: at('tokenizer') }))
    const [theirs, ours] = await Promise.all(['tokenizer', 'foreign'].map((name) => openTokenizer(at(name))))
    expect(ours.encode(english[0])).toEqual(theirs.encode(english[0]))
    expect(ours.id('</s>')).toBe(0)
    for (const token of ['</s>', 'the'])
      close(await rowOf('foreign', token), mean(await rowOf('english', token), await rowOf('chat', token)))
    const [{ tensors }] = await explainMerge(linear(['english'], { tokenizer_source: at('tokenizer') }), {
      folder: folder(),
    })
    expect(tensors.find(({ name }) => name === embedding)!.shape[0]).toBe(
      Object.keys(json.model.vocab).length,
    )
  })
})

describe('a union of vocabularies', () => {
  it('keeps the numbers of the base, and has the tokens of all', async () => {
    await merged('union', linear(['english', 'german'], { tokenizer_source: 'union' }))
    const [a, b, u] = await Promise.all(['english', 'german', 'union'].map((m) => openTokenizer(at(m))))
    for (let id = 0; id < a.vocabularySize; id++) expect(u.token(id)).toBe(a.token(id))
    for (let id = 0; id < b.vocabularySize; id++) expect(u.id(b.token(id)!)).toBeDefined()
    const all = new Set(
      [a, b].flatMap((t) => Array.from({ length: t.vocabularySize }, (_, id) => t.token(id)!)),
    )
    expect(u.vocabularySize).toBe(all.size)
    await using checkpoint = await open(at('union'))
    expect(checkpoint.config.vocab_size).toBe(all.size)
    expect(checkpoint.info(head).shape).toEqual([all.size, 32])
  })

  it('says so where other models have own tokens', async () => {
    const recipe = linear(['english', 'german'], { tokenizer_source: 'union' })
    const [{ notes }] = await explainMerge(recipe, { folder: folder() })
    expect(notes.join()).toMatch(/^\d+ tokens of other models follow those of english/)
    const same = linear(['english', 'chat'], { tokenizer_source: 'union' })
    expect((await explainMerge(same, { folder: folder() }))[0].notes).toEqual([])
  })

  it('merges the rows of a token that all have, and takes those of the one that has it', async () => {
    for (const tensor of [embedding, head]) {
      close(
        await rowOf('union', 'a', tensor),
        mean(await rowOf('english', 'a', tensor), await rowOf('german', 'a', tensor)),
      )
      close(await rowOf('union', 'Ġthe', tensor), await rowOf('english', 'Ġthe', tensor))
      close(await rowOf('union', 'ĠRegen', tensor), await rowOf('german', 'ĠRegen', tensor))
    }
  })

  it('encodes and decodes the text of all, and uses the tokens of each', async () => {
    const tokenizer = await openTokenizer(at('union'))
    for (const text of [...english, ...german, 'neither 猫 nor 犬'])
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text)
    const spelled = (text: string) => tokenizer.encode(text).map((id) => tokenizer.token(id))
    expect(spelled('in the rain')).toContain('Ġrain')
    expect(spelled('im Regen')).toContain('ĠRegen')
  })

  it('generates', async () => {
    await using checkpoint = await open(at('union'))
    let text = ''
    for await (const piece of generate(await openModel(checkpoint), 'die Katze', { maxTokens: 4 }))
      text += piece
    expect(text).not.toBe('')
  })

  it('puts added tokens at its end, with their settings, and names them in tokenizer_config.json', async () => {
    await merged(
      'added',
      linear(['english', 'chat', 'other'], { base_model: 'english', tokenizer_source: 'union' }),
    )
    const [base, tokenizer] = await Promise.all(['english', 'added'].map((m) => openTokenizer(at(m))))
    const size = base.vocabularySize
    expect([0, 1, 2].map((i) => tokenizer.token(size + i))).toEqual([
      '<|im_start|>',
      '<|im_end|>',
      '<|think|>',
    ])
    expect([...tokenizer.specialIds]).toContain(size + 2)
    const config = JSON.parse(await readFile(join(at('added'), 'tokenizer_config.json'), 'utf8')) as {
      added_tokens_decoder: Record<string, { content: string; special: boolean }>
    }
    expect(config.added_tokens_decoder[size + 2]).toMatchObject({ content: '<|think|>', special: true })
    close(await rowOf('added', '<|think|>'), await rowOf('other', '<|think|>'))
    // Two of three have it, not the base: the third has their average.
    close(
      await rowOf('added', '<|im_end|>'),
      mean(await rowOf('chat', '<|im_end|>'), await rowOf('other', '<|im_end|>')),
    )
  })

  it("gives a model that lacks a token the base's row", async () => {
    const recipe = linear(['chat', 'other', 'english'], { base_model: 'chat', tokenizer_source: 'union' })
    await merged('lacks', recipe)
    const [mine, theirs] = [await rowOf('chat', '<|im_end|>'), await rowOf('other', '<|im_end|>')]
    close(await rowOf('lacks', '<|im_end|>'), mean(mine, theirs, mine))
  })

  it('is rounded once where it is written in bfloat16', async () => {
    const recipe = linear(['english', 'german'], { tokenizer_source: 'union', out_dtype: 'bfloat16' })
    await merged('narrow', recipe)
    await using narrow = await open(at('narrow'))
    await using wide = await open(at('union'))
    expect(narrow.info(embedding).dtype).toBe('BF16')
    const [a, b] = [await narrow.read(embedding, 'float32'), await wide.read(embedding, 'float32')]
    a.data.forEach((x, i) =>
      expect(Math.abs(Number(x) - Number(b.data[i]))).toBeLessThanOrEqual(Math.abs(Number(b.data[i])) / 256),
    )
  })
})

describe("a model's vocabulary", () => {
  it('of the base drops what the base lacks', async () => {
    await merged('base', linear(['chat', 'english'], { base_model: 'english', tokenizer_source: 'base' }))
    const files = ['tokenizer.json', 'tokenizer_config.json'].map(async (file) => {
      expect(await readFile(join(at('base'), file))).toEqual(await readFile(join(at('english'), file)))
    })
    await Promise.all(files)
    close(await rowOf('base', 'a'), mean(await rowOf('chat', 'a'), await rowOf('english', 'a')))
    await using checkpoint = await open(at('base'))
    await using english = await open(at('english'))
    expect(checkpoint.info(embedding).shape).toEqual(english.info(embedding).shape)
  })

  it('of another model has its numbers, and those of its special tokens in config.json', async () => {
    await writeModel('moved', german, { config: { eos_token_id: 7 } })
    await merged('model', linear(['english', 'moved'], { tokenizer: { source: 'moved' } }))
    await using checkpoint = await open(at('model'))
    expect(checkpoint.config.eos_token_id).toBe(7)
    close(await rowOf('model', 'ĠRegen'), await rowOf('moved', 'ĠRegen'))
    const [ours, theirs] = await Promise.all(['model', 'moved'].map((m) => openTokenizer(at(m))))
    expect(ours.encode(german[0])).toEqual(theirs.encode(german[0]))
  })

  it('leaves out added tokens that have no rows', async () => {
    const size = (await openTokenizer(at('english'))).vocabularySize
    await writeModel('padded', english, { special: ['<unused>'], rows: size })
    const report = await merged('stripped', linear(['padded', 'english'], { tokenizer_source: 'union' }))
    expect(report.notes.join()).toMatch(/padded has no rows for 1 added tokens.*<unused>/)
    expect((await openTokenizer(at('stripped'))).id('<unused>')).toBeUndefined()
  })

  it('is padded with rows that are the average of all', async () => {
    const tokenizer = { source: 'base', pad_to_multiple_of: 64 }
    await merged('multiple', linear(['english'], { tokenizer }))
    await using checkpoint = await open(at('multiple'))
    const { vocabularySize: size } = await openTokenizer(at('english'))
    const padded = Math.ceil(size / 64) * 64
    expect(checkpoint.config.vocab_size).toBe(padded)
    expect(checkpoint.info(head).shape[0]).toBe(padded)
    const rows = await Promise.all(Array.from({ length: size }, (_, id) => rowOf('english', id)))
    close(await rowOf('multiple', padded - 1), mean(...rows))
  })

  it('is resumed to the same bytes, and only with the same embeddings', async () => {
    await writeModel('changed', german)
    const recipe = linear(['english', 'changed'], { tokenizer_source: 'union' })
    const options = { folder: folder(), maxShardBytes: 5_000 }
    await mergeRecipe(recipe, at('whole'), options)
    const halt = async (name: string): Promise<void> => {
      const stop = new AbortController()
      const onProgress = ({ done = 0, total = 0 }): void => void (done > total / 2 && stop.abort())
      const halted = mergeRecipe(recipe, at(name), { ...options, signal: stop.signal, onProgress })
      await expect(halted).rejects.toThrow(/abort/)
    }
    await halt('halted')
    await mergeRecipe(recipe, at('halted'), { ...options, resume: true })
    await using resumed = await open(at('halted'))
    await using whole = await open(at('whole'))
    for (const name of whole.names()) expect(await resumed.readRaw(name)).toEqual(await whole.readRaw(name))
    await halt('stale')
    await writeModel('changed', german)
    await expect(mergeRecipe(recipe, at('stale'), { ...options, resume: true })).rejects.toThrow(
      /something else/,
    )
  })
})

describe('a token', () => {
  const tokens = (settings: NonNullable<Recipe['tokenizer']>['tokens'], source = 'base') =>
    linear(['english', 'chat'], { base_model: 'english', tokenizer: { source, tokens: settings } })

  it("has another model's numbers in all, where they are forced", async () => {
    await merged('forced', tokens({ a: { source: 'chat', force: true }, b: { source: 'chat' } }))
    close(await rowOf('forced', 'a'), await rowOf('chat', 'a'))
    close(await rowOf('forced', 'b'), mean(await rowOf('english', 'b'), await rowOf('chat', 'b')))
  })

  it('is added where the vocabulary lacks it, with the numbers of another token, by name or number', async () => {
    const settings = {
      '<new>': { source: { kind: 'model_token', model: 'chat', token: '<|im_end|>' } },
      '<newer>': { source: { kind: 'model_token', model: 'english', token_id: 5 } },
      '<none>': { source: { kind: 'zero' } },
    } as const
    await merged('new', tokens(settings))
    close(await rowOf('new', '<new>'), await rowOf('chat', '<|im_end|>'))
    close(await rowOf('new', '<newer>', head), await rowOf('english', 5, head))
    expect(new Set(await rowOf('new', '<none>'))).toEqual(new Set([0]))
    const tokenizer = await openTokenizer(at('new'))
    expect(tokenizer.encode('a<new>b', { special: false })).toEqual(
      ['a', '<new>', 'b'].map((t) => tokenizer.id(t)),
    )
  })

  it.each<[string, NonNullable<Recipe['tokenizer']>['tokens'], RegExp]>([
    [
      'a model that is none of the recipe',
      { a: { source: 'zzz' } },
      /tokens.a.source: zzz is none of the recipe's models/,
    ],
    ['a token that the model lacks', { '<x>': { source: 'chat' } }, /chat has no token "<x>"/],
    [
      'a number beyond the rows',
      { a: { source: { kind: 'model_token', model: 'chat', token_id: 9999 } } },
      /token_id 9999: .*chat has \d+ rows/,
    ],
  ])('of %s is refused', async (_, settings, message) => {
    await expect(explainMerge(tokens(settings), { folder: folder() })).rejects.toThrow(message)
  })
})

describe('what is refused', () => {
  const refused = (recipe: Recipe) => expect(explainMerge(recipe, { folder: folder() })).rejects

  it('different vocabularies without a word on which the result has, with both sizes', async () => {
    await refused(linear(['english', 'chat'])).toThrow(
      /english\/model.safetensors: model.embed_tokens.weight \[(\d+), 32\] does not fit .*chat\/model.safetensors: model.embed_tokens.weight \[\d+, 32\].*\n.*of \d+ and \d+ tokens.*tokenizer_source/,
    )
    const sizes = ['english', 'german'].map(async (m) => (await openTokenizer(at(m))).vocabularySize)
    const rows = maxOf(await Promise.all(sizes))
    await writeModel('level-a', english, { rows })
    await writeModel('level-b', german, { rows })
    await refused(linear(['level-a', 'level-b'])).toThrow(
      /\(\d+ tokens\) and .*\(\d+ tokens\) do not have the same number/,
    )
  })

  it('an unknown model as the source', async () => {
    await refused(linear(['english', 'chat'], { tokenizer_source: 'zzz' })).toThrow(
      /tokenizer_source: zzz is none of the recipe's models\.?\n.*english, chat, base, union/,
    )
  })

  it('embeddings that do not have a row for each token', async () => {
    await writeModel('short', english, { rows: 100 })
    await refused(linear(['english', 'short'], { tokenizer_source: 'union' })).toThrow(
      /short\/tokenizer.json: the token .* has the number \d+, but .*short \(100 rows\) has no such row/,
    )
  })

  it('embeddings that config.json counts otherwise', async () => {
    await writeModel('counted', english)
    const file = join(at('counted'), 'config.json')
    const config = JSON.parse(await readFile(file, 'utf8')) as object
    await writeFile(file, JSON.stringify({ ...config, vocab_size: 999 }))
    await refused(linear(['english', 'counted'], { tokenizer_source: 'union' })).toThrow(
      /counted\/model.safetensors: lm_head.weight \[\d+, 32\] does not have a row for each token: config.json says vocab_size 999/,
    )
  })

  it('embeddings of another width', async () => {
    await writeModel('wide', german, { config: { hidden_size: 64 } })
    await refused(linear(['english', 'wide'], { tokenizer_source: 'union' })).toThrow(
      /embed_tokens.weight \[\d+, 32\] does not fit .*embed_tokens.weight \[\d+, 64\]/,
    )
  })

  it('a base without a tokenizer', async () => {
    await writeRandom(at('bare'), tinyConfig(300), 'bare')
    await refused(linear(['bare', 'english'], { tokenizer_source: 'union' })).toThrow(
      /bare\/tokenizer.json: no such file/,
    )
  })
})

describe('tied heads', () => {
  it('are reordered as the embeddings that they are', async () => {
    const config = { tie_word_embeddings: true }
    await writeModel('tied-a', english, { config })
    await writeModel('tied-b', german, { config })
    await merged('tied', linear(['tied-a', 'tied-b'], { tokenizer_source: 'union' }))
    await using checkpoint = await open(at('tied'))
    expect(checkpoint.has(head)).toBe(false)
    close(await rowOf('tied', 'ĠRegen'), await rowOf('tied-b', 'ĠRegen'))
    await openModel(checkpoint)
  })
})

describe('several documents', () => {
  it('have the vocabularies of the steps before them, also where they are only explained', async () => {
    const first: Recipe = { ...linear(['english', 'german'], { tokenizer_source: 'union' }), name: 'half' }
    const last = linear(['half', 'chat'], { tokenizer_source: 'union' })
    const [, { tensors }] = await explainMerge([first, last], { folder: folder() })
    await mergeRecipe([first, last], at('steps'), { folder: folder() })
    await using checkpoint = await open(at('steps'))
    expect(tensors.find(({ name }) => name === embedding)!.shape).toEqual(checkpoint.info(embedding).shape)
    close(await rowOf('steps', '<|im_start|>'), await rowOf('chat', '<|im_start|>'))
  })
})
