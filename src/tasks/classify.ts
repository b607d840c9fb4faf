/** @file Classification of texts, and of pairs of them: a text or two and their class a row. */
import { malformed } from '../data/row.js'
import { valueOfColumn } from '../data/columns.js'
import { valueOf } from '../tensor/index.js'
import { type Label, Labels } from './labels.js'
import { classMeasures } from './measures.js'
import { isObject } from '../data/files.js'
import { joinedWithin, paddedRows, padOf } from './rows.js'
import type { TaskFormat, TaskModel } from './task.js'

/** A text, or two, and their class. */
export interface LabelledText {
  readonly text: string
  /** What the class says of both, where there are two. */
  readonly second?: string
  readonly label: Label
}

/** A column's text. Throws CheckpointError for another value. */
export const textOf = (row: unknown, column: string, where: string): string => {
  const value = valueOfColumn(row, column, where)
  if (typeof value === 'string') return value
  throw malformed(
    where,
    `the column "${column}" must hold text and holds ${JSON.stringify(value)?.slice(0, 40)}`,
  )
}

/** Names by which datasets call two texts. */
const pairColumns: readonly (readonly [string, string])[] = [
  ['text', 'second'],
  ['sentence1', 'sentence2'],
  ['premise', 'hypothesis'],
  ['question1', 'question2'],
  ['question', 'sentence'],
]

/** The columns of a row's texts: two where it has both of a pair. */
const columnsOf = (row: unknown): readonly string[] => {
  const has = (column: string): boolean => isObject(row) && Object.hasOwn(row, column)
  return (
    pairColumns.find((pair) => pair.every(has)) ?? [has('sentence') && !has('text') ? 'sentence' : 'text']
  )
}

/** Rows with `text` (and `second`, or another pair of names) and `label`. */
export const classify = (model: TaskModel): TaskFormat<LabelledText> => {
  const labels = new Labels(model.config, model.fresh)
  return {
    fields: [...new Set(['label', ...pairColumns.flat()])],
    text: 'text',
    label: 'label',
    reading: () => (row, where) => {
      const [text, second] = columnsOf(row).map((column) => textOf(row, column, where))
      const label = labels.read(valueOfColumn(row, 'label', where), where)
      return { text, label, ...(second !== undefined && { second }) }
    },
    settled: () => labels.settle(),
    async batch(records) {
      const tokenizer = await model.tokenizer()
      const rows = records.map(({ text, second }) => joinedWithin(tokenizer, text, second, model.length))
      const classes = records.map(({ label }) => labels.index(label))
      return {
        ...paddedRows(rows, padOf(tokenizer), model),
        labels: valueOf(classes, [rows.length], 'int32'),
      }
    },
    measures: classMeasures,
  }
}
