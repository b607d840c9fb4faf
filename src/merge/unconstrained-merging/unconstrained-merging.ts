/**
 * @file Unconstrained model merging (arXiv 2410.13699): models of one shape by searched coefficients, layer by layer; what
 * comes of that, and models of other shapes, by fusing their distributions into a pivot.
 */
import { z } from 'zod'
import type { Checkpoint, JsonObject } from '../../checkpoint/index.js'
import { CheckpointError, UsageError } from '../../errors.js'
import { type Model, openModel } from '../../models/index.js'
import { batchesOf } from '../../train/data.js'
import { type Batch, type Evaluation, evaluator } from '../../train/index.js'
import { sameVocabulary } from '../../distil/align.js'
import { rowsOf, tokenizerIn } from '../../distil/teachings.js'
import { modelInMemory, type Opened } from '../core/recipe/in-memory.js'
import { type Merged, type Procedure, procedure, type ProcedureContext } from '../core/procedure.js'
import type { Recipe } from '../core/recipe/recipe.js'
import { card } from './card.js'
import { fuse, type Fused } from './fusion.js'
import { decodeGenome, operators } from './genome.js'
import { type Score, searchMerge, type SearchResult } from './search.js'
import { mergedInMemory, mergeRecipe } from '../tensor-methods/recipes.js'

const share = z.number().min(0).max(1)
const whole = z.number().int().positive()

const options = z.strictObject({
  operator: z.enum(operators).default('task_arithmetic').describe('what the searched coefficients belong to'),
  granularity: z
    .number()
    .int()
    .nonnegative()
    .default(1)
    .describe('blocks that share coefficients; 0: one set for the whole model'),
  evaluations: whole.default(150).describe('merged models that the search may score'),
  start: z.enum(['uniform', 'grid', 'coarse']).default('grid').describe('where the search begins'),
  step: z.number().positive().optional().describe('first standard deviation of the search (1/6)'),
  negative: z.boolean().default(false).describe('let weights be negative'),
  lambda: z.number().default(1).describe('of ties: factor of the merged update'),
  score: z.enum(['loss', 'accuracy']).default('loss').describe('what candidates are scored by'),
  labels: share.default(0.9).describe('of fusion: the share of the labels in the loss'),
  fusion: z
    .enum(['min-ce', 'average'])
    .default('min-ce')
    .describe('of fusion: how two distributions become one'),
  top: whole.default(10).describe('of fusion: tokens kept of each distribution'),
  steps: whole.optional().describe('of fusion: steps for each source (three times through the data)'),
  batch: whole.default(8).describe('rows in a batch'),
  learningRate: z.number().positive().default(2e-5).describe('of fusion'),
  combine: z
    .enum(['sce', 'search'])
    .default('sce')
    .describe('how pivots fused with several sources are merged: by variance of changes, or searched'),
})

/** The options of `unconstrainedMerging`. */
export interface UnconstrainedOptions {
  /** What the searched coefficients belong to. Default 'task_arithmetic'. */
  readonly operator: 'task_arithmetic' | 'ties' | 'linear' | 'dare_linear'
  /** Blocks that share coefficients; 0: one set for the whole model. Default 1. */
  readonly granularity: number
  /** Merged models that the search may score. Default 150. */
  readonly evaluations: number
  /** Where the search begins. Default 'grid'. */
  readonly start: 'uniform' | 'grid' | 'coarse'
  /** Let weights be negative. Default false. */
  readonly negative: boolean
  /** Of ties: factor of the merged update. Default 1. */
  readonly lambda: number
  /** What candidates are scored by. Default 'loss'. */
  readonly score: 'loss' | 'accuracy'
  /** Of fusion: the share of the labels in the loss. Default 0.9. */
  readonly labels: number
  /** Of fusion: how two distributions become one. Default 'min-ce'. */
  readonly fusion: 'average' | 'min-ce'
  /** Of fusion: tokens kept of each distribution. Default 10. */
  readonly top: number
  /** Rows in a batch. Default 8. */
  readonly batch: number
  /** Of fusion. Default 2e-5. */
  readonly learningRate: number
  /** How pivots fused with several sources are merged: by variance of changes, or searched. Default 'sce'. */
  readonly combine: 'sce' | 'search'
  /** First standard deviation of the search (1/6). */
  readonly step?: number
  /** Of fusion: steps for each source (three times through the data). */
  readonly steps?: number
}

