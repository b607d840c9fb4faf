/** @file A sequence of draws with a position: for code that wants "the next number" rather than "element e". */
import { WeftError } from '../errors.js'
import { fillWords } from './bulk.js'
import { keyOf, type Seed } from './key.js'
import type { Key } from './philox.js'
import { natural, type Place } from './place.js'
import { ih8Integer, ih8Scale } from './scalar.js'

const bufferWords = 64
const unitsOf53 = 2 ** 53

/**
 * Draws from the sequence of one key, tensor and domain, in order. Equal seeds and equal calls give equal bits
 * everywhere. The whole state is `position`, the number of 32-bit words used so far.
 */
export class Stream {
  readonly key: Key
  readonly tensor: number
  readonly domain: number
  #position = 0
  #buffer = new Uint32Array(bufferWords)
  /** Index in the sequence of the first buffered word; none yet. */
  #buffered = -1

  /** Throws SeedError or PlaceError. */
  constructor(seed: Seed, { tensor = 0, domain = 0 }: Pick<Place, 'tensor' | 'domain'> = {}) {
    this.key = keyOf(seed)
    this.tensor = natural('tensor', tensor, 0xffffffff)
    this.domain = natural('domain', domain, 0xffffffff)
  }

  /** The number of words used so far: save it, and `restore` it to go on from there. */
  get state(): number {
    return this.#position
  }

  /** Goes to a position saved from `state`. Throws PlaceError. */
  restore(state: number): void {
    this.#position = natural('state', state, Number.MAX_SAFE_INTEGER)
  }

  /** The next word, an integer in [0, 2^32). */
  uint32(): number {
    const slot = this.#position % bufferWords
    if (this.#buffered !== this.#position - slot) {
      this.#buffered = this.#position - slot
      const { tensor, domain } = this
      fillWords(this.#buffer, this.key, { tensor, domain, first: this.#buffered })
    }
    this.#position++
    return this.#buffer[slot]
  }

  /** Uniform in [0, 1) with 53 random bits; two words. */
  uniform(): number {
    return this.#bits53() / unitsOf53
  }

  /** Standard normal: the `ih8` sampler (see `normal` of the bulk draws) on the next four words, a float32 number. */
  normal(): number {
    return Math.fround(ih8Integer(this.uint32(), this.uint32(), this.uint32(), this.uint32()) * ih8Scale)
  }

  /** 1 or -1; one word. */
  rademacher(): number {
    return 1 - 2 * (this.uint32() & 1)
  }

  /**
   * A uniform integer in [0, n), without bias: draws past the last multiple of n are drawn again. Throws WeftError
   * (RangeError) unless n is 1 to 2^53 - 1.
   */
  int(n: number): number {
    if (!Number.isSafeInteger(n) || n < 1)
      throw new WeftError('RangeError', `int(${n}): the bound must be an integer from 1 to 2^53 - 1`)
    const wide = n > 2 ** 32
    const total = wide ? unitsOf53 : 2 ** 32
    const limit = total - (total % n)
    for (;;) {
      const x = wide ? this.#bits53() : this.uint32()
      if (x < limit) return x % n
    }
  }

  /** One of `items`, each equally likely. Throws WeftError (RangeError) when there is none. */
  choice<T>(items: ArrayLike<T>): T {
    if (items.length === 0) throw new WeftError('RangeError', 'choice: there is nothing to choose from')
    return items[this.int(items.length)]
  }

  /** The integers 0 to n - 1 in random order, every order equally likely. */
  permutation(n: number): Uint32Array {
    const order = new Uint32Array(natural('permutation', n, 0xffffffff))
    for (let i = 0; i < n; i++) order[i] = i
    return this.shuffle(order)
  }

  /** Puts an array in random order, in place (Fisher and Yates), and returns it. */
  shuffle<T extends { length: number; [index: number]: unknown }>(items: T): T {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.int(i + 1)
      const kept = items[i]
      items[i] = items[j]
      items[j] = kept
    }
    return items
  }

  /** The next n bytes; whole words are used. */
  bytes(n: number): Uint8Array {
    const out = new Uint8Array(natural('bytes', n, 0xffffffff))
    for (let i = 0; i < n; i += 4) {
      const word = this.uint32()
      for (let j = i; j < Math.min(i + 4, n); j++) out[j] = word >>> ((j - i) * 8)
    }
    return out
  }

  /**
   * A stream of its own, named under this one: it depends on the seed, tensor, domain and name alone, not on how much
   * has been drawn, so adding a draw here moves nothing there.
   */
  fork(name: string | number): Stream {
    return new Stream(`${this.key.join()},${this.tensor},${this.domain}/${JSON.stringify(name)}`)
  }

  #bits53(): number {
    const high = this.uint32() >>> 5
    return high * 67108864 + (this.uint32() >>> 6)
  }
}
