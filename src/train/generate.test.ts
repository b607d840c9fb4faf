import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { scratchFolder, sentences, writeReciter, writeTinyLlama } from '../../test/tiny.js'
import { hold } from '../../test/held.js'
import { opened } from '../../test/opened.js'
import { diskFiles, openFile } from '../checkpoint/index.js'
import { type Model, openModel } from '../models/index.js'
import { Stream } from '../random/index.js'
import { compile, type Tensor, toNumbers, valueOf } from '../tensor/index.js'
import {
  type Message,
  openTokenizer,
  saveTokenizer,
  type Tokenizer,
  tokenizerFromJson,
  trainBytePairs,
} from '../text/index.js'
import { fit, forward, generate, generateTokens, type GenerateOptions, type TokenOptions } from './index.js'
import { logProbabilities, sample } from './sample.js'
import { StopTexts } from './stops.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let model: Model
beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(join(scratch.path, 'base'))
  const base = await openModel(await opened(join(scratch.path, 'base')), { trainable: true })
  const data = sentences.map((text) => ({ text }))
  model = (await fit(base, data, { batch: 5, length: 24, steps: 60, learningRate: 1e-2 })).model
})
afterAll(() => scratch.remove())

const textOf = async (prompt: string, options: GenerateOptions = {}): Promise<string> => {
  let text = ''
  for await (const piece of generate(model, prompt, { maxTokens: 20, ...options })) text += piece
  return text
}
const idsOf = async (m: Model, prompt: readonly number[], options: TokenOptions): Promise<number[]> => {
  const ids: number[] = []
  for await (const { id } of generateTokens(m, prompt, options)) ids.push(id)
  return ids
}
describe('generation', () => {
  it('gives the tokens of Transformers greedily, with the cache and without', async () => {
    const folder = goldenFolder('llama')
    const golden = hold(await openFile(diskFiles(folder), 'golden.safetensors'))
    const expected = [...toNumbers(await golden.read('generated'))]
    const llama = await openModel(await opened(folder))
    const prompt = [...toNumbers(await golden.read('input_ids'))].slice(0, 5)
    for (const cache of [true, false])
      expect([...prompt, ...(await idsOf(llama, prompt, { maxTokens: 8, eos: [], cache }))]).toEqual(expected)
  })

  it('of a sequence-to-sequence model gives at each place the token that its logits say', async () => {
    const t5 = await openModel(await opened(goldenFolder('t5')))
    const prompt = [3, 1, 4, 1, 5]
    const written = await idsOf(t5, prompt, { maxTokens: 6, eos: [] })
    const start = Number(t5.checkpoint.config.decoder_start_token_id)
    const row = (ids: number[]) => valueOf(ids, [1, ids.length], 'int32')
    const batch = { ids: row(prompt), decoderIds: row([start, ...written.slice(0, -1)]) }
    const program = await compile(
      ({ batch }: { batch: Record<string, Tensor> }) => forward(t5, {}, batch).logits.argMax(-1),
      { batch },
    )
    expect(written).toEqual([...toNumbers(await program.run({ batch } as never))])
  })

  it('goes on as it was taught, and ends by itself', async () => {
    expect('The cat' + (await textOf('The cat'))).toMatch(/^The cat sleeps (today|at night|in the rain)\.$/)
  })

  it('draws the same text for the same seed, other texts for others', async () => {
    const drawn = (seed: number): Promise<string> =>
      textOf('The', { temperature: 1.5, topK: 40, topP: 0.95, seed })
    expect(await drawn(1)).toBe(await drawn(1))
    const texts = await Promise.all([1, 2, 3, 4].map(drawn))
    expect(new Set(texts).size).toBeGreaterThan(1)
  })

  it('ends before a stop text, which may come in pieces', async () => {
    const whole = await textOf('The dog')
    for (const stop of [whole.slice(3, 6), whole.slice(1, 9), '.'])
      expect(await textOf('The dog', { stop: ['never', stop] })).toBe(whole.slice(0, whole.indexOf(stop)))
  })

  it('gives log-probabilities that are those of the logits', async () => {
    for await (const token of generateTokens(model, [5, 6], { maxTokens: 3, alternatives: 3 })) {
      expect(token.alternatives).toHaveLength(3)
      expect(token.alternatives[0]).toEqual({ id: token.id, logProbability: token.logProbability })
      expect(token.alternatives[1].logProbability).toBeLessThanOrEqual(token.logProbability)
    }
  })

  it('stops when aborted, and refuses prompts and options that make no sense', async () => {
    const stop = new AbortController()
    const cut = (async () => {
      for await (const _ of generateTokens(model, [5], { signal: stop.signal, eos: [] })) stop.abort()
    })()
    await expect(cut).rejects.toThrow(/abort/i)
    await expect(textOf('')).rejects.toThrow(/no token/)
    await expect(textOf('The', { topP: 0 })).rejects.toThrow(/topP is 0/)
    await expect(idsOf(model, new Array<number>(64).fill(5), {})).rejects.toThrow(/positions for 64/)
  })
})

