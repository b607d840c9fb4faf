/** @file Exact match and F1 of answers, over all windows of their texts (Rajpurkar et al. 2016, section 6.1). */
import { full } from '../tensor/index.js'
import type { Measures } from '../train/index.js'
import type { Answer } from './answer-rows.js'
import type { PlacedTokens } from './words.js'

/** What a row of a batch shows of a text. */
export interface Window {
  /** Number of the question. */
  readonly example: number
  readonly context: string
  readonly answers: readonly Answer[]
  /** Tokens of the whole text. */
  readonly text: PlacedTokens
  /** Where in the row the text's tokens begin, which of the text's tokens is the first there, and how many follow. */
  readonly offset: number
  readonly from: number
  readonly count: number
}

/** Most tokens of an answer. */
const longest = 30

/** Words without case, punctuation and articles. */
const wordsOf = (text: string): string[] =>
  text
    .toLowerCase()
    .replace(/[!-/:-@[-`{-~]/g, '')
    .replace(/\b(a|an|the)\b/g, ' ')
    .split(/\s+/)
    .filter((word) => word !== '')

/** F1 of the words that an answer has in common with the right one: 1 where both have none. */
export const wordF1 = (answer: string, right: string): number => {
  const given = wordsOf(answer)
  const wanted = wordsOf(right)
  if (given.length === 0 || wanted.length === 0) return Number(given.length === wanted.length)
  const left = new Map<string, number>()
  for (const word of wanted) left.set(word, (left.get(word) ?? 0) + 1)
  let common = 0
  for (const word of given) {
    const count = left.get(word) ?? 0
    if (count === 0) continue
    common++
    left.set(word, count - 1)
  }
  return (2 * common) / (given.length + wanted.length)
}

/** Whether two answers are the same words. */
export const isExact = (answer: string, right: string): boolean =>
  wordsOf(answer).join(' ') === wordsOf(right).join(' ')

/** The likeliest span of a window, and how likely it is that there is none. logits: [time, 2] of the row. */
const bestOf = (
  { context, text, offset, from, count }: Window,
  logits: (token: number, end: 0 | 1) => number,
): { answer: string; score: number; none: number } => {
  let best = { answer: '', score: -Infinity }
  for (let first = 0; first < count; first++)
    for (let last = first; last < Math.min(count, first + longest); last++) {
      const score = logits(offset + first, 0) + logits(offset + last, 1)
      if (score <= best.score) continue
      best = { answer: context.slice(text.starts[from + first], text.ends[from + last]), score }
    }
  return { ...best, none: logits(0, 0) + logits(0, 1) }
}

/** The question whose windows are being gone through. */
interface Open {
  readonly example: number
  readonly answers: readonly Answer[]
  answer: string
  score: number
  none: number
}

/**
 * Shares of questions whose answer is one of the right ones, and mean F1 of words with the likest of them. window: what a row
 * showed; mayBeNone: whether there are questions without an answer, so that none is one. Windows of a question follow each
 * other. logits: [batch, time, 2].
 */
export const answerMeasures = (
  windowOf: (number: number) => Window | undefined,
  mayBeNone: () => boolean,
): Measures => ({
  tensors: ({ logits }, { windows }) => ({
    logits,
    windows,
    time: full([1], logits.shape[1], 'int32'),
  }),
  start() {
    const sums = { questions: 0, exact: 0, f1: 0 }
    let open: Open | undefined
    const close = (): void => {
      if (!open) return
      const given = mayBeNone() && open.none > open.score ? '' : open.answer
      const right = open.answers.length > 0 ? open.answers.map(({ text }) => text) : ['']
      sums.questions++
      sums.exact += Number(right.some((text) => isExact(given, text)))
      sums.f1 += right.reduce((most, text) => Math.max(most, wordF1(given, text)), 0)
      open = undefined
    }
    return {
      add({ logits, windows, time }) {
        const width = Number(time[0])
        Array.from(windows, Number).forEach((number, row) => {
          const window = windowOf(number)
          if (!window) return
          const { example, answers } = window
          const { answer, score, none } = bestOf(window, (token, end) =>
            Number(logits[(row * width + token) * 2 + end]),
          )
          if (open?.example !== example) close()
          if (!open) open = { example, answers, answer, score, none }
          else if (score > open.score) Object.assign(open, { answer, score })
          open.none = Math.min(open.none, none)
        })
      },
      result() {
        close()
        return { exactMatch: sums.exact / sums.questions, wordF1: sums.f1 / sums.questions }
      },
    }
  },
})
