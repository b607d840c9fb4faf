/** @file Arithmetic as text: sums, products, chains of steps, and worked additions. */
import { UsageError } from '../errors.js'
import { Stream } from '../random/index.js'
import type { CompletionRecord } from '../text/index.js'

/** Kind of an exercise. */
export type ArithmeticKind = 'addition' | 'subtraction' | 'multiplication' | 'chain' | 'worked'

/** Number and form of exercises. */
export interface ArithmeticOptions {
  /** Number of exercises. */
  count: number
  /** Seed of every draw. */
  seed: number | string
  /**
   * addition `37+48=` `85`; subtraction `48-37=` `11` (may be negative); multiplication `7*8=` `56`; chain
   * `(3+4)-5=` `2`; worked `37+48=` `7+8=15,3+4+1=8#85`, column by column from the right, the answer after `#`.
   * Default addition.
   */
  kind?: ArithmeticKind
  /** Operands have 1 to this many digits (worked: exactly this many). Default 2. */
  digits?: number
  /** Operations of a chain. Default 2. */
  steps?: number
  /** Write the answer's digits from the last to the first, which is easier to learn. Default false. */
  reversed?: boolean
}

const reverse = (text: string): string => [...text].reverse().join('')

/** The columns of a + b from the right, with the carry into a column as its third term, and the answer after #. */
export const workedAddition = (a: number, b: number): string => {
  const columns: string[] = []
  let carry = 0
  for (
    let [x, y] = [a, b];
    x > 0 || y > 0 || columns.length === 0;
    x = Math.floor(x / 10), y = Math.floor(y / 10)
  ) {
    const sum = (x % 10) + (y % 10) + carry
    columns.push(`${x % 10}+${y % 10}${carry ? '+1' : ''}=${sum}`)
    carry = sum >= 10 ? 1 : 0
  }
  return `${columns.join(',')}#${a + b}`
}

const chain = (stream: Stream, bound: number, steps: number): [string, number] => {
  let answer = stream.int(bound)
  let text = String(answer)
  for (let i = 0; i < steps; i++) {
    const operand = stream.int(bound)
    const plus = stream.rademacher() > 0
    answer += plus ? operand : -operand
    text = `${i > 0 ? `(${text})` : text}${plus ? '+' : '-'}${operand}`
  }
  return [text, answer]
}

/** The exercise and its answer, as text. */
const exercise = (
  stream: Stream,
  { kind = 'addition', digits = 2, steps = 2 }: ArithmeticOptions,
): [string, string] => {
  const bound = 10 ** digits
  const operand = (): number => stream.int(bound)
  if (kind === 'chain') {
    const [text, answer] = chain(stream, bound, steps)
    return [text, String(answer)]
  }
  if (kind === 'worked') {
    const full = (): number => 10 ** (digits - 1) + stream.int(bound - 10 ** (digits - 1))
    const [a, b] = [full(), full()]
    return [`${a}+${b}`, workedAddition(a, b)]
  }
  const [a, b] = [operand(), operand()]
  if (kind === 'addition') return [`${a}+${b}`, String(a + b)]
  if (kind === 'subtraction') return [`${a}-${b}`, String(a - b)]
  return [`${a}*${b}`, String(a * b)]
}

/** Exercises drawn with equal chance for each operand, repetitions included. The prompt ends with `=`. Throws UsageError for digits below 1 or above 7. */
export const arithmetic = (options: ArithmeticOptions): CompletionRecord[] => {
  const { count, seed, digits = 2, reversed = false } = options
  if (!Number.isInteger(digits) || digits < 1 || digits > 7)
    throw new UsageError('BadArithmetic', `digits is ${digits}; expected 1 to 7`)
  const stream = new Stream(seed).fork('arithmetic')
  return Array.from({ length: count }, () => {
    const [question, answer] = exercise(stream, options)
    return { prompt: `${question}=`, completion: reversed ? reverse(answer) : answer }
  })
}

const rotate = (s: string): string => s.slice(1) + s.slice(0, 1)

/** Edits of a string of digits: tasks that can be chained. */
export const edits: Record<string, (digits: string) => string> = {
  copy: (s) => s,
  reverse,
  sort: (s) => [...s].sort().join(''),
  increment: (s) => s.replace(/\d/g, (d) => String((Number(d) + 1) % 10)),
  double: (s) => s.replace(/\d/g, (d) => String((Number(d) * 2) % 10)),
  rotate,
  swap: (s) => s.replace(/(.)(.)/g, '$2$1'),
}

/** Number and form of edits. */
export interface EditOptions {
  /** Number of strings. */
  count: number
  /** Seed of every draw. */
  seed: number | string
  /** Names of edits, applied from first to last; the prompt names them. */
  steps: readonly string[]
  /** Digits in the string. Default 6. */
  length?: number
}

/** Strings of digits to edit: `reverse sort 301:` `013`. Throws UsageError for an edit that is unknown. */
export const editing = ({ count, seed, steps, length = 6 }: EditOptions): CompletionRecord[] => {
  for (const step of steps)
    if (!(step in edits))
      throw new UsageError('BadEdit', `there is no edit "${step}"; expected ${Object.keys(edits).join(', ')}`)
  const stream = new Stream(seed).fork('editing')
  return Array.from({ length: count }, () => {
    const digits = Array.from({ length }, () => stream.int(10)).join('')
    return {
      prompt: `${steps.join(' ')} ${digits}:`,
      completion: steps.reduce((s, step) => edits[step](s), digits),
    }
  })
}
