/** What users of other readers of tokenizer.json have reported; ids are those of huggingface/tokenizers 0.23.2. */
import { expect, test } from 'vitest'
import { tokenizerFromJson } from '../tokenizer.js'

const byteTokens = Array.from(
  { length: 256 },
  (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`,
)
const added = (
  id: number,
  content: string,
  flags: Record<string, boolean> = {},
): Record<string, unknown> => ({
  ...{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: false },
  ...flags,
})
const tokens = ['<unk>', ...byteTokens, '▁', 'f', 'o', 'b', '▁▁']
const pairs = {
  added_tokens: [added(0, '<unk>', { special: true })],
  normalizer: {
    type: 'Sequence',
    normalizers: [
      { type: 'Prepend', prepend: '▁' },
      { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
    ],
  },
  decoder: {
    type: 'Sequence',
    decoders: [
      { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
      { type: 'ByteFallback' },
      { type: 'Fuse' },
      { type: 'Strip', content: ' ', start: 1, stop: 0 },
    ],
  },
  model: {
    ...{ type: 'BPE', byte_fallback: true, unk_token: '<unk>', fuse_unk: true },
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges: [['▁', '▁']],
  },
}
const tokenizer = tokenizerFromJson({
  ...pairs,
  added_tokens: [
    ...pairs.added_tokens,
    added(262, 'foo', { single_word: true }),
    added(263, '<tool>', { normalized: true }),
  ],
})

test('a token of a single word is not found inside another', () => {
  expect(tokenizer.encode('foob')).toEqual([257, 258, 259, 259, 260])
})

test('a byte order mark in a text is kept', () => {
  expect(tokenizer.decode(tokenizer.encode('b\ufeffb'))).toBe('b\ufeffb')
})

test('a run of bytes that is no UTF-8 is a replacement character a byte', () => {
  expect(tokenizer.decode([258, 0x80 + 1, 0x41 + 1, 258])).toBe('f\ufffd\ufffdf')
})

test('a token found in normalised text is decoded with its space', () => {
  expect(tokenizer.decode(tokenizer.encode('b <tool> b'))).toBe('b <tool> b')
})

test('Metaspace cuts before every one of its characters, unless told not to', () => {
  const cutting = (split: boolean): number[] =>
    tokenizerFromJson({
      ...pairs,
      normalizer: null,
      pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'never', split },
    }).encode('b  b')
  expect(cutting(true)).toEqual([260, 257, 257, 260])
  expect(cutting(false)).toEqual([260, 261, 260])
})

test('a unigram model spells in bytes what no token spells', () => {
  const vocab = [['<unk>', 0], ['a', -1], ['b', -1], ['▁', -2], ...byteTokens.map((token) => [token, -9])]
  const unigram = tokenizerFromJson({
    added_tokens: pairs.added_tokens,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'never', split: false },
    model: { type: 'Unigram', unk_id: 0, vocab, byte_fallback: true },
  })
  expect(unigram.encode('a\nb')).toEqual([1, 14, 2])
  expect(unigram.encode('a你b')).toEqual([1, 232, 193, 164, 2])
})
