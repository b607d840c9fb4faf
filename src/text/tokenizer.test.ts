import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { trainBytePairs } from './bpe.js'
import { saveTokenizer, simpleChatTemplate } from './save.js'
import { streamDecoder } from './stream.js'
import {
  type Message,
  openTokenizer,
  type Tokenizer,
  type TokenizerConfig,
  tokenizerFromJson,
} from './tokenizer.js'

const names = ['bytelevel-bpe', 'metaspace-bpe', 'unigram', 'wordpiece']
const readGolden = async (...parts: string[]): Promise<unknown> =>
  JSON.parse(await readFile(goldenFolder('tokenizers', ...parts), 'utf8'))

const golden = async (name: string): Promise<Tokenizer> =>
  tokenizerFromJson(await readGolden(name, 'tokenizer.json'))

interface Case {
  ids: number[]
}

describe.each(names)('%s', (name) => {
  test('a streamed text is the decoded text, and no piece of it ends inside a character', async () => {
    const tokenizer = await golden(name)
    const check = (ids: number[]): void => {
      const whole = tokenizer.decode(ids)
      const stream = streamDecoder(tokenizer)
      const pieces = ids.map((id) => stream.push(id))
      pieces.push(stream.end())
      expect(pieces.join('')).toBe(whole)
      if (!whole.includes('\uFFFD')) expect(pieces.join('|')).not.toContain('\uFFFD')
    }
    for (const c of (await readGolden(name, 'golden.json')) as Case[]) check(c.ids)
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 30 }), (text) => check(tokenizer.encode(text))),
      { numRuns: 100 },
    )
  })
})

test('broken bytes are streamed as the decoder shows them, without waiting for ever', async () => {
  const tokenizer = await golden('bytelevel-bpe')
  const continuation = tokenizer.id('Ĥ') ?? -1
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 2, max: 399 }), { maxLength: 40 }), (ids) => {
      const stream = streamDecoder(tokenizer)
      const text = ids.map((id) => stream.push(id)).join('') + stream.end()
      expect(text).toBe(tokenizer.decode(ids))
    }),
  )
  const stream = streamDecoder(tokenizer)
  const sent = Array.from({ length: 100 }, () => stream.push(continuation)).join('')
  expect(sent.length).toBeGreaterThan(90)
})

test('a stream of a tokenizer that cleans up is the cleaned text', async () => {
  const json = await readGolden('wordpiece', 'tokenizer.json')
  const raw = { ...(json as object), decoder: null }
  const tokenizer = tokenizerFromJson(raw, { clean_up_tokenization_spaces: true })
  const parts = fc.constantFrom("'", ' ', '.', 'a', 's', 'n', 't', 'the', '?', 've')
  fc.assert(
    fc.property(fc.array(parts, { maxLength: 20 }), (words) => {
      const ids = tokenizer.encode(words.join(' '))
      const stream = streamDecoder(tokenizer)
      const pieces = ids.map((id) => stream.push(id))
      expect(pieces.join('') + stream.end()).toBe(tokenizer.decode(ids))
    }),
  )
  expect(tokenizer.decode(tokenizer.encode('a . a'))).toBe('a. a')
})

test('a stream after other ids goes on from them, with the space between two words', async () => {
  for (const name of names) {
    const tokenizer = await golden(name)
    const [before, later] = ['the cat', 'the cat sees two apples'].map((t) =>
      tokenizer.encode(t, { special: false }),
    )
    const rest = later.slice(before.length)
    expect(later.slice(0, before.length)).toEqual(before)
    const stream = streamDecoder(tokenizer, { after: before })
    const text = rest.map((id) => stream.push(id)).join('') + stream.end()
    expect(tokenizer.decode(before) + text).toBe(tokenizer.decode(later))
    expect(text).toMatch(/^ /)
  }
})

test('no ids are no text, and ids beyond the vocabulary add none', async () => {
  for (const name of names) {
    const tokenizer = await golden(name)
    const [id] = tokenizer.encode('a', { special: false })
    expect(tokenizer.decode([])).toBe('')
    expect(tokenizer.decode([id, tokenizer.vocabularySize + 7])).toBe(tokenizer.decode([id]))
    expect(() => tokenizer.decode([1.5])).toThrow('integer')
  }
})

test('a space before a full stop is kept', async () => {
  const tokenizer = await golden('bytelevel-bpe')
  expect(tokenizer.decode(tokenizer.encode("I 'm here ."))).toBe("I 'm here .")
})

