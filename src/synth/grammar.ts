/** @file Context-free grammars: sentences drawn from weighted rules. */
import { UsageError } from '../errors.js'
import { Stream } from '../random/index.js'
import { weighted } from './dirichlet.js'
import { maxOf, minOf } from '../tensor/numbers.js'

/**
 * A symbol's alternatives: words and symbols separated by spaces, or that with a weight (default 1). What is no key of
 * the rules is a word; '' is nothing.
 */
export type Rules = Readonly<
  Record<string, readonly (string | readonly [weight: number, expansion: string])[]>
>

interface Alternative {
  weight: number
  parts: readonly string[]
  /** The height of its lowest tree. */
  height: number
}

const parsed = (rules: Rules): Map<string, Alternative[]> =>
  new Map(
    Object.entries(rules).map(([symbol, alternatives]) => [
      symbol,
      alternatives.map((a) => {
        const [weight, expansion] = typeof a === 'string' ? [1, a] : a
        return { weight, parts: expansion.split(' ').filter((part) => part !== ''), height: Infinity }
      }),
    ]),
  )

/** Sets the heights, lowest first, until nothing changes. */
const measure = (table: Map<string, Alternative[]>): void => {
  const height = (symbol: string): number => {
    const alternatives = table.get(symbol)
    return alternatives ? minOf(alternatives.map((a) => a.height)) : 0
  }
  for (let changed = true; changed;) {
    changed = false
    for (const alternative of [...table.values()].flat()) {
      const now = 1 + maxOf(alternative.parts.map(height), 0)
      changed ||= now < alternative.height
      alternative.height = Math.min(alternative.height, now)
    }
  }
}

/** Sentences of a context-free grammar. Throws UsageError for a start without rules and for a symbol that can never end. */
export class Grammar {
  readonly #table: Map<string, Alternative[]>
  readonly #start: string
  readonly #depth: number

  /**
   * Sentences come from `start`. Past `depth` levels (default 12) the lowest alternatives are taken, so every sentence
   * ends. Throws UsageError for a start without rules and for a symbol that can never end.
   */
  constructor(rules: Rules, { start = 'S', depth = 12 }: { start?: string; depth?: number } = {}) {
    this.#table = parsed(rules)
    this.#start = start
    this.#depth = depth
    if (!this.#table.has(start)) throw new UsageError('BadGrammar', `the start symbol ${start} has no rules`)
    measure(this.#table)
    for (const [symbol, alternatives] of this.#table)
      if (alternatives.every((a) => a.height === Infinity))
        throw new UsageError('BadGrammar', `the symbol ${symbol} never comes to an end`)
  }

  /** Every word that the rules contain, in order of appearance. */
  get words(): string[] {
    const parts = [...this.#table.values()].flat().flatMap((a) => a.parts)
    return [...new Set(parts.filter((part) => !this.#table.has(part)))]
  }

  /** The words of one sentence. */
  sentence(stream: Stream): string[] {
    const expand = (symbol: string, level: number): string[] => {
      const alternatives = this.#table.get(symbol)
      if (!alternatives) return [symbol]
      const lowest = minOf(alternatives.map((a) => a.height))
      const open = alternatives.filter((a) =>
        level < this.#depth ? a.height < Infinity : a.height === lowest,
      )
      const chosen =
        open[
          weighted(
            stream,
            open.map((a) => a.weight),
          )
        ]
      return chosen.parts.flatMap((part) => expand(part, level + 1))
    }
    return expand(this.#start, 0)
  }

  /** `count` sentences. */
  sentences(count: number, seed: number | string): string[][] {
    const stream = new Stream(seed).fork('grammar')
    return Array.from({ length: count }, () => this.sentence(stream))
  }
}

/** Phrases whose verb agrees with the subject in number, whatever noun stands between them. About 40 words. */
export const phraseRules: Rules = {
  S: ['ONE', 'MANY'],
  ONE: ['D1 NP1 V1 O'],
  MANY: ['D2 NP2 V2 O'],
  NP1: [
    [3, 'N1'],
    [1, 'ADJ N1'],
    [1, 'N1 PP'],
  ],
  NP2: [
    [3, 'N2'],
    [1, 'ADJ N2'],
    [1, 'N2 PP'],
  ],
  PP: ['P D1 N1', 'P D2 N2'],
  O: ['D1 N1', 'D2 N2', 'D1 ADJ N1'],
  D1: ['the', 'a', 'this'],
  D2: ['the', 'some', 'these'],
  P: ['near', 'behind', 'with'],
  ADJ: ['old', 'red', 'quiet', 'small'],
  N1: ['dog', 'cat', 'child', 'bird', 'king'],
  N2: ['dogs', 'cats', 'children', 'birds', 'kings'],
  V1: ['sees', 'likes', 'follows', 'hears'],
  V2: ['see', 'like', 'follow', 'hear'],
}
