/** @file Words and pieces of text as tokens, each token with the characters that it stands for. */
import type { Tokenizer } from '../text/index.js'

/** Ids of the words of a text, word by word, without special ones. */
export const encodedWords = (tokenizer: Tokenizer, words: readonly string[]): number[][] =>
  words.map((word, i) => tokenizer.encode(i === 0 ? word : ` ${word}`, { special: false }))

/** Tokens of a text, and where each one's characters begin and end. */
export interface PlacedTokens {
  readonly ids: readonly number[]
  readonly starts: readonly number[]
  readonly ends: readonly number[]
}

/** How many of the first tokens of `ids` are those of a beginning of their text. */
const shared = (ids: readonly number[], beginning: readonly number[]): number => {
  const other = beginning.findIndex((id, i) => id !== ids[i])
  return other < 0 ? Math.min(ids.length, beginning.length) : other
}

/**
 * The tokens of `text` with their places. It is encoded piece by piece, a piece being a word with the white space before it:
 * no tokenizer's token goes over the end of one. Inside a piece a token ends where the shortest beginning ends that has it.
 */
export const placedTokens = (tokenizer: Tokenizer, text: string): PlacedTokens => {
  const ids: number[] = []
  const starts: number[] = []
  const ends: number[] = []
  const encode = (part: string): number[] => tokenizer.encode(part, { special: false })
  for (const { 0: piece, index } of text.matchAll(/\s*\S+/g)) {
    const own = encode(piece)
    const word = index + piece.search(/\S/)
    let done = 0
    for (let end = word + 1 - index; done < own.length && end <= piece.length; end++) {
      const count = end === piece.length ? own.length : shared(own, encode(piece.slice(0, end)))
      for (; done < count; done++) {
        ids.push(own[done])
        starts.push(done === 0 ? word : ends[ends.length - 1])
        ends.push(index + end)
      }
    }
  }
  return { ids, starts, ends }
}
