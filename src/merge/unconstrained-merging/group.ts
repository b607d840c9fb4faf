/** @file Merging models of one shape: coefficients of each group of layers, searched on data. */
import type { Checkpoint, JsonObject } from '../../checkpoint/index.js'
import { CheckpointError } from '../../errors.js'
import type { ProcedureContext } from '../core/procedure.js'
import type { Opened } from '../core/recipe/in-memory.js'
import { mergedInMemory } from '../tensor-methods/recipes.js'
import { fits, named } from './alike.js'
import { judge, valueOf } from './judge.js'
import type { UnconstrainedOptions } from './options.js'
import { searchMerge, type SearchResult } from './search.js'

/** What came of a search over models of one shape. */
export interface GroupMerge {
  readonly opened: Opened
  readonly search: SearchResult
  readonly notes: readonly string[]
}

/** Searches the coefficients of models of one shape. Throws CheckpointError for a base of another shape. */
export const mergeGroup = async (
  models: readonly Checkpoint[],
  given: UnconstrainedOptions,
  context: ProcedureContext,
): Promise<GroupMerge> => {
  const base = context.base && (await fits(context.base, models[0])) ? context.base : undefined
  if (context.base && !base && given.operator !== 'linear')
    throw new CheckpointError(
      'OtherBase',
      `${context.base.folder} has not the shape and tokens of ${models[0].folder}, so it is not what that started from`,
      { hint: 'Search weights of an average instead: operator linear.' },
    )
  const opened = named(base, models)
  const { score } = await judge(models[0], context.data!, given, context)
  const { seed, signal, onProgress } = context
  const search = await searchMerge(opened, base?.folder, score, { ...given, seed, signal, onProgress })
  const size = search.best.genome.length
  const few = given.evaluations < 5 * size
  const notes = few
    ? [
        `${given.evaluations} evaluations for ${size} coefficients are few: fewer groups (granularity) may do better`,
      ]
    : []
  return { opened, search, notes }
}

/** The losses of the merge and of each of its models on data that the search has not seen. */
export const heldOut = async (
  { opened, search }: GroupMerge,
  given: UnconstrainedOptions,
  context: ProcedureContext,
): Promise<JsonObject> => {
  if (!context.evaluation) return {}
  const [first] = opened.values()
  const { score } = await judge(first, context.evaluation, given, context)
  const scores: [string, number][] = [['merged', await score(await mergedInMemory(search.recipe, opened))]]
  for (const [name, checkpoint] of opened) scores.push([name, await score(checkpoint)])
  return { heldOut: Object.fromEntries(scores.map(([name, s]) => [name, valueOf(s, given.score)])) }
}
