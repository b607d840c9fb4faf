/**
 * @file PLeaS (Nasery et al. 2024, arXiv 2407.02447): two models of one architecture, also from different starts, become
 * one of any size between one and both. Units are matched by assignment; those that agree best are merged, within a
 * budget; then every layer is solved by least squares to put out what both models' layers do.
 */
import type { Checkpoint, JsonObject } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import type { Model } from '../../models/index.js'
import { sizeOf, type Value } from '../../tensor/index.js'
import type { Batch } from '../../train/loss.js'
import { card } from './card.js'
import { options, type PleasOptions } from './options.js'
import { requireShapes, resizedConfig, sizesForWeftAlone, stepsOf } from '../../units/index.js'
import { type Aligned, alignedTo } from './align.js'
import { costOf, positionsOf, ratiosWithin, type Widening } from './cost.js'
import { solveLayers } from './layers.js'
import { type Pair, pairOf } from './pair.js'
import {
  blockTensors,
  owners,
  type Ratios,
  type Split,
  splitUnits,
  unitsApart,
  wideAxes,
  type WideAxis,
} from './split.js'
import {
  modelOf,
  type PermutationGroup,
  permutationGroups,
  readTensors,
  saveTensors,
  specsOf,
  type Tensors,
} from '../../units/permutation/index.js'
import { type Batches, batchesAtMost, firstBatch, recalibrated, statisticsOf } from '../../observe/index.js'
import { withoutContext, type Procedure, procedure, type ProcedureContext } from '../core/procedure.js'

/** Result of merging two models. */
export interface PleasResult {
  /** Merged model, in memory. */
  readonly model: Model
  readonly config: JsonObject
  readonly tensors: Tensors
  readonly report: JsonObject
  readonly notes: readonly string[]
}

interface Ways {
  readonly match: NonNullable<PleasOptions['match']>
  readonly leastSquares: boolean
}

/** What is matched by, and whether layers are solved, when there are data or not. Throws UsageError for what needs data. */
const waysOf = (given: PleasOptions, hasData: boolean): Ways => {
  const { match = hasData ? 'activations' : 'weights', leastSquares = hasData } = given
  if (!hasData && (match === 'activations' || leastSquares))
    throw new UsageError(
      'NoData',
      `pleas: ${leastSquares ? 'least squares' : 'match = activations'} needs data, and none are given`,
      { hint: 'Give some inputs as data (--data FILE): labels are not looked at.' },
    )
  return { match, leastSquares }
}

/** Groups that a configuration cannot widen, or that a norm spans. */
const isFixed = (group: string, residual: boolean): boolean =>
  (group === 'residual' && !residual) || group === 'pooler' || group === 'head'

/** How each group is split, and what that costs. */
const splitsWithin = (
  owner: Model,
  groups: readonly PermutationGroup[],
  agreement: Aligned['agreement'],
  { budget, ratio, gains, residual }: PleasOptions,
  example: Batch | undefined,
): { splits: Map<string, Split>; cost: number } => {
  const table = owner.architecture.table(owner.config)
  const fixed = (group: string): boolean => isFixed(group, residual)
  const positions = positionsOf(owner, example)
  const widening: Widening = { groups, fixed, step: stepsOf(owner), positions }
  const ratios: Ratios =
    ratio === undefined
      ? ratiosWithin(budget, table, widening, gains)
      : new Map(groups.map(({ name }) => [name, fixed(name) ? 0 : ratio]))
  const splits = new Map(
    groups.map(({ name, units }) => {
      const apart = unitsApart(ratios.get(name) ?? 0, units, widening.step(name))
      return [name, splitUnits(agreement.get(name) ?? new Float64Array(units), apart)]
    }),
  )
  return { splits, cost: costOf(table, widening, ratios) }
}

const notesOf = (
  { owner }: Pair,
  merged: Model,
  ways: { match: string; leastSquares: boolean },
  hasData: boolean,
  thin: readonly string[],
  widened: boolean,
): string[] => {
  const notes: string[] = []
  if (!hasData)
    notes.push('No data: units are matched by their weights, and layers are merged without least squares.')
  else if (!ways.leastSquares) notes.push('Layers are merged without least squares.')
  if (thin.length)
    notes.push(
      `Fewer rows of data than inputs in ${thin.length} layers (${thin[0]} first): there the ridge decides.`,
    )
  if (statisticsOf(merged).length && !hasData)
    notes.push(
      "The batch norms keep averages of the models' statistics: without data they cannot be found anew.",
    )
  const unread = widened ? sizesForWeftAlone(owner.architecture, merged.checkpoint.config) : undefined
  if (unread !== undefined) notes.push(unread)
  return notes
}

