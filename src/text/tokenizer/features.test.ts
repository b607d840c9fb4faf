import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openTokenizer, tokenizerFromJson } from '../tokenizer.js'
import { decoderKinds } from './decoders.js'
import { features } from './features.js'
import { modelKinds } from './models.js'
import { normalizerKinds } from './normalizers.js'
import { postProcessorKinds } from './post-processors.js'
import { preTokenizerKinds } from './pre-tokenizers.js'

type Json = Record<string, unknown>
/** A text by its number (null: ids alone), its ids, the text of these without special tokens and with them. */
type Case = [text: number | null, ids: number[], decoded?: string, shown?: string]

interface Stored {
  part: string
  name: string
  json: Json
  cases: Case[]
}

interface Shared {
  texts: string[]
  charsmap: string
  plain: Json
  pieces: Json
  words: Json
}

interface StoredConfig {
  name: string
  files: Record<string, Json>
  roles: Record<string, number | null>
  cases: [text: string, ids: number[], decoded: string, shown: string][]
}

const linesOf = async <T>(file: string): Promise<T[]> => {
  const text = await readFile(new URL(`../../../test/tokenizers/${file}`, import.meta.url), 'utf8')
  return text.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as T]))
}

const [shared, ...stored] = (await linesOf('features.jsonl')) as [Shared, ...Stored[]]
const configs = await linesOf<StoredConfig>('configs.jsonl')

/** A stored tokenizer.json; vocabularies that several share stand in it by name. */
const whole = (json: Json): Json => {
  const models: Record<string, Json> = {
    '@plain': shared.plain,
    '@pieces': shared.pieces,
    '@words': shared.words,
  }
  const filled = { ...json, model: typeof json.model === 'string' ? models[json.model] : json.model }
  return JSON.parse(JSON.stringify(filled).replace('@charsmap', shared.charsmap)) as Json
}

const kinds = {
  normalizer: normalizerKinds,
  pre_tokenizer: preTokenizerKinds,
  model: modelKinds,
  post_processor: postProcessorKinds,
  decoder: decoderKinds,
}
const parts = Object.keys(kinds) as (keyof typeof kinds)[]
const bare: Json = { model: { type: 'WordLevel', vocab: { a: 0 }, unk_token: 'a' } }

describe('the table of features', () => {
  test.each(parts)('names the types and keys of every %s that the code knows, and no other', (part) => {
    const done = features.filter((f) => f.part === part && f.treatment === 'done')
    const inTable = Object.fromEntries(done.map(({ name, keys }) => [name, [...(keys ?? [])].sort()]))
    const inCode = Object.entries(kinds[part]).map(([name, { schema }]) => {
      const keys = Object.keys(schema.shape).filter((key) => key !== 'type')
      return [name, keys.sort()]
    })
    expect(inTable).toEqual(Object.fromEntries(inCode))
  })

  test.each(parts)('has stored ids of the reference for every %s that is done', (part) => {
    const done = features.filter((f) => f.part === part && f.treatment === 'done').map(({ name }) => name)
    const seen = new Set(stored.filter((s) => s.part === part).map(({ name }) => name))
    expect([...seen].sort()).toEqual(done.sort())
  })

  test('refuses what it says it refuses', () => {
    const refused: Record<string, Json> = {
      UnicodeScripts: { ...bare, pre_tokenizer: { type: 'UnicodeScripts' } },
      dropout: { model: { type: 'BPE', vocab: { a: 0 }, merges: [], dropout: 0.1 } },
      'Sequence of several that add tokens': {
        ...bare,
        post_processor: {
          type: 'Sequence',
          processors: Array.from({ length: 2 }, () => ({
            type: 'BertProcessing',
            sep: ['a', 0],
            cls: ['a', 0],
          })),
        },
      },
    }
    const named = features.filter((f) => f.treatment === 'refused').map(({ name }) => name)
    expect(Object.keys(refused).sort()).toEqual(named.sort())
    const messages = ['UnicodeScripts', 'model.dropout', 'several post-processors']
    Object.values(refused).forEach((json, i) => expect(() => tokenizerFromJson(json)).toThrow(messages[i]))
  })
})

