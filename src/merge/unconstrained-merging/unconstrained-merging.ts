/**
 * @file Unconstrained model merging (arXiv 2410.13699): models of one shape by searched coefficients, layer by layer; what
 * comes of that, and models of other shapes, by fusing their distributions into a pivot.
 */
import type { Checkpoint } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import { type Model, openModel } from '../../models/index.js'
import { exampleRows } from '../../distil/index.js'
import { modelInMemory } from '../core/recipe/in-memory.js'
import { type Merged, type Procedure, procedure, type ProcedureContext } from '../core/procedure.js'
import type { Recipe } from '../core/recipe/recipe.js'
import { card } from './card.js'
import { options, type UnconstrainedOptions } from './options.js'
import { fuse, type Fused } from './fusion.js'
import { fits, grouped } from './alike.js'
import { type GroupMerge, heldOut, mergeGroup } from './group.js'
import { judge, searchReport } from './judge.js'
import { searchMerge, type SearchResult } from './search.js'
import { mergedInMemory, mergeRecipe } from '../tensor-methods/recipes.js'

/** Of one shape: searched, and written as an ordinary recipe. */
const mergeAlike = async (
  models: readonly Checkpoint[],
  given: UnconstrainedOptions,
  context: ProcedureContext,
): Promise<Merged> => {
  const merged = await mergeGroup(models, given, context)
  const { search, notes } = merged
  const log = search.log.map(({ score }) => score)
  return {
    report: {
      plan: ['search'],
      searches: [searchReport(search, given.score)],
      ...(await heldOut(merged, given, context)),
    },
    notes: [
      ...notes,
      `${given.score} ${Math.abs(search.best.score).toFixed(4)} after ${log.length} evaluations (equal weights: ${Math.abs(log[0]).toFixed(4)})`,
    ],
    save: async (folder) => {
      await mergeRecipe(search.recipe, folder, { onProgress: context.onProgress, signal: context.signal })
    },
  }
}

/** Pivots that learned from different sources, as one. */
const combined = async (
  pivot: Model,
  fused: readonly Fused[],
  given: UnconstrainedOptions,
  context: ProcedureContext,
): Promise<{ model: Model; search?: SearchResult }> => {
  if (fused.length === 1) return { model: fused[0].model }
  const opened = new Map([['pivot', await modelInMemory(pivot)]])
  for (const [i, { model }] of fused.entries()) opened.set(`fused-${i}`, await modelInMemory(model))
  const models = fused.map((_, i) => ({ model: `fused-${i}` }))
  const sce: Recipe = { merge_method: 'sce', base_model: 'pivot', models, parameters: { select_topk: 1 } }
  const searched = async (): Promise<SearchResult> => {
    const { score } = await judge(pivot.checkpoint, context.data!, given, context)
    const { seed, signal, onProgress } = context
    return searchMerge(opened, 'pivot', score, { ...given, seed, signal, onProgress })
  }
  const search = given.combine === 'search' ? await searched() : undefined
  const merged = await openModel(await mergedInMemory(search?.recipe ?? sce, opened), { trainable: true })
  return { model: pivot.with(merged.parameters), search }
}

/** Of several shapes: each group merged, the others' distributions fused into the first group's model. */
const mergeUnlike = async (
  groups: readonly Checkpoint[][],
  given: UnconstrainedOptions,
  context: ProcedureContext,
): Promise<Merged> => {
  const merged: GroupMerge[] = []
  const experts: Checkpoint[] = []
  for (const group of groups) {
    if (group.length === 1) {
      experts.push(group[0])
      continue
    }
    // Of one base there is at most one group with its shape.
    const fitting = context.base !== undefined && (await fits(context.base, group[0]))
    const own = fitting ? given : { ...given, operator: 'linear' as const }
    const one = await mergeGroup(group, own, { ...context, base: fitting ? context.base : undefined })
    merged.push(one)
    experts.push(await mergedInMemory(one.search.recipe, one.opened))
  }
  const [pivot, ...sources] = await Promise.all(
    experts.map((checkpoint, i) => openModel(checkpoint, { trainable: i === 0 })),
  )
  const { tokenizer, seed, signal, onProgress } = context
  const rows = await exampleRows(pivot, context.data!, { tokenizer, batch: given.batch })
  const fused: Fused[] = []
  for (const source of sources)
    fused.push(await fuse(pivot, source, rows, { ...given, tokenizer, seed, signal, onProgress }))
  const { model, search } = await combined(pivot, fused, given, context)
  const searches = [...merged.map(({ search }) => search), ...(search ? [search] : [])]
  return {
    report: {
      plan: groups.map((group) => group.map(({ folder }) => folder)),
      pivot: pivot.checkpoint.folder,
      searches: searches.map((search) => searchReport(search, given.score)),
      fused: fused.map(({ chosen, loss }, i) => ({ source: sources[i].checkpoint.folder, chosen, loss })),
      combined: fused.length > 1 ? given.combine : 'one source',
    },
    notes: merged.flatMap(({ notes }) => notes),
    save: (folder) => model.save(folder),
  }
}

/**
 * Merges whatever experts are given. Those of one architecture, shape and vocabulary (with the base, where one is given)
 * get coefficients for each group of layers, found by CMA-ES on `data`; the result is written as an ordinary recipe, which
 * the report keeps. Where there are several shapes, the first model's group gives the pivot, and what the other groups come
 * to is fused into it by training on `data`. Scores are means over the labels of the data: mix tasks in equal parts.
 * Throws UsageError for a budget below one generation of the search, and for one model alone without a base.
 */
export const unconstrainedMerging: Procedure<UnconstrainedOptions> = procedure<UnconstrainedOptions>({
  paper: card,
  summary: 'coefficients for each layer found by evolution; distributions of models of other shapes fused in',
  base: 'optional',
  data: 'required',
  example: { options: { evaluations: 16, start: 'uniform' } },
  evaluation: 'optional',
  counts: [1, Infinity],
  options,
  run: async (models, given, context) => {
    const groups = await grouped(models)
    if (models.length === 1 && !context.base)
      throw new UsageError('ModelCount', 'one model without a base: there is nothing to merge it with')
    return groups.length === 1 ? mergeAlike(models, given, context) : mergeUnlike(groups, given, context)
  },
})
