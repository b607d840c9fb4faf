/** @file The unigram model: of all ways to cut a piece into tokens, the one with the highest sum of scores. */
import { bytesOf } from './unicode.js'
import { byteIds, Vocabulary } from './vocabulary.js'

/** What a unigram model is told. */
export interface UnigramOptions {
  /** Tokens with their scores; a token's place is its id. */
  vocab: readonly (readonly [string, number])[]
  /** The id of what no token spells. Default: such a text is refused. */
  unk_id?: number | null
  /** What no token spells is spelled by tokens of its bytes, where all are there. Default false. */
  byte_fallback?: boolean | null
}

/** How far below the lowest score an unknown character lies. */
const unknownPenalty = 10

/** Tokens by their characters: node times 2^16 plus a UTF-16 unit leads to the next node. */
class Trie {
  readonly #next = new Map<number, number>()
  readonly #ids: (number | undefined)[] = [undefined]

  add(token: string, id: number): void {
    let node = 0
    for (let i = 0; i < token.length; i++) {
      const key = node * 65536 + token.charCodeAt(i)
      let child = this.#next.get(key)
      if (child === undefined) this.#next.set(key, (child = this.#ids.push(undefined) - 1))
      node = child
    }
    this.#ids[node] = id
  }

  /** Calls `found` with the end and the id of every token that `text` has at `from`, the shortest first. */
  visit(text: string, from: number, found: (end: number, id: number) => void): void {
    let node: number | undefined = 0
    for (let i = from; i < text.length; i++) {
      node = this.#next.get(node * 65536 + text.charCodeAt(i))
      if (node === undefined) return
      const id = this.#ids[node]
      if (id !== undefined) found(i + 1, id)
    }
  }
}

/** The best way to each place of a text: its score, and where its last token begins and what it is. */
interface Paths {
  scores: Float64Array
  starts: Int32Array
  ids: Int32Array
}

/** The unigram model of SentencePiece (Kudo 2018), without sampling. */
export class UnigramModel {
  readonly vocabulary: Vocabulary
  readonly #trie = new Trie()
  readonly #options: UnigramOptions
  readonly #unknownScore: number

  /** Throws an Error when `unk_id` is no token's. */
  constructor(options: UnigramOptions) {
    const { vocab, unk_id } = options
    if (unk_id != null && unk_id >= vocab.length)
      throw new Error(`its "unk_id" is ${unk_id}; the vocabulary has ${vocab.length} tokens`)
    this.#options = options
    this.vocabulary = new Vocabulary(vocab.map(([token], id) => [token, id] as const))
    let lowest = Infinity
    for (const [token, score] of vocab) {
      const id = this.vocabulary.id(token)
      if (token !== '' && id !== undefined) this.#trie.add(token, id)
      lowest = Math.min(lowest, score)
    }
    this.#unknownScore = lowest - unknownPenalty
  }

  /** The ids of a piece of text. Throws an Error for a character that no token spells where there is no `unk_id`. */
  tokenize(piece: string): readonly number[] {
    return this.#cut(piece).flatMap((text) => this.#idsOf(text))
  }

  #idsOf(text: string): number[] {
    const id = this.vocabulary.id(text)
    if (id !== undefined) return [id]
    const bytes = this.#options.byte_fallback ? byteIds(bytesOf(text), this.vocabulary) : undefined
    return bytes ?? [this.#unknownId(text)]
  }

  #unknownId(text: string): number {
    const { unk_id: unknown } = this.#options
    if (unknown == null)
      throw new Error(`no token spells ${JSON.stringify(text)}, and "model.unk_id" is not set`)
    return unknown
  }

  #paths(text: string): Paths {
    const scores = new Float64Array(text.length + 1)
    const starts = new Int32Array(text.length + 1).fill(-1)
    const ids = new Int32Array(text.length + 1)
    const offer = (from: number, to: number, id: number, score: number): void => {
      const total = scores[from] + score
      if (starts[to] >= 0 && total <= scores[to]) return
      scores[to] = total
      starts[to] = from
      ids[to] = id
    }
    for (let from = 0; from < text.length;) {
      const after = from + ((text.codePointAt(from) ?? 0) > 0xffff ? 2 : 1)
      let single = false
      this.#trie.visit(text, from, (to, id) => {
        offer(from, to, id, this.#options.vocab[id][1])
        if (to === after) single = true
      })
      if (!single) offer(from, after, this.#unknownId(text.slice(from, after)), this.#unknownScore)
      from = after
    }
    return { scores, starts, ids }
  }

  /** The text in tokens; neighbouring unknown characters are one. */
  #cut(text: string): string[] {
    const { starts, ids } = this.#paths(text)
    const pieces: string[] = []
    let fusing = false
    for (let to = text.length; to > 0; to = starts[to]) {
      const piece = text.slice(starts[to], to)
      const unknown = ids[to] === this.#options.unk_id
      if (unknown && fusing) pieces[pieces.length - 1] = piece + pieces[pieces.length - 1]
      else pieces.push(piece)
      fusing = unknown
    }
    return pieces.reverse()
  }
}