/** The axes of the merged tensors, and the configuration that has them. Throws CheckpointError for what none can say. */
const layoutOf = (
  { owner, head, policy }: Pair,
  splits: ReadonlyMap<string, Split>,
): { wide: ReadonlyMap<string, readonly WideAxis[]>; config: JsonObject } => {
  const table = owner.architecture.table(owner.config)
  const policies = { average: undefined, first: owners.first, second: owners.second }
  const headOwner = policies[policy]
  const wide = wideAxes(
    table,
    splits,
    headOwner === undefined ? undefined : { names: head, owner: headOwner },
  )
  const widths = new Map(
    [...splits].map(([name, { merged, apart }]) => [name, merged.length + 2 * apart.length]),
  )
  const config = resizedConfig(owner, widths)
  const shapes = new Map([...wide].map(([name, axes]) => [name, axes.map(({ from }) => from.length)]))
  const hint = 'Merge at budget = 1, or with one ratio for all groups (no gains).'
  requireShapes(owner.architecture, config, shapes, hint)
  return { wide, config }
}

/** What the layers are solved from. */
interface Start {
  /** Merged tensors by permutation alone. */
  readonly tensors: Readonly<Record<string, Value>>
  /** The second model with its units in the first's order. */
  readonly second: Model
  readonly splits: ReadonlyMap<string, Split>
  readonly cost: number
  readonly wide: ReadonlyMap<string, readonly WideAxis[]>
  readonly config: JsonObject
}

/** Units matched and split, and the tensors merged by permutation. The models' own are in memory until it is done. */
const startOf = async (
  checkpoints: readonly Checkpoint[],
  pair: Pair,
  all: PleasOptions,
  match: Ways['match'],
  batches: Batches,
  context: ProcedureContext,
): Promise<Start> => {
  const a = await readTensors(checkpoints[0])
  const b = await readTensors(checkpoints[1])
  const groups = permutationGroups(pair.models[0], all.within)
  const { tensors: aligned, agreement } = await alignedTo(
    pair.models,
    [a, b],
    groups,
    match,
    batches,
    context,
  )
  const { owner } = pair
  const { splits, cost } = splitsWithin(owner, groups, agreement, all, await firstBatch(batches))
  const { wide, config } = layoutOf(pair, splits)
  const tensors = blockTensors(owner.architecture.table(owner.config), wide, [a, aligned])
  const second = await modelOf(checkpoints[1].config, aligned, {})
  return { tensors, second, splits, cost, wide, config }
}

/** Merges two checkpoints as `pleas` does, and gives the model in memory. Throws as `pleas`. */
export const pleasMerge = async (
  checkpoints: readonly Checkpoint[],
  given: Partial<PleasOptions> & ProcedureContext = {},
): Promise<PleasResult> => {
  const { own, context } = withoutContext<PleasOptions>(given)
  const { data, tokenizer } = context
  const all = options.parse(own)
  const ways = waysOf(all, data !== undefined)
  const pair = await pairOf(checkpoints, all.head)
  const { batch, length } = all
  const batches = batchesAtMost(all.batches, pair.models[0], data, { batch, length, tokenizer })
  const start = await startOf(checkpoints, pair, all, ways.match, batches, context)
  const { splits, cost, wide, config } = start

  const { owner, policy } = pair
  const table = owner.architecture.table(owner.config)
  const found = ways.leastSquares
    ? await solveLayers([pair.models[0], start.second], table, wide, start.tensors, batches, all, context)
    : { tensors: start.tensors, layers: {}, thin: [] }
  const apart = [...splits.values()].some((split) => split.apart.length > 0)
  const merged = [...splits.values()].some((split) => split.merged.length > 0)
  const plain = await modelOf(config, found.tensors)
  const model = data && merged ? plain.with(await recalibrated(plain, plain.parameters, batches)) : plain
  return {
    model,
    config,
    tensors: model.parameters,
    report: {
      ...{ match: ways.match, leastSquares: ways.leastSquares, head: policy, cost },
      parameters: Object.values(model.parameters).reduce((n, { shape }) => n + sizeOf(shape), 0),
      groups: Object.fromEntries(
        [...splits].map(([name, split]) => [
          name,
          { merged: split.merged.length, apart: split.apart.length },
        ]),
      ),
      layers: found.layers,
    },
    notes: [
      `The merged model makes ${cost.toFixed(3)} times the multiplications of one model.`,
      ...notesOf(pair, model, ways, data !== undefined, found.thin, apart),
    ],
  }
}

/** Merges two models of one architecture into one of any size between one and both. Throws UsageError for options that do not fit, CheckpointError for models that do not fit each other. */
export const pleas: Procedure<PleasOptions> = procedure({
  paper: card,
  summary: 'two models, also from different starts, into one of any size: units matched, then layers solved',
  base: 'none',
  data: 'optional',
  counts: [2, 2],
  options,
  run: async (models, own, context) => {
    const { config, tensors, report, notes } = await pleasMerge(models, { ...own, ...context })
    const source = own.head === 'second' ? models[1] : models[0]
    return {
      report,
      notes,
      save: (folder) => saveTensors(folder, source, config, specsOf(tensors), (name) => tensors[name]),
    }
  },
})
