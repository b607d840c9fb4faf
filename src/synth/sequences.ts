/** @file Sources of symbol sequences: Markov chains, brackets, copies, induction, and mixtures of sources. */
import { UsageError } from '../errors.js'
import { Stream } from '../random/index.js'
import { type Value, valueOf } from '../tensor/value.js'
import { weighted } from './dirichlet.js'
import { append, maxOf } from '../tensor/numbers.js'

/** Sequences over the symbols 0 to symbols - 1. */
export interface SequenceSource {
  readonly symbols: number
  /** One sequence of exactly `length` symbols. */
  sample(stream: Stream, length: number): number[]
}

/** Form of a Markov chain. */
export interface MarkovOptions {
  /** Number of symbols. */
  symbols: number
  /** How many symbols the next one depends on. Default 2. */
  order?: number
  /** Seed of the transitions. */
  seed: number | string
  /** The probability of each context's likeliest symbol; the others share the rest equally. Default 0.7. */
  top?: number
  /** Instead of `top`: transition logits are scale * N(0, 1). */
  logitScale?: number
}

/** A k-th order Markov chain. With `top`, the best next-symbol accuracy past the first k symbols is `top`. Throws UsageError for sizes out of range. */
export class MarkovSource implements SequenceSource {
  readonly symbols: number
  readonly order: number
  /** [symbols^order][symbols], row-major; the latest symbol of a context counts least in its row's number. */
  readonly transitions: Float64Array
  readonly #options: MarkovOptions

  constructor(options: MarkovOptions) {
    const { symbols, order = 2, seed, top = 0.7, logitScale } = options
    if (!(Number.isInteger(symbols) && symbols > 1 && Number.isInteger(order) && order >= 1))
      throw new UsageError('BadMarkov', `symbols ${symbols}, order ${order}; expected at least 2 and 1`)
    if (symbols ** (order + 1) > 2 ** 26)
      throw new UsageError(
        'BadMarkov',
        `${symbols}^${order + 1} transitions are more than 2^26; lower symbols or order`,
      )
    if (!(top >= 1 / symbols && top <= 1))
      throw new UsageError('BadMarkov', `top is ${top}; expected from 1/${symbols} to 1`)
    const stream = new Stream(seed).fork('markov')
    this.symbols = symbols
    this.order = order
    this.#options = options
    this.transitions = new Float64Array(symbols ** (order + 1))
    for (let row = 0; row < this.transitions.length; row += symbols)
      this.transitions.set(
        logitScale === undefined ? topRow(stream, symbols, top) : softmaxRow(stream, symbols, logitScale),
        row,
      )
  }

  /** The probabilities of the symbol after `context` (its last `order` symbols). [symbols] */
  next(context: ArrayLike<number>): Float64Array {
    let row = 0
    for (let i = context.length - this.order; i < context.length; i++) row = row * this.symbols + context[i]
    return this.transitions.subarray(row * this.symbols, (row + 1) * this.symbols)
  }

  /** The first `order` symbols are uniform. */
  sample(stream: Stream, length: number): number[] {
    const sequence: number[] = []
    while (sequence.length < length)
      sequence.push(
        sequence.length < this.order ? stream.int(this.symbols) : weighted(stream, this.next(sequence)),
      )
    return sequence
  }

