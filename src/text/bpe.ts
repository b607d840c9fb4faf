/** @file A trainer of byte-level byte-pair tokenizers: small, for vocabularies made from generated text. */
import { UsageError } from '../errors.js'
import { byteCharacters } from './tokenizer/unicode.js'

/** Texts are split so before pairs are counted: GPT-2's pattern, which ByteLevel pre-tokenizers use. */
const words = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu

/** Settings of the trainer. */
export interface BytePairOptions {
  /** The size of the whole vocabulary: special tokens, 256 bytes, merges. Fewer when pairs run out. */
  vocabularySize: number
  /** The first ids, in this order. Default none. */
  specialTokens?: readonly string[]
  /** The fewest occurrences of a pair that is merged. Default 2. */
  minimumCount?: number
}

/** A tokenizer.json of a byte-level BPE tokenizer, as Hugging Face's tokenizers reads it. */
export interface BytePairJson {
  version: '1.0'
  truncation: null
  padding: null
  added_tokens: {
    id: number
    content: string
    single_word: boolean
    lstrip: boolean
    rstrip: boolean
    normalized: boolean
    special: boolean
  }[]
  normalizer: null
  pre_tokenizer: Record<string, unknown>
  post_processor: null
  decoder: Record<string, unknown>
  model: { type: 'BPE'; vocab: Record<string, number>; merges: [string, string][]; [field: string]: unknown }
}

interface Word {
  symbols: number[]
  count: number
}

/** A pair of ids as one number: ids stay below 2^21. */
const pairOf = (a: number, b: number): number => a * 2 ** 21 + b

/** How often each pair occurs, and in which words it has occurred. */
class PairCounts {
  readonly counts = new Map<number, number>()
  readonly #places = new Map<number, Set<Word>>()

  add(word: Word, sign: 1 | -1): void {
    const { symbols, count } = word
    for (let i = 1; i < symbols.length; i++) {
      const pair = pairOf(symbols[i - 1], symbols[i])
      const total = (this.counts.get(pair) ?? 0) + sign * count
      if (total > 0) this.counts.set(pair, total)
      else this.counts.delete(pair)
      if (sign < 0) continue
      const places = this.#places.get(pair)
      if (places) places.add(word)
      else this.#places.set(pair, new Set([word]))
    }
  }

  /** The most frequent pair; among equals the one of the lowest ids. */
  best(minimum: number): number | undefined {
    let [found, most] = [-1, minimum - 1]
    for (const [pair, count] of this.counts)
      if (count > most || (count === most && found >= 0 && pair < found)) [found, most] = [pair, count]
    return found < 0 ? undefined : found
  }

  /** Joins every occurrence of the pair into `id`. */
  merge(a: number, b: number, id: number): void {
    const pair = pairOf(a, b)
    for (const word of this.#places.get(pair) ?? []) {
      this.add(word, -1)
      word.symbols = joinPairs(word.symbols, a, b, id)
      this.add(word, 1)
    }
    this.#places.delete(pair)
  }
}

const joinPairs = (symbols: readonly number[], a: number, b: number, id: number): number[] => {
  const out: number[] = []
  for (let i = 0; i < symbols.length; i++)
    if (symbols[i] === a && symbols[i + 1] === b) {
      out.push(id)
      i++
    } else out.push(symbols[i])
  return out
}

/** How often words occur in texts: what a vocabulary is learned from, a text at a time. */
export class WordCounts {
  readonly #counts = new Map<string, number>()

  /** Counts the words of a text. */
  add(text: string): void {
    for (const [word] of text.matchAll(words)) this.#counts.set(word, (this.#counts.get(word) ?? 0) + 1)
  }

  /** Words, each with its number. */
  entries(): Iterable<readonly [string, number]> {
    return this.#counts
  }
}

const countWords = (texts: Iterable<string>): WordCounts => {
  const counts = new WordCounts()
  for (const text of texts) counts.add(text)
  return counts
}

const byteLevel = (addPrefixSpace: boolean): Record<string, unknown> => ({
  type: 'ByteLevel',
  add_prefix_space: addPrefixSpace,
  trim_offsets: true,
  use_regex: true,
})

const tokenizerJson = (
  specialTokens: readonly string[],
  tokens: readonly string[],
  merges: [string, string][],
): BytePairJson => ({
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: specialTokens.map((content, id) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  normalizer: null,
  pre_tokenizer: byteLevel(false),
  post_processor: null,
  decoder: byteLevel(true),
  model: {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges,
  },
})

/**
 * Learns a byte-level byte-pair vocabulary (Sennrich et al. 2016, over bytes as in GPT-2) from `texts`, or from their words, and returns its
 * tokenizer.json. Ids: special tokens, the 256 bytes in the order of their characters, then merges, the most frequent
 * pair first (ties: the lowest ids). Every text can be encoded, and decodes to itself. Throws UsageError when
 * `vocabularySize` has no room for the bytes and special tokens.
 */
export const trainBytePairs = (
  texts: Iterable<string> | WordCounts,
  options: BytePairOptions,
): BytePairJson => {
  const { vocabularySize, specialTokens = [], minimumCount = 2 } = options
  const smallest = specialTokens.length + 256
  if (!(vocabularySize >= smallest && vocabularySize < 2 ** 21))
    throw new UsageError(
      'BadVocabularySize',
      `a vocabulary of ${vocabularySize}; expected at least ${smallest}`,
      {
        hint: `The 256 bytes and ${specialTokens.length} special tokens need ${smallest}.`,
      },
    )
  if (new Set(specialTokens).size < specialTokens.length || specialTokens.includes(''))
    throw new UsageError(
      'BadSpecialTokens',
      `special tokens must be distinct and not empty: ${specialTokens.join(', ')}`,
    )

  const tokens = [...specialTokens, ...byteCharacters.toSorted()]
  const idOf = new Map(tokens.map((token, id) => [token, id]))
  const byteId = byteCharacters.map((c) => idOf.get(c) ?? 0)
  const utf8 = new TextEncoder()
  const pairs = new PairCounts()
  const counted = texts instanceof WordCounts ? texts : countWords(texts)
  for (const [word, count] of counted.entries())
    pairs.add({ symbols: Array.from(utf8.encode(word), (b) => byteId[b]), count }, 1)

  const merges: [string, string][] = []
  while (tokens.length < vocabularySize) {
    const pair = pairs.best(minimumCount)
    if (pair === undefined) break
    const [a, b] = [Math.floor(pair / 2 ** 21), pair % 2 ** 21]
    const token = tokens[a] + tokens[b]
    // Two pairs can spell the same token; it keeps its first id.
    let id = idOf.get(token)
    if (id === undefined) idOf.set(token, (id = tokens.push(token) - 1))
    merges.push([tokens[a], tokens[b]])
    pairs.merge(a, b, id)
  }
  return tokenizerJson(specialTokens, tokens, merges)
}