describe('stop texts', () => {
  const says = ['a', 'b', '<|end|>', 'c', ',', 'd', '<|im|>', 'e']
  let reciter: Model
  let tokenizer: Tokenizer
  beforeAll(async () => {
    const folder = join(scratch.path, 'reciter')
    const json = trainBytePairs([], { vocabularySize: 258, specialTokens: ['<|end|>', '<|im|>'] })
    await saveTokenizer(folder, json)
    tokenizer = await openTokenizer(folder)
    await writeReciter(
      folder,
      says.map((token) => tokenizer.id(token) ?? -1),
      258,
      { eos_token_id: null },
    )
    reciter = await openModel(await opened(folder))
  })
  const said = async (options: GenerateOptions = {}): Promise<string> => {
    let text = ''
    for await (const piece of generate(reciter, 'a', { maxTokens: 9, tokenizer, ...options })) text += piece
    return text
  }

  it('may be special tokens, which the output lacks', async () => {
    expect(await said()).toBe('bc,deee')
    expect(await said({ stop: '<|end|>' })).toBe('b')
    expect(await said({ stop: ['<|im|>'] })).toBe('bc,d')
  })

  it('may hold special tokens and text, across the borders of tokens', async () => {
    expect(await said({ stop: 'b<|end|>c' })).toBe('')
    expect(await said({ stop: '<|end|><|im|>' })).toBe('bc,deee')
    expect(await said({ stop: 'd<|im|>e' })).toBe('bc,')
    expect(await said({ stop: 'bc' })).toBe('bc,deee')
  })

  it('are not found in a part of a special token', async () => {
    for (const stop of ['n', '|', '|>c,', 'b<', 'b<|en']) expect(await said({ stop })).toBe('bc,deee')
  })

  it('of several the first in the text ends it', async () => {
    expect(await said({ stop: ['<|im|>', 'never', ',d', ''] })).toBe('bc')
    expect(await said({ stop: [',', '<|end|>'] })).toBe('b')
  })

  it('stand beside end tokens, of which a list may be given', async () => {
    const ids = (...tokens: string[]): number[] => tokens.map((token) => tokenizer.id(token) ?? -1)
    expect(await said({ eos: ids('d', '<|im|>') })).toBe('bc,')
    expect(await said({ eos: ids('e'), stop: 'd' })).toBe('bc,')
  })

  it('are found whatever the pieces that a text comes in', () => {
    const piece = fc.tuple(fc.stringMatching(/^[ab]{1,3}$/), fc.boolean())
    fc.assert(
      fc.property(
        fc.array(piece),
        fc.array(fc.stringMatching(/^[ab]{1,4}$/), { maxLength: 3 }),
        (pieces, stops) => {
          const borders = [0]
          for (const [text] of pieces) borders.push((borders.at(-1) ?? 0) + text.length)
          const whole = pieces.map(([text]) => text).join('')
          const splits = (from: number, to: number): boolean =>
            pieces.some(([, shown], i) => {
              const touched = borders[i] < to && borders[i + 1] > from
              return !shown && touched && !(from <= borders[i] && to >= borders[i + 1])
            })
          const places = stops.flatMap((stop) =>
            Array.from({ length: whole.length }, (_, i) => i).filter(
              (i) => whole.startsWith(stop, i) && !splits(i, i + stop.length),
            ),
          )
          const watch = new StopTexts(stops)
          let out = ''
          let stopped = false
          for (const [text, shown] of pieces) {
            const ready = watch.push(text, shown)
            out += ready.text
            stopped = ready.stopped
            if (stopped) break
          }
          if (!stopped) out += watch.end()
          expect(stopped).toBe(places.length > 0)
          const shownUpTo = (to: number): string =>
            pieces
              .map(([text, shown], i) => (shown ? text.slice(0, Math.max(0, to - borders[i])) : ''))
              .join('')
          const candidates = stopped ? places.map(shownUpTo) : [shownUpTo(whole.length)]
          expect(candidates).toContain(out)
        },
      ),
    )
  })
})

describe('the text after a prompt', () => {
  it('goes on in it: words of SentencePiece keep the space between them; an answer begins without', async () => {
    const folder = join(scratch.path, 'pieces')
    const vocab = { '<unk>': 0, '▁the': 1, '▁cat': 2, '▁sits': 3 }
    const decoder = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true }
    const tokenizer = tokenizerFromJson(
      {
        model: { type: 'Unigram', unk_id: 0, vocab: Object.keys(vocab).map((token) => [token, -1]) },
        pre_tokenizer: decoder,
        decoder,
      },
      { chat_template: '{{ messages[0].content }}' },
    )
    await writeReciter(folder, [1, 2, 3], 4, { eos_token_id: 3 })
    const reciter = await openModel(await opened(folder))
    const said = async (prompt: string | number[] | Message[]): Promise<string> => {
      let text = ''
      for await (const piece of generate(reciter, prompt, { tokenizer })) text += piece
      return text
    }
    expect(await said('the')).toBe(' cat')
    expect(await said([1])).toBe(' cat')
    expect(await said([{ role: 'user', content: 'the' }])).toBe('cat')
  })
})

describe('sampling', () => {
  it('draws each token as often as its probability says, after top-k and top-p', () => {
    const logits = [2, 1, 0, -1, -5]
    const stream = new Stream('draws')
    const counts = new Array<number>(5).fill(0)
    const n = 20000
    for (let i = 0; i < n; i++) counts[sample(logits, { temperature: 1, topK: 4, topP: 0.9 }, stream)]++
    // Of the four kept, the first three are the least that reach 0.9.
    const kept = logProbabilities(logits.slice(0, 3)).map(Math.exp)
    counts.forEach((count, i) => expect(Math.abs(count / n - (kept[i] ?? 0))).toBeLessThan(0.015))
  })
})
