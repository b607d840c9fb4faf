import { readFile } from 'node:fs/promises'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { trainBytePairs } from './bpe.js'
import { tokenizerFromJson } from './tokenizer.js'

const read = (path: string): Promise<string> => readFile(new URL(path, import.meta.url), 'utf8')

test('learns the tokenizer.json that the reference trainer learns from the same corpus', async () => {
  const corpus = (await read('./bpe.corpus.txt')).trimEnd().split('\n')
  const reference: unknown = JSON.parse(
    await read('../../test/golden/tokenizers/bytelevel-bpe/tokenizer.json'),
  )
  const learned = trainBytePairs(corpus, { vocabularySize: 400, specialTokens: ['<s>', '</s>'] })
  expect(learned).toEqual(reference)
})

test('every text decodes to itself, seen in training or not', () => {
  const tokenizer = tokenizerFromJson(trainBytePairs(['the cat and the hat'], { vocabularySize: 300 }))
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(
        new TextDecoder('utf-8', { ignoreBOM: true }).decode(new TextEncoder().encode(text)),
      )
    }),
  )
})

test('stops when no pair is frequent enough, and refuses a vocabulary without room for the bytes', () => {
  const json = trainBytePairs(['ab ab'], { vocabularySize: 1000 })
  expect(json.model.merges).toEqual([['a', 'b']])
  expect(() => trainBytePairs([], { vocabularySize: 256, specialTokens: ['<s>'] })).toThrow('at least 257')
})
