/** @file Answers of a row, in the forms in which datasets have them. */
import { isObject } from '../data/files.js'
import { malformed } from '../data/row.js'

/** An answer, and where in its text it begins. */
export interface Answer {
  readonly text: string
  /** Number of the character. */
  readonly start: number
}

/** What a cell holds: of JSON in a text, what that says. */
const parsed = (value: unknown, where: string): unknown => {
  if (typeof value !== 'string' || !/^\s*[[{]/.test(value)) return value
  try {
    return JSON.parse(value)
  } catch (cause) {
    throw malformed(where, `the column "answers" is no JSON: ${value.slice(0, 40)}`, { cause })
  }
}

const isList = (value: unknown): value is ArrayLike<unknown> =>
  Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView))

const listOf = (value: unknown): unknown[] =>
  value === undefined || value === null ? [] : isList(value) ? Array.from(value) : [value]

/** Texts and beginnings, each undefined where the row does not say it. */
const entriesOf = (row: Record<string, unknown>, where: string): { text: unknown; start: unknown }[] => {
  const { answers, answer, answer_start, start, end, context } = row
  const held = parsed(answers ?? answer, where)
  if (isObject(held) && !isList(held)) {
    const starts = listOf(held.answer_start ?? held.start)
    return listOf(held.text).map((text, i) => ({ text, start: starts[i] }))
  }
  if (isList(held))
    return Array.from(held, (one) =>
      isObject(one)
        ? { text: one.text, start: one.answer_start ?? one.start }
        : { text: one, start: undefined },
    )
  const from = answer_start ?? start
  if (held === undefined && from !== undefined && end !== undefined)
    return [{ text: String(context).slice(Number(from), Number(end)), start: from }]
  return held === undefined || held === null || held === '' ? [] : [{ text: held, start: from }]
}

/**
 * The answers of a row: `answers` as SQuAD has it ({ text: [...], answer_start: [...] }), a list of such or of texts, `answer`
 * with `answer_start`, or `start` and `end`; none where the row says none. An answer without its place is looked for. Throws
 * CheckpointError for one that does not stand in `context` where it should.
 */
export const answersIn = (row: unknown, context: string, where: string): Answer[] => {
  if (!isObject(row)) return []
  const keys = ['answers', 'answer', 'start', 'answer_start']
  if (!keys.some((key) => Object.hasOwn(row, key)))
    throw malformed(where, 'there is no column "answers"; a question without answers has an empty list there')
  return entriesOf(row, where).map(({ text, start }) => {
    if (typeof text !== 'string' || text === '')
      throw malformed(where, `an answer is ${JSON.stringify(text) ?? 'missing'}; expected its text`)
    const from = start === undefined || start === null || start === '' ? context.indexOf(text) : Number(start)
    if (Number.isInteger(from) && from >= 0 && context.startsWith(text, from)) return { text, start: from }
    const shown = JSON.stringify(text.slice(0, 40))
    throw malformed(
      where,
      from < 0 || Number.isNaN(from)
        ? `the answer ${shown} does not stand in the context`
        : `the answer ${shown} does not stand at character ${from} of the context`,
    )
  })
}
