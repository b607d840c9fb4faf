/** @file Masked language modelling: texts of which some tokens are hidden and found again (Devlin et al. 2018, section 3.1). */
import { CheckpointError } from '../errors.js'
import type { Stream } from '../random/index.js'
import type { Tokenizer } from '../text/index.js'
import { textOf } from './classify.js'
import { maskedMeasures } from './measures.js'
import { encodedWithin, filled, paddedIds, padOf, timeOf } from './rows.js'
import type { TaskFormat, TaskModel } from './task.js'

/** Share of the tokens that are to be found again. */
const share = 0.15
const ignored = -100

/**
 * The row with tokens hidden, and the hidden ones as labels: of the chosen 80 % become the mask, 10 % any token, 10 % stay.
 */
const hidden = (
  row: readonly number[],
  { specialIds, vocabularySize }: Tokenizer,
  mask: number,
  random: Stream,
): { ids: number[]; labels: number[] } => {
  const ids = [...row]
  const labels = row.map((id, i) => {
    if (specialIds.has(id) || random.uniform() >= share) return ignored
    const fate = random.uniform()
    if (fate < 0.8) ids[i] = mask
    else if (fate < 0.9) ids[i] = Math.floor(random.uniform() * vocabularySize)
    return id
  })
  return { ids, labels }
}

/** Rows with `text`. */
export const masked = (model: TaskModel): TaskFormat<string> => ({
  fields: ['text'],
  text: 'text',
  reading: () => (row, where) => textOf(row, 'text', where),
  async batch(records, random) {
    const tokenizer = await model.tokenizer()
    const { mask } = tokenizer
    if (mask === undefined)
      throw new CheckpointError('NoMask', `${model.folder}: its tokenizer has no mask token`)
    const rows = records.map((text) =>
      hidden(encodedWithin(tokenizer, text, model.length), tokenizer, mask, random),
    )
    const inputs = paddedIds(
      rows.map(({ ids }) => ids),
      padOf(tokenizer),
      model,
    )
    const labels = rows.map((row) => row.labels)
    return { ...inputs, labels: filled(labels, timeOf(labels, model), ignored) }
  },
  measures: maskedMeasures,
})