describe('a folder', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'weft-tokenizer-'))
  })
  afterAll(() => rm(folder, { recursive: true }))

  test('without a tokenizer.json is refused by name', async () => {
    await expect(openTokenizer(join(folder, 'absent'))).rejects.toMatchObject({
      code: 'NoTokenizer',
      exitCode: 3,
    })
  })

  test.each([
    ['{"model": {', 'not valid JSON'],
    ['[]', 'expected a JSON object'],
    ['{}', 'no object "model"'],
    ['{"model": {"type": "BPE"}}', 'model.vocab'],
    ['{"model": {"type": "BPE", "vocab": {"a": 0}}}', 'merges'],
    ['{"model": {"type": "BPE", "vocab": {"a": 4e9}, "merges": []}}', '"a" the id 4000000000'],
    ['{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "added_tokens": [{}]}', 'added_tokens[0]'],
    ['{"model": {"type": "Odd", "vocab": {"a": 0}}}', 'Odd'],
    ['{"model": {"type": "WordPiece", "vocab": {}}, "pre_tokenizer": {"type": "Odd"}}', 'Odd'],
  ])('with the tokenizer.json %s is refused with file and cause', async (text, cause) => {
    await writeFile(join(folder, 'tokenizer.json'), text)
    await expect(openTokenizer(folder)).rejects.toMatchObject({ code: 'BrokenTokenizer', exitCode: 3 })
    await expect(openTokenizer(folder)).rejects.toThrow(cause)
    await expect(openTokenizer(folder)).rejects.toThrow(`${folder}/tokenizer.json`)
  })

  test('that was saved is opened with its special tokens and template', async () => {
    const json = trainBytePairs(['one two three'], {
      vocabularySize: 260,
      specialTokens: ['<s>', '</s>', '<pad>'],
    })
    await saveTokenizer(folder, json, {
      bos: '<s>',
      eos: '</s>',
      pad: '<pad>',
      chatTemplate: simpleChatTemplate,
    })
    const tokenizer = await openTokenizer(folder)
    expect(tokenizer).toMatchObject({ bos: 0, eos: 1, pad: 2, unk: undefined, hasChatTemplate: true })
    expect(tokenizer.decode(tokenizer.chat([{ role: 'user', content: 'one' }]))).toBe('<|user|>\none\n')
    await writeFile(join(folder, 'chat_template.jinja'), '{{ messages[0].content }}!')
    expect((await openTokenizer(folder)).render([{ role: 'user', content: 'two' }])).toBe('two!')
  })
})

test('a tokenizer.json with any one part replaced is refused as such, or works', async () => {
  const originals = await Promise.all(names.map((name) => readGolden(name, 'tokenizer.json')))
  const odd = fc.constantFrom<unknown>(null, true, -1, 1e300, '', 'x', [], {}, [[]], { type: 'x' }, '(')
  const mutate = (json: unknown, picks: number[], into: unknown): unknown => {
    if (picks.length === 0 || typeof json !== 'object' || json === null || Object.keys(json).length === 0)
      return into
    const copy = (Array.isArray(json) ? [...(json as unknown[])] : { ...json }) as Record<string, unknown>
    const keys = Object.keys(copy)
    const key = keys[picks[0] % keys.length]
    copy[key] = mutate(copy[key], picks.slice(1), into)
    return copy
  }
  fc.assert(
    fc.property(
      fc.constantFrom(...originals),
      fc.array(fc.nat(100000), { minLength: 1, maxLength: 4 }),
      odd,
      (json, picks, into) => {
        try {
          const tokenizer = tokenizerFromJson(mutate(json, picks, into))
          tokenizer.decode(tokenizer.encode('The cat sees two apples. naïve 🙂'))
        } catch (error) {
          expect(error).toMatchObject({ code: 'BrokenTokenizer' })
        }
      },
    ),
    { numRuns: 1000 },
  )
})

const chatml =
  "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
const instruct =
  '{{ bos_token }}{% for m in messages %}' +
  "{% if m.role == 'user' %}{{ '[INST] ' + m.content.strip() + ' [/INST]' }}" +
  "{% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
/** Leaves the thoughts of all but the last turn out, as reasoning models' templates do. */
const thinking =
  "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}" +
  "{% if loop.last %}{{ m.content }}{% else %}{{ m.content.split('</think>\\n')[-1] }}{% endif %}" +
  "{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"

const specialTokens = ['<s>', '</s>', '<|im_start|>', '<|im_end|>']
const withTemplate = (chat_template: string): Tokenizer =>
  tokenizerFromJson(trainBytePairs(['hello there, hello you'], { vocabularySize: 280, specialTokens }), {
    bos_token: '<s>',
    eos_token: { content: '</s>' },
    chat_template,
  })