/** What decides whether weights can be merged: architecture, names and shapes. */
const shapeOf = (checkpoint: Checkpoint): string =>
  JSON.stringify([
    checkpoint.config.model_type,
    ...checkpoint.names().map((name) => [name, checkpoint.info(name).shape]),
  ])

const fits = async (a: Checkpoint, b: Checkpoint): Promise<boolean> => {
  if (shapeOf(a) !== shapeOf(b)) return false
  const [s, t] = await Promise.all([a, b].map((checkpoint) => tokenizerIn(checkpoint)))
  return s && t ? sameVocabulary(s, t) : true
}

/** Models whose weights can be merged with each other, in the order of their first members. */
const grouped = async (models: readonly Checkpoint[]): Promise<Checkpoint[][]> => {
  const groups: Checkpoint[][] = []
  for (const model of models) {
    const fitting = await Promise.all(groups.map(([first]) => fits(first, model)))
    const group = groups[fitting.indexOf(true)]
    if (group) group.push(model)
    else groups.push([model])
  }
  return groups
}

/** Names for a recipe: the folders, which must differ. */
const named = (base: Checkpoint | undefined, models: readonly Checkpoint[]): Opened => {
  const all = [...(base ? [base] : []), ...models]
  const opened = new Map(all.map((checkpoint) => [checkpoint.folder, checkpoint]))
  if (opened.size !== all.length)
    throw new UsageError('SameModel', 'a model is given twice', {
      hint: 'Give each once; the base only as base.',
    })
  return opened
}

/** Judges candidates of one shape on data: programs are compiled once, only weights change. */
const judge = async (
  like: Checkpoint,
  data: NonNullable<ProcedureContext['data']>,
  { score, batch }: Pick<UnconstrainedOptions, 'score' | 'batch'>,
  { tokenizer, signal }: ProcedureContext,
): Promise<{ evaluate: (candidate: Checkpoint) => Promise<Evaluation>; score: Score }> => {
  const model = await openModel(like, { trainable: true })
  const settings = { tokenizer, batch, signal }
  const fixed: Batch[] = []
  // Read once; multiple choice needs the records themselves.
  if (score === 'loss' && typeof data !== 'function')
    for await (const b of await batchesOf(model, data, settings)) fixed.push(b)
  const evaluateOn = evaluator(model, fixed.length ? () => fixed : data, settings)
  const evaluate = async (candidate: Checkpoint): Promise<Evaluation> =>
    evaluateOn((await openModel(candidate, { trainable: true })).parameters)
  return {
    evaluate,
    score: async (candidate) => {
      const { loss, accuracy } = await evaluate(candidate)
      if (score === 'loss') return -loss
      if (accuracy !== undefined) return accuracy
      throw new UsageError('NoAccuracy', 'the data give no accuracy: they have neither choices nor classes', {
        hint: 'Score by loss (-p score=loss), which is also smoother.',
      })
    },
  }
}

/** What a score stands for: of losses the lowest has the highest score. Null where it is none. */
const valueOf = (score: number, metric: UnconstrainedOptions['score']): number | null =>
  !Number.isFinite(score) ? null : metric === 'loss' ? -score : score

/** A search as the report has it. */
const searchReport = (
  { layout, best, recipe, log }: SearchResult,
  metric: UnconstrainedOptions['score'],
): JsonObject => ({
  operator: layout.operator,
  models: [...layout.models],
  groups: layout.groups.map(({ name }) => name),
  coefficients: decodeGenome(layout, best.genome).map((group) => group.map((c) => ({ ...c }))),
  genome: [...best.genome],
  metric,
  value: valueOf(best.score, metric),
  evaluations: log.length,
  log: log.map(({ score }) => valueOf(score, metric)),
  recipe: recipe as unknown as JsonObject,
})

interface GroupMerge {
  readonly opened: Opened
  readonly search: SearchResult
  readonly notes: readonly string[]
}

/** Merges models of one shape. */
const mergeGroup = async (
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
const heldOut = async (
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
  const rows = await rowsOf(pivot, context.data!, { tokenizer, batch: given.batch })
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
  counts: [1, Infinity],
  options,
  run: async (models, given, context) => {
    const groups = await grouped(models)
    if (models.length === 1 && !context.base)
      throw new UsageError('ModelCount', 'one model without a base: there is nothing to merge it with')
    return groups.length === 1 ? mergeAlike(models, given, context) : mergeUnlike(groups, given, context)
  },
})
