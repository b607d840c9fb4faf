/** @file The models of whole words: WordPiece cuts a word into its longest known parts, WordLevel knows it or not. */
import type { Vocabulary } from './vocabulary.js'

const unknownId = (vocabulary: Vocabulary, token: string): number => {
  const id = vocabulary.id(token)
  if (id === undefined) throw new Error(`the "unk_token" ${JSON.stringify(token)} is not in the vocabulary`)
  return id
}

/** What a WordPiece model is told beside its vocabulary. */
export interface WordPieceOptions {
  /** The token of a word that cannot be cut. */
  unk_token: string
  /** Stands before every part of a word but the first. */
  continuing_subword_prefix: string
  /** A word of more characters is unknown. */
  max_input_chars_per_word: number
}

/** BERT's model (Schuster & Nakajima 2012): from the left, the longest part that is known. */
export class WordPieceModel {
  constructor(
    readonly vocabulary: Vocabulary,
    readonly options: WordPieceOptions,
  ) {}

  /** The ids of a word. Throws an Error for an unknown word where the `unk_token` is no token. */
  tokenize(word: string): readonly number[] {
    const characters = Array.from(word)
    const parts =
      characters.length > this.options.max_input_chars_per_word ? undefined : this.#parts(characters)
    return parts ?? [unknownId(this.vocabulary, this.options.unk_token)]
  }

  #parts(characters: readonly string[]): number[] | undefined {
    const ids: number[] = []
    for (let from = 0; from < characters.length;) {
      const prefix = from > 0 ? this.options.continuing_subword_prefix : ''
      let to = characters.length
      let id: number | undefined
      for (; to > from; to--) {
        id = this.vocabulary.id(prefix + characters.slice(from, to).join(''))
        if (id !== undefined) break
      }
      if (id === undefined) return undefined
      ids.push(id)
      from = to
    }
    return ids
  }
}

/** A word is a token or unknown. */
export class WordLevelModel {
  constructor(
    readonly vocabulary: Vocabulary,
    readonly unknownToken: string,
  ) {}

  /** The id of a word. Throws an Error for an unknown word where the `unk_token` is no token. */
  tokenize(word: string): readonly number[] {
    return [this.vocabulary.id(word) ?? unknownId(this.vocabulary, this.unknownToken)]
  }
}