  /** The same kind of chain with its tables drawn anew. */
  redrawn(seed: number | string): MarkovSource {
    return new MarkovSource({ ...this.#options, seed })
  }
}

const topRow = (stream: Stream, symbols: number, top: number): Float64Array => {
  const row = new Float64Array(symbols).fill((1 - top) / (symbols - 1))
  row[stream.int(symbols)] = top
  return row
}

const softmaxRow = (stream: Stream, symbols: number, scale: number): Float64Array => {
  const weights = Float64Array.from({ length: symbols }, () => Math.exp(scale * stream.normal()))
  const total = weights.reduce((a, b) => a + b, 0)
  return weights.map((w) => w / total)
}

/** A k-th order Markov chain. Throws UsageError as `MarkovSource` does. */
export const markov = (options: MarkovOptions): MarkovSource => new MarkovSource(options)

/**
 * Balanced brackets of `kinds` kinds (kind k opens with 2k and closes with 2k + 1), never deeper than `depth`; what is
 * open at the end of the sequence stays open. Half of the free choices open.
 */
export const brackets = ({
  kinds = 2,
  depth = 6,
}: { kinds?: number; depth?: number } = {}): SequenceSource => ({
  symbols: 2 * kinds,
  sample(stream, length) {
    const open: number[] = []
    return Array.from({ length }, () => {
      const opens = open.length === 0 || (open.length < depth && stream.uniform() < 0.5)
      if (!opens) return 2 * (open.pop() ?? 0) + 1
      open.push(stream.int(kinds))
      return 2 * open[open.length - 1]
    })
  },
})

/** Random spans of `span` symbols, each followed by a separator (the last symbol) and its copy, then another. */
export const copies = ({ symbols, span = 6 }: { symbols: number; span?: number }): SequenceSource => ({
  symbols,
  sample(stream, length) {
    const out: number[] = []
    while (out.length < length) {
      const part = Array.from({ length: span }, () => stream.int(symbols - 1))
      append(out, [...part, symbols - 1, ...part, symbols - 1])
    }
    return out.slice(0, length)
  },
})

/** Random symbols in which a symbol, once seen, is followed each time by what followed it first (in a sequence). */
export const induction = ({
  symbols,
  repeat = 0.7,
}: {
  symbols: number
  repeat?: number
}): SequenceSource => ({
  symbols,
  sample(stream, length) {
    const follower = new Map<number, number>()
    const out = [stream.int(symbols)]
    while (out.length < length) {
      const last = out[out.length - 1]
      const known = follower.get(last)
      const next = known !== undefined && stream.uniform() < repeat ? known : stream.int(symbols)
      if (known === undefined) follower.set(last, next)
      out.push(next)
    }
    return out.slice(0, length)
  },
})

/** Form of a mixture of sources. */
export interface MixedOptions {
  /** How likely each source is, in any unit. Default: equally. */
  weights?: readonly number[]
  /** Give each source symbols of its own, one after the other, instead of the same ones. Default false. */
  disjoint?: boolean
  /** Start each sequence with a symbol that names its source, after all other symbols. Default false. */
  tagged?: boolean
}

/** Each sequence from one of `sources`, drawn at random. `options.weights`: [sources]. Throws UsageError for another number of them. */
export const mixture = (
  sources: readonly SequenceSource[],
  { weights = sources.map(() => 1), disjoint = false, tagged = false }: MixedOptions = {},
): SequenceSource => {
  if (sources.length === 0 || weights.length !== sources.length)
    throw new UsageError('BadMixture', `${sources.length} sources and ${weights.length} weights`)
  const offsets = sources.map((_, i) =>
    disjoint ? sources.slice(0, i).reduce((sum, s) => sum + s.symbols, 0) : 0,
  )
  const ends = sources.map((s, i) => offsets[i] + s.symbols)
  const symbols = maxOf(ends)
  return {
    symbols: symbols + (tagged ? sources.length : 0),
    sample(stream, length) {
      const i = weighted(stream, weights)
      const tag = tagged ? [symbols + i] : []
      const body = sources[i].sample(stream, length - tag.length).map((s) => s + offsets[i])
      return [...tag, ...body].slice(0, length)
    },
  }
}

/** `count` sequences of a source. int64 [count, length]; sequence i depends on the seed and i alone. */
export const sequences = (
  source: SequenceSource,
  { count, length, seed }: { count: number; length: number; seed: number | string },
): Value => {
  const stream = new Stream(seed).fork('sequences')
  const ids = new Int32Array(count * length)
  for (let i = 0; i < count; i++) ids.set(source.sample(stream.fork(i), length), i * length)
  return valueOf(ids, [count, length], 'int64')
}