const counted = (tokenizer: Tokenizer, messages: Message[]): string => {
  const { ids, counted: mask } = tokenizer.chatWithMask(messages)
  expect(ids).toEqual(tokenizer.chat(messages))
  expect(mask).toHaveLength(ids.length)
  return tokenizer.decode(
    ids.filter((_, i) => mask[i]),
    { skipSpecial: false },
  )
}

describe('chat', () => {
  const turns: Message[] = [
    { role: 'user', content: 'hello' },
    { role: 'assistant', content: ' hello there ' },
    { role: 'user', content: 'hello there' },
    { role: 'assistant', content: 'hello you' },
  ]

  test('follows the template', () => {
    const text = withTemplate(chatml).render(turns.slice(0, 1), { addGenerationPrompt: true })
    expect(text).toBe('<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n')
    expect(withTemplate(instruct).chat(turns)[0]).toBe(0)
  })

  test('the loss counts what assistants wrote and the tokens that end their turns', () => {
    expect(counted(withTemplate(chatml), turns)).toBe(' hello there <|im_end|>hello you<|im_end|>')
    expect(counted(withTemplate(chatml), turns.slice(0, 1))).toBe('')
  })

  test('the loss follows templates that trim a turn or leave part of it out', () => {
    expect(counted(withTemplate(instruct), turns)).toBe(' hello there </s> hello you </s>')
    const thoughts = turns.map((t) =>
      t.role === 'user' ? t : { ...t, content: `<think>so</think>\n${t.content}` },
    )
    expect(counted(withTemplate(thinking), thoughts)).toBe(
      ' hello there <|im_end|><think>so</think>\nhello you<|im_end|>',
    )
  })

  test('the loss counts tool calls and contents in parts', () => {
    const template =
      "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.content is string %}{{ m.content }}" +
      '{% elif m.content %}{{ m.content[0].text }}{% endif %}{% for t in m.tool_calls or [] %}call {{ t.name }}{% endfor %}' +
      "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    const mixed: Message[] = [
      { role: 'user', content: 'hello' },
      { role: 'assistant', content: null, tool_calls: [{ name: 'clock' }] },
      { role: 'tool', content: 'noon' },
      { role: 'assistant', content: [{ type: 'text', text: 'it is noon' }] },
      { role: 'user', content: 'so' },
      { role: 'assistant', content: 'eat' },
    ]
    const parts = counted(withTemplate(template), mixed)
    expect(parts).toBe('call clock<|im_end|>it is noon<|im_end|>eat<|im_end|>')
  })

  test('a template among several is chosen by name', () => {
    const tokenizer = tokenizerFromJson(trainBytePairs([], { vocabularySize: 256 }), {
      chat_template: [
        { name: 'default', template: 'plain' },
        { name: 'tool_use', template: '{{ tools | length }} tools' },
      ],
    })
    expect(tokenizer.render(turns)).toBe('plain')
    expect(tokenizer.render(turns, { tools: [{}, {}] })).toBe('2 tools')
    expect(() => tokenizer.render(turns, { template: 'rag' })).toThrow('default, tool_use')
  })

  test('a template knows every role that has a token, and no other', () => {
    const roles = {
      sep_token: '</s>',
      cls_token: { content: '<s>' },
      mask_token: '[M]',
      image_token: '<|image|>',
      extra_special_tokens: { audio_token: '<|audio|>' },
    }
    const chat_template =
      '{{ bos_token }}{{ sep_token }}{{ cls_token }}{{ mask_token }}{{ image_token }}{{ audio_token }}' +
      '{{ pad_token is defined }}{{ bos_token is defined }}'
    const json = trainBytePairs([], { vocabularySize: 258, specialTokens: ['<s>', '</s>'] })
    expect(tokenizerFromJson(json, { ...roles, chat_template }).render(turns)).toBe(
      '</s><s>[M]<|image|><|audio|>FalseFalse',
    )
  })

  test('a template that is absent, broken or refuses is an error that says so', () => {
    expect(() => withTemplate('{% for %}').render(turns)).toThrow('chat template')
    expect(() => withTemplate("{{ raise_exception('no system role') }}").render(turns)).toThrow(
      'no system role',
    )
    const odd = { chat_template: [null, { name: 'default', template: 3 }] } as unknown as TokenizerConfig
    const holder = tokenizerFromJson(trainBytePairs([], { vocabularySize: 256 }), odd)
    expect(() => holder.chat(turns)).toThrow('no chat template "default"')
    const bare = tokenizerFromJson(trainBytePairs([], { vocabularySize: 256 }))
    expect(() => bare.chat(turns)).toThrow('no chat template')
    expect(() => withTemplate('{{ messages | length }}').chatWithMask(turns)).toThrow(
      'does not show what the assistant says',
    )
  })
})
