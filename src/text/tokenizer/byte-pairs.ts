/** @file The byte-pair model: characters joined pair by pair, the pair that was learned first before all others. */
import { Heap } from './heap.js'
import { bytesOf } from './unicode.js'
import { byteIds, type Vocabulary } from './vocabulary.js'
import { append } from '../../tensor/numbers.js'

/** What a byte-pair model is told beside its vocabulary. */
export interface BytePairModelOptions {
  /** Pairs of tokens, the first to be joined first. */
  merges: readonly (readonly [string, string])[]
  /** The token of a character that is not in the vocabulary. Default: such a character is left out. */
  unk_token?: string | null
  /** Stands before every character of a piece but the first. */
  continuing_subword_prefix?: string | null
  /** Stands after the last character of a piece. */
  end_of_word_suffix?: string | null
  /** Neighbouring unknown characters are one token. Default false. */
  fuse_unk?: boolean | null
  /** A character that is not in the vocabulary is spelled by tokens of its bytes, where all are there. Default false. */
  byte_fallback?: boolean | null
  /** A piece that is a token is that token, whatever the merges make of it. Default false. */
  ignore_merges?: boolean | null
}

/** A pair of ids as one number: ids stay below 2^24. */
const pairOf = (a: number, b: number): number => a * 2 ** 24 + b

/** A merge in the queue as one number: by rank, then by place. A piece has fewer than 2^28 characters. */
const places = 2 ** 28

const cacheSize = 10_000
const longestCached = 256

/** The byte-pair model (Sennrich et al. 2016). */
export class BytePairModel {
  readonly #options: BytePairModelOptions
  readonly #ranks = new Map<number, number>()
  readonly #results: Int32Array
  readonly #cache = new Map<string, readonly number[]>()
  readonly #unknown: number | undefined

  /** Throws an Error for a merge of or into what is not in the vocabulary, and for such an `unk_token`. */
  constructor(
    readonly vocabulary: Vocabulary,
    options: BytePairModelOptions,
  ) {
    this.#options = options
    const cutOff = options.continuing_subword_prefix?.length ?? 0
    const idOf = (token: string, merge: readonly [string, string]): number => {
      const id = vocabulary.id(token)
      if (id !== undefined) return id
      throw new Error(
        `the merge ${JSON.stringify(merge)} needs the token ${JSON.stringify(token)}, which is not in the vocabulary`,
      )
    }
    this.#results = new Int32Array(options.merges.length)
    options.merges.forEach((merge, rank) => {
      const [a, b] = merge
      this.#ranks.set(pairOf(idOf(a, merge), idOf(b, merge)), rank)
      this.#results[rank] = idOf(a + b.slice(cutOff), merge)
    })
    this.#unknown = options.unk_token == null ? undefined : vocabulary.id(options.unk_token)
  }

  /** The ids of a piece of text. Throws an Error for an unknown character where the `unk_token` is no token. */
  tokenize(piece: string): readonly number[] {
    if (this.#options.ignore_merges) {
      const whole = this.vocabulary.id(piece)
      if (whole !== undefined) return [whole]
    }
    const known = this.#cache.get(piece)
    if (known) return known
    const ids = this.#merged(this.#symbols(piece))
    if (piece.length < longestCached && this.#cache.size < cacheSize) this.#cache.set(piece, ids)
    return ids
  }

  #unknownId(): number | undefined {
    const { unk_token: token } = this.#options
    if (token != null && this.#unknown === undefined)
      throw new Error(`the "unk_token" ${JSON.stringify(token)} is not in the vocabulary`)
    return this.#unknown
  }

  /** The ids of single characters. */
  #symbols(piece: string): number[] {
    const {
      continuing_subword_prefix: prefix,
      end_of_word_suffix: suffix,
      fuse_unk,
      byte_fallback,
    } = this.#options
    const characters = Array.from(piece)
    const ids: number[] = []
    let unknown: number | undefined
    const endUnknown = (): void => {
      if (unknown !== undefined) ids.push(unknown)
      unknown = undefined
    }
    characters.forEach((character, i) => {
      let symbol = character
      if (prefix && i > 0) symbol = prefix + symbol
      if (suffix && i === characters.length - 1) symbol += suffix
      const id = this.vocabulary.id(symbol)
      if (id !== undefined) {
        endUnknown()
        ids.push(id)
        return
      }
      const bytes = byte_fallback ? byteIds(bytesOf(symbol), this.vocabulary) : undefined
      // As in the reference, bytes stand before an unknown character that waits to be fused.
      if (bytes) append(ids, bytes)
      else {
        if (!fuse_unk) endUnknown()
        unknown = this.#unknownId()
      }
    })
    endUnknown()
    return ids
  }

  /** The ids after all merges, in the order of their ranks and, of equal ones, from the left. */
  #merged(ids: number[]): readonly number[] {
    const next = ids.map((_, i) => (i + 1 < ids.length ? i + 1 : -1))
    const previous = ids.map((_, i) => i - 1)
    const gone = new Uint8Array(ids.length)
    const queue = new Heap()
    const rankAt = (i: number): number | undefined =>
      next[i] < 0 ? undefined : this.#ranks.get(pairOf(ids[i], ids[next[i]]))
    const enqueue = (i: number): void => {
      const rank = rankAt(i)
      if (rank !== undefined) queue.push(rank * places + i)
    }
    for (let i = 0; i < ids.length; i++) enqueue(i)
    for (let top = queue.pop(); top !== undefined; top = queue.pop()) {
      const i = top % places
      const result = this.#results[Math.floor(top / places)]
      const now = gone[i] ? undefined : rankAt(i)
      // What stood there when it was queued may have been joined since.
      if (now === undefined || this.#results[now] !== result) continue
      const right = next[i]
      ids[i] = result
      gone[right] = 1
      next[i] = next[right]
      if (next[i] >= 0) previous[next[i]] = i
      if (previous[i] >= 0) enqueue(previous[i])
      enqueue(i)
    }
    return ids.filter((_, i) => !gone[i])
  }
}
