/** @file Classification of texts: a text and its class a row. */
import { malformed } from '../data/row.js'
import { valueOfColumn } from '../data/columns.js'
import { valueOf } from '../tensor/index.js'
import { type Label, Labels } from './labels.js'
import { classMeasures } from './measures.js'
import { encodedWithin, paddedIds, padOf } from './rows.js'
import type { TaskFormat, TaskModel } from './task.js'

/** A text and its class. */
export interface LabelledText {
  readonly text: string
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

/** Rows with `text` and `label`. */
export const classify = (model: TaskModel): TaskFormat<LabelledText> => {
  const labels = new Labels(model.config)
  return {
    fields: ['text', 'label'],
    text: 'text',
    label: 'label',
    reading: () => (row, where) => ({
      text: textOf(row, 'text', where),
      label: labels.read(valueOfColumn(row, 'label', where), where),
    }),
    settled: () => labels.settle(),
    async batch(records) {
      const tokenizer = await model.tokenizer()
      const rows = records.map(({ text }) => encodedWithin(tokenizer, text, model.length))
      const classes = records.map(({ label }) => labels.index(label))
      return { ...paddedIds(rows, padOf(tokenizer), model), labels: valueOf(classes, [rows.length], 'int32') }
    },
    measures: classMeasures,
  }
}
