/** @file The vocabulary of a model: tokens and their ids. */
import { isObject } from '../../data/files.js'

/** Ids are places in a list, so an id far beyond any vocabulary would take memory for all before it. */
const idLimit = 2 ** 24

/** Whether `id` can be the id of a token. */
export const isId = (id: unknown): id is number =>
  Number.isInteger(id) && (id as number) >= 0 && (id as number) < idLimit

const isScored = (entry: unknown): boolean =>
  Array.isArray(entry) && entry.length === 2 && typeof entry[0] === 'string' && typeof entry[1] === 'number'

/** What is wrong with a vocabulary: an object of ids, or a unigram model's list of tokens with their scores. */
export const vocabularyFault = (vocab: unknown): string | undefined => {
  if (Array.isArray(vocab)) {
    const at = vocab.findIndex((entry) => !isScored(entry))
    return at < 0 ? undefined : `its "model.vocab[${at}]" is no pair of a token and a score`
  }
  if (!isObject(vocab)) return 'its "model.vocab" is neither an object nor a list'
  const odd = Object.entries(vocab).find(([, id]) => !isId(id))
  return odd && `its "model.vocab" gives ${JSON.stringify(odd[0])} the id ${JSON.stringify(odd[1])}`
}

/** Tokens and their ids, both ways. */
export class Vocabulary {
  readonly #ids: Map<string, number>
  readonly #tokens: string[] = []

  constructor(entries: Iterable<readonly [string, number]>) {
    this.#ids = new Map(entries)
    for (const [token, id] of this.#ids) this.#tokens[id] = token
  }

  /** How many tokens there are. */
  get size(): number {
    return this.#ids.size
  }

  /** One more than the highest id. */
  get end(): number {
    return this.#tokens.length
  }

  /** The id of `token`. */
  id(token: string): number | undefined {
    return this.#ids.get(token)
  }

  /** The token with the id `id`. */
  token(id: number): string | undefined {
    return this.#tokens[id]
  }
}

/** The ids of the tokens `<0x00>` to `<0xFF>` that spell `bytes`; undefined unless there is one for each. */
export const byteIds = (bytes: Uint8Array, vocabulary: Vocabulary): number[] | undefined => {
  const ids: number[] = []
  for (const byte of bytes) {
    const id = vocabulary.id(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`)
    if (id === undefined) return undefined
    ids.push(id)
  }
  return ids
}