describe('what is not known is refused by name', () => {
  test.each(parts.filter((part) => part !== 'model'))('a type of %s', (part) => {
    expect(() => tokenizerFromJson({ ...bare, [part]: { type: 'Novel' } })).toThrow(
      new RegExp(`${part}: its type is "Novel"`),
    )
  })

  test.each(stored.map(({ part, name, json }) => [part, name, json] as const).filter(([p]) => p in kinds))(
    'a key of the %s %s',
    (part, name, json) => {
      const original = whole(json)
      const changed = { ...original, [part]: { ...(original[part] as Json), novel: 1 } }
      expect(() => tokenizerFromJson(changed)).toThrow(new RegExp(`${name} with the unknown key "novel"`))
    },
  )

  test('a part within a sequence, by its place', () => {
    const sequence = { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Novel' }] }
    expect(() => tokenizerFromJson({ ...bare, normalizer: sequence })).toThrow(/normalizer\.normalizers\[1\]/)
  })

  test('a key of the file, of an added token, and a version', () => {
    expect(() => tokenizerFromJson({ ...bare, novel: 1 })).toThrow('novel')
    expect(() => tokenizerFromJson({ ...bare, version: '2.0' })).toThrow('"version" is "2.0"')
    const added = [{ id: 1, content: 'b', novel: true }]
    expect(() => tokenizerFromJson({ ...bare, added_tokens: added })).toThrow(/added_tokens\[0\].*novel/)
  })

  test('a regular expression that is none', () => {
    const split = { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated', invert: false }
    expect(() => tokenizerFromJson({ ...bare, pre_tokenizer: split })).toThrow(
      'pre_tokenizer: the regular expression "("',
    )
  })

  test('a merge of what is not in the vocabulary', () => {
    const model = { type: 'BPE', vocab: { a: 0, b: 1 }, merges: [['a', 'b']] }
    expect(() => tokenizerFromJson({ model })).toThrow('the merge ["a","b"] needs the token "ab"')
  })
})

describe('ids and texts are those of the reference', () => {
  test.each(stored.map((s) => [s.part, s.name, s] as const))('%s %s', (_part, _name, { json, cases }) => {
    const tokenizer = tokenizerFromJson(whole(json))
    for (const [text, ids, decoded, shown] of cases) {
      if (text !== null) expect(tokenizer.encode(shared.texts[text])).toEqual(ids)
      if (decoded === undefined) continue
      expect(tokenizer.decode(ids)).toBe(decoded)
      expect(tokenizer.decode(ids, { skipSpecial: false })).toBe(shown)
    }
  })
})

describe('a folder is read as the reference reads it', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'weft-tokenizer-'))
  })
  afterAll(() => rm(folder, { recursive: true }))

  test.each(configs.map((c) => [c.name, c] as const))('%s', async (name, { files, roles, cases }) => {
    const place = await mkdtemp(join(folder, 'one-'))
    for (const [file, json] of Object.entries(files))
      await writeFile(join(place, file), JSON.stringify(file === 'tokenizer.json' ? whole(json) : json))
    const tokenizer = await openTokenizer(place)
    const found = { eos: tokenizer.eos, bos: tokenizer.bos, pad: tokenizer.pad, unk: tokenizer.unk }
    const expected = Object.entries(roles).map(([role, id]) => [role, id ?? undefined])
    expect(found, name).toEqual(Object.fromEntries(expected))
    for (const [text, ids, decoded, shown] of cases) {
      expect(tokenizer.encode(text)).toEqual(ids)
      expect(tokenizer.decode(ids)).toBe(decoded)
      expect(tokenizer.decode(ids, { skipSpecial: false })).toBe(shown)
    }
  })
})

describe('what a config of a class of its own says of a tokenizer.json', () => {
  const vocab = { '<unk>': 0, '▁': 1, a: 2, b: 3, Ġ: 4 }
  const model = { type: 'BPE', vocab, merges: [], unk_token: '<unk>' }
  const byteLevel = {
    model,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
  }
  const metaspace = {
    model,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: false },
  }
  const prepending = {
    model,
    normalizer: { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }] },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
  }
  const ids = (json: Json, config: Json): number[] => tokenizerFromJson(json, config).encode('ab')
  const own = { tokenizer_class: 'SomeTokenizer' }

  // The values are Transformers 5.18's for classes that take add_prefix_space (GPT-2's and Llama's).
  test('add_prefix_space puts a space before the first word, or takes it away', () => {
    expect(ids(byteLevel, { ...own, add_prefix_space: true })).toEqual([4, 2, 3])
    expect(ids(byteLevel, { ...own, add_prefix_space: false })).toEqual([2, 3])
    expect(ids(metaspace, { ...own, add_prefix_space: true })).toEqual([1, 2, 3])
    expect(ids(metaspace, { ...own, add_prefix_space: false })).toEqual([2, 3])
    expect(ids(prepending, { ...own, add_prefix_space: true })).toEqual([1, 2, 3])
    expect(ids(prepending, { ...own, add_prefix_space: false })).toEqual([2, 3])
    expect(tokenizerFromJson(prepending, { ...own, add_prefix_space: false }).decode([1, 2])).toBe(' a')
  })

  test('of the plain class it says nothing, as there', () => {
    for (const config of [{}, { tokenizer_class: 'PreTrainedTokenizerFast' }]) {
      expect(ids(byteLevel, { ...config, add_prefix_space: true })).toEqual([2, 3])
      expect(ids(metaspace, { ...config, add_prefix_space: false })).toEqual([1, 2, 3])
    }
  })

  test('where the file has no place for a space it is refused', () => {
    expect(() => ids({ model }, { ...own, add_prefix_space: true })).toThrow('add_prefix_space')
    expect(ids({ model }, { ...own, add_prefix_space: false })).toEqual([2, 3])
  })

  test("BERT's case and accents are the config's", () => {
    const normalizer = {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: false,
    }
    expect(ids({ model, normalizer }, own)).toEqual([2, 3])
    const spelled = (config: Json): number[] =>
      tokenizerFromJson({ model, normalizer }, { ...own, ...config }).encode('ÁB')
    expect(spelled({})).toEqual([0, 0])
    expect(spelled({ do_lower_case: true })).toEqual([2, 3])
    expect(spelled({ do_lower_case: true, strip_accents: false })).toEqual([0, 3])
  })
})
