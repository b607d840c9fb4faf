/** @file Sequence to sequence: a source and its target a row. */
import { isObject } from '../data/files.js'
import { malformed } from '../data/row.js'
import { type DataRecord, toRecord } from '../text/records.js'
import { textOf } from './classify.js'
import { sequenceMeasures } from './measures.js'
import { encodedWithin, filled, paddedIds, padOf, timeOf } from './rows.js'
import type { TaskFormat, TaskModel } from './task.js'

/** A text and what the model shall make of it. */
export interface SourceAndTarget {
  readonly source: string
  readonly target: string
}

const ofRecord = (record: DataRecord, where: string): SourceAndTarget => {
  if ('completion' in record) return { source: record.prompt, target: record.completion }
  if ('choices' in record) return { source: record.prompt, target: record.choices[record.answer] }
  throw malformed(where, 'it has a text and no target; expected "prompt" and "completion"')
}

/** Rows with `prompt` and `completion` (or `source` and `target`, or instructions with their outputs). */
export const sequence = (model: TaskModel): TaskFormat<SourceAndTarget> => ({
  fields: [
    ...['prompt', 'completion', 'source', 'target', 'instruction', 'input', 'output', 'system'],
    ...['question', 'choices', 'answer'],
  ],
  text: 'prompt',
  label: 'completion',
  reading: () => (row, where) => {
    if (isObject(row) && 'source' in row && 'target' in row)
      return { source: textOf(row, 'source', where), target: textOf(row, 'target', where) }
    // A column that is there by half is more likely misspelt than another form.
    if (isObject(row) && 'prompt' in row && !('choices' in row))
      return { source: textOf(row, 'prompt', where), target: textOf(row, 'completion', where) }
    return ofRecord(toRecord(row, where), where)
  },
  async batch(records) {
    const tokenizer = await model.tokenizer()
    const encoded = (text: string): number[] => encodedWithin(tokenizer, text, model.length)
    const targets = records.map(({ target }) => encoded(target))
    const sources = paddedIds(
      records.map(({ source }) => encoded(source)),
      padOf(tokenizer),
      model,
    )
    return { ...sources, labels: filled(targets, timeOf(targets, model), -100) }
  },
  measures: sequenceMeasures,
})
