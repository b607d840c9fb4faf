/** @file Finding answers: a question, the text that answers it, and where it does (Rajpurkar et al. 2016, arXiv 1606.05250). */
import { malformed, type ReadRow } from '../data/row.js'
import { valueOf } from '../tensor/index.js'
import type { Tokenizer } from '../text/index.js'
import type { Batch } from '../train/index.js'
import { answerMeasures, type Window } from './answer-measures.js'
import { type Answer, answersIn } from './answer-rows.js'
import { textOf } from './classify.js'
import { paddedRows, padOf } from './rows.js'
import type { TaskFormat, TaskModel } from './task.js'
import { type PlacedTokens, placedTokens } from './words.js'

/** A question about a text, its answers, and which window of the text a row shows. */
export interface QuestionAndAnswers {
  readonly question: string
  readonly context: string
  /** None where the text does not answer the question. */
  readonly answers: readonly Answer[]
  /** Number of the window. Default 0. */
  readonly part?: number
}

/** Tokens of a text that two windows next to each other share, where there is room for as many again. */
const defaultOverlap = 128

/** How many rows are remembered for the measures: more than an evaluation has in flight. */
const remembered = 8192

/** Tokens of a question, those of the text, and the windows in which the text is shown. */
interface Layout {
  readonly question: readonly number[]
  readonly text: PlacedTokens
  /** Tokens of the text in a window. */
  readonly room: number
  readonly windows: number
  /** Tokens from one window's beginning to the next one's. */
  readonly step: number
}

const layoutOf = (
  tokenizer: Tokenizer,
  { question, context }: Pick<QuestionAndAnswers, 'question' | 'context'>,
  { length, overlap = defaultOverlap }: Pick<TaskModel, 'length' | 'overlap'>,
): Layout => {
  const special = tokenizer.join([], []).ids.length
  const asked = tokenizer.encode(question, { special: false }).slice(0, Math.floor((length - special) / 2))
  const text = placedTokens(tokenizer, context)
  const room = Math.max(1, length - special - asked.length)
  const step = room - Math.min(overlap, Math.floor(room / 2))
  const windows = 1 + Math.ceil(Math.max(0, text.ids.length - room) / step)
  return { question: asked, text, room, windows, step }
}

/** The first and the last token of an answer. */
const tokensOf = ({ starts, ends }: PlacedTokens, { start, text }: Answer): [first: number, last: number] => [
  ends.findIndex((end) => end > start),
  starts.findLastIndex((from) => from < start + text.length),
]

/** One row: the ids, where the answer's first and last token stand (at the first token where the window has it not). */
const rowOf = (
  tokenizer: Tokenizer,
  { question, text, room, step }: Layout,
  [answer]: readonly Answer[],
  part: number,
) => {
  const from = part * step
  const shown = text.ids.slice(from, from + room)
  const { ids, types, starts } = tokenizer.join(question, shown)
  const [first, last] = answer ? tokensOf(text, answer) : [-1, -1]
  const isInside = first >= from && last >= first && last < from + shown.length
  const place = (token: number): number => (isInside ? starts[1] + token - from : 0)
  return { ids, types, ends: [place(first), place(last)], offset: starts[1], from, count: shown.length }
}

/** Rows as a batch: the model's inputs, where the answers begin and end, and the number of each row. */
const batchOf = (
  rows: readonly (ReturnType<typeof rowOf> & { readonly number: number })[],
  tokenizer: Tokenizer,
  model: TaskModel,
): Batch => ({
  ...paddedRows(rows, padOf(tokenizer), model),
  labels: valueOf(
    rows.flatMap(({ ends }) => ends),
    [rows.length, 2],
    'int32',
  ),
  windows: valueOf(
    rows.map(({ number }) => number),
    [rows.length],
    'int32',
  ),
})

/** Reader of rows; `found` is told how many answers each has. */
const readingOf =
  (found: (count: number) => void): ReadRow<QuestionAndAnswers> =>
  (row, where) => {
    const question = textOf(row, 'question', where)
    const context = textOf(row, 'context', where)
    if (context.trim() === '') throw malformed(where, 'the column "context" is empty')
    const right = answersIn(row, context, where)
    found(right.length)
    return { question, context, answers: right }
  }

/** Rows with `question`, `context` and `answers`, of which long texts give several. */
export const answers = (model: TaskModel): TaskFormat<QuestionAndAnswers> => {
  const windows = new Map<number, Window>()
  let made = 0
  let example = -1
  let hasUnanswered = false
  const remember = (window: Window): number => {
    windows.set(made, window)
    windows.delete(made - remembered)
    return made++
  }
  const rowFor = (record: QuestionAndAnswers, tokenizer: Tokenizer) => {
    const { part = 0, context, answers } = record
    const layout = layoutOf(tokenizer, record, model)
    const row = rowOf(tokenizer, layout, answers, part)
    if (part === 0) example++
    const { offset, from, count } = row
    const number = remember({ example, context, answers, text: layout.text, offset, from, count })
    return { ...row, number }
  }
  return {
    fields: ['question', 'context', 'answers', 'answer', 'answer_start', 'start', 'end'],
    text: 'context',
    label: 'answers',
    reading: () => readingOf((count) => (hasUnanswered ||= count === 0)),
    parts: async (record) => layoutOf(await model.tokenizer(), record, model).windows,
    settled: () => (model.fresh ? model.config : undefined),
    async batch(records) {
      const tokenizer = await model.tokenizer()
      return batchOf(
        records.map((record) => rowFor(record, tokenizer)),
        tokenizer,
        model,
      )
    },
    measures: answerMeasures(
      (number) => windows.get(number),
      () => hasUnanswered,
    ),
  }
}
