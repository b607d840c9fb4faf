/** @file Which models' weights can be merged with each other: one architecture, one shape, one vocabulary. */
import type { Checkpoint } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import { sameVocabulary, tokenizerIn } from '../../distil/index.js'
import type { Opened } from '../core/recipe/in-memory.js'

/** What decides whether weights can be merged: architecture, names and shapes. */
const shapeOf = (checkpoint: Checkpoint): string =>
  JSON.stringify([
    checkpoint.config.model_type,
    ...checkpoint.names().map((name) => [name, checkpoint.info(name).shape]),
  ])

/** Whether the weights of two models can be merged. */
export const fits = async (a: Checkpoint, b: Checkpoint): Promise<boolean> => {
  if (shapeOf(a) !== shapeOf(b)) return false
  const [s, t] = await Promise.all([a, b].map((checkpoint) => tokenizerIn(checkpoint)))
  return s && t ? sameVocabulary(s, t) : true
}

/** Models whose weights can be merged with each other, in the order of their first members. */
export const grouped = async (models: readonly Checkpoint[]): Promise<Checkpoint[][]> => {
  const groups: Checkpoint[][] = []
  for (const model of models) {
    const fitting = await Promise.all(groups.map(([first]) => fits(first, model)))
    const group = groups[fitting.indexOf(true)]
    if (group) group.push(model)
    else groups.push([model])
  }
  return groups
}

/** Names for a recipe: the folders. Throws UsageError where two are one. */
export const named = (base: Checkpoint | undefined, models: readonly Checkpoint[]): Opened => {
  const all = [...(base ? [base] : []), ...models]
  const opened = new Map(all.map((checkpoint) => [checkpoint.folder, checkpoint]))
  if (opened.size !== all.length)
    throw new UsageError('SameModel', 'a model is given twice', {
      hint: 'Give each once; the base only as base.',
    })
  return opened
}
