/**
 * @file PLeaS (Nasery et al. 2024, arXiv 2407.02447): two models of one architecture, also from different starts, become
 * one of any size between one and both. Units are matched by assignment; those that agree best are merged, within a
 * budget; then every layer is solved by least squares to put out what both models' layers do.
 */
import type { Checkpoint, JsonObject } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import { type Model, openModel, type WeightSpec } from '../../models/index.js'
import { sizeOf, type Value } from '../../tensor/index.js'
import { batchesOf } from '../../train/data.js'
import type { Batch } from '../../train/loss.js'
import { card } from './card.js'
import { options, type PleasOptions } from './options.js'
import { requireShapes, resizedConfig, sizesForWeftAlone, stepsOf } from '../../units/index.js'
import { type GroupMatch, matchActivations } from './match.js'
import type { Batches } from '../../observe/passing.js'
import { solveLayer } from './solve.js'
import {
  blockTensors,
  costOf,
  owners,
  type Ratios,
  ratiosWithin,
  type Split,
  splitUnits,
  unitsApart,
  wideAxes,
  type WideAxis,
  type Widening,
} from './split.js'
import { layerSums, type LayerStart } from './sums.js'
import {
  checkSameTensors,
  insideUnit,
  matchWeights,
  modelOf,
  moveUnits,
  outputAxis,
  type PermutationGroup,
  permutationGroups,
  readTensors,
  saveTensors,
  specsOf,
  type Tensors,
  weightSimilarity,
} from '../../units/permutation/index.js'
import { recalibrated, statisticsOf } from '../../observe/statistics.js'
import { withoutContext, type Procedure, procedure, type ProcedureContext } from '../core/procedure.js'

/** What came of merging two models. */
export interface PleasResult {
  /** In memory. */
  readonly model: Model
  readonly config: JsonObject
  readonly tensors: Tensors
  readonly report: JsonObject
  readonly notes: readonly string[]
}

/** The two models, and the tensors of the module that their labels come from. */
interface Pair {
  readonly models: readonly [Model, Model]
  /** The one whose head and configuration the merged model has. */
  readonly owner: Model
  readonly head: ReadonlySet<string>
  readonly policy: 'average' | 'first' | 'second'
}

/** The tensors of the last linear module whose outputs are no units: the classifier, the language model's head. */
const headOf = ({ architecture, config }: Model): ReadonlySet<string> => {
  const table = architecture.table(config)
  const last = table.findLast(
    (spec) => spec.kind === 'linear' && spec.tied === undefined && !spec.axes[outputAxis(spec)],
  )
  const module = last?.name.replace(/\.weight$/, '')
  return new Set(table.flatMap(({ name }) => (name.replace(/\.(weight|bias)$/, '') === module ? [name] : [])))
}

const pairOf = async (checkpoints: readonly Checkpoint[], policy: PleasOptions['head']): Promise<Pair> => {
  const [a, b] = [await openModel(checkpoints[0]), await openModel(checkpoints[1])]
  const head = headOf(a)
  checkSameTensors([a, b], (name) => head.has(name))
  const labels = (m: Model): string => {
    const shapes = m.architecture.table(m.config).filter(({ name }) => head.has(name))
    return JSON.stringify([shapes.map(({ shape }) => shape), m.checkpoint.config.id2label ?? null])
  }
  if (policy === undefined && labels(a) !== labels(b))
    throw new UsageError(
      'DifferentLabels',
      `${a.checkpoint.folder} and ${b.checkpoint.folder} have heads for different labels`,
      {
        hint: 'Say whose the merged model has: head = first or head = second. The rest is the same for both.',
      },
    )
  return { models: [a, b], owner: policy === 'second' ? b : a, head, policy: policy ?? 'average' }
}

/** The groups in A's order, and how well each of their units agrees. */
interface Matched {
  readonly tensors: Tensors
  readonly agreement: ReadonlyMap<string, ArrayLike<number>>
}

/** B's tensors in the order that a matching by activations found. */
const inOrder = (
  tensors: Tensors,
  groups: readonly PermutationGroup[],
  matches: ReadonlyMap<string, GroupMatch>,
): Tensors => {
  let aligned = { tensors, orders: {} }
  for (const group of groups) {
    const match = matches.get(group.name)
    if (!match) continue
    aligned = moveUnits(aligned, group, match.order)
    match.insides.forEach((units, i) =>
      units.forEach((order, u) => {
        aligned = moveUnits(aligned, insideUnit(group.insides[i], u), order)
      }),
    )
  }
  return aligned.tensors
}

/** How much alike the units are by their weights as they stand. */
const agreementByWeights = async (
  groups: readonly PermutationGroup[],
  pair: readonly [Tensors, Tensors],
): Promise<Map<string, ArrayLike<number>>> => {
  const found = new Map<string, ArrayLike<number>>()
  for (const { name, units, axes } of groups) {
    const { matrix } = await weightSimilarity(
      axes.filter(({ kind }) => kind !== 'buffer'),
      pair,
    )
    found.set(
      name,
      Float64Array.from({ length: units }, (_, u) => matrix.data[u * units + u]),
    )
  }
  return found
}

const matched = async (
  { models }: Pair,
  [a, b]: readonly [Tensors, Tensors],
  groups: readonly PermutationGroup[],
  match: 'activations' | 'weights' | 'none',
  batches: Batches,
  { seed, signal }: ProcedureContext,
): Promise<Matched> => {
  if (match === 'activations') {
    const matches = await matchActivations(groups, models, batches, signal)
    const agreement = new Map([...matches].map(([name, found]) => [name, found.agreement]))
    return { tensors: inOrder(b, groups, matches), agreement }
  }
  const tensors = match === 'none' ? b : (await matchWeights(groups, a, b, { seed, signal })).tensors
  return { tensors, agreement: await agreementByWeights(groups, [a, tensors]) }
}

/** At most `count` batches, from the beginning each time. */
const batchSource = (model: Model, given: PleasOptions, { data, tokenizer }: ProcedureContext): Batches =>
  async function* () {
    if (!data) return
    let left = given.batches
    const { batch, length } = given
    for await (const one of await batchesOf(model, data, { batch, length, tokenizer })) {
      yield one as Batch
      if (--left === 0) return
    }
  }

/** Every layer solved: the tensors replaced, and the errors before and after by layer. */
const solved = async (
  models: readonly [Model, Model],
  table: readonly WeightSpec[],
  wide: ReadonlyMap<string, readonly WideAxis[]>,
  start: Tensors,
  batches: Batches,
  given: PleasOptions,
  { signal, onProgress }: ProcedureContext,
): Promise<{ tensors: Record<string, Value>; layers: Record<string, JsonObject>; thin: string[] }> => {
  const layers = table.filter(
    ({ kind, tied }) => tied === undefined && (kind === 'linear' || kind === 'conv'),
  )
  const found: Record<string, JsonObject> = {}
  const tensors: Record<string, Value> = { ...start }
  const thin: string[] = []
  const biasOf = (name: string): string => name.replace(/weight$/, 'bias')
  const startOf = ({ name }: WeightSpec): LayerStart => ({ weight: start[name], bias: start[biasOf(name)] })
  const merging = { wide, startOf, rows: given.rows }
  for await (const sums of layerSums(models, layers, merging, batches, signal)) {
    const { name } = sums.spec
    const { weight, bias, before, after } = solveLayer(sums, wide.get(name)!, given.ridge)
    tensors[name] = weight
    if (bias) tensors[biasOf(name)] = bias
    if (sums.rows < sums.xx.rows) thin.push(name.replace(/\.weight$/, ''))
    found[name.replace(/\.weight$/, '')] = { before, after, rows: sums.rows }
    const done = Object.keys(found).length
    onProgress?.({ status: 'progress', name: 'least squares', done, total: layers.length, unit: 'layers' })
  }
  return { tensors, layers: found, thin }
}

/** What is matched by, and whether layers are solved, when there are data or not. Throws UsageError for what needs data. */
const waysOf = (given: PleasOptions, hasData: boolean) => {
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
  agreement: Matched['agreement'],
  { budget, ratio, gains, residual }: PleasOptions,
): { splits: Map<string, Split>; cost: number } => {
  const table = owner.architecture.table(owner.config)
  const fixed = (group: string): boolean => isFixed(group, residual)
  const widening: Widening = { groups, fixed, step: stepsOf(owner) }
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

/** Merges two checkpoints as `pleas` does, and gives the model in memory. Throws as `pleas`. */
export const pleasMerge = async (
  checkpoints: readonly Checkpoint[],
  given: Partial<PleasOptions> & ProcedureContext = {},
): Promise<PleasResult> => {
  const { own, context } = withoutContext<PleasOptions>(given)
  const { data } = context
  const all = options.parse(own)
  const ways = waysOf(all, data !== undefined)
  const pair = await pairOf(checkpoints, all.head)
  const [a, b] = [await readTensors(checkpoints[0]), await readTensors(checkpoints[1])]
  const groups = permutationGroups(pair.models[0], all.within)
  const batches = batchSource(pair.models[0], all, context)
  const { tensors: aligned, agreement } = await matched(pair, [a, b], groups, ways.match, batches, context)

  const { owner, head, policy } = pair
  const table = owner.architecture.table(owner.config)
  const { splits, cost } = splitsWithin(owner, groups, agreement, all)
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

  const start = blockTensors(table, wide, [a, aligned])
  const second = await modelOf(checkpoints[1].config, aligned, {})
  const found = ways.leastSquares
    ? await solved([pair.models[0], second], table, wide, start, batches, all, context)
    : { tensors: start, layers: {}, thin: [] }
  const apart = [...splits.values()].some((split) => split.apart.length > 0)
  const merged = [...splits.values()].some((split) => split.merged.length > 0)
  const plain = await modelOf(config, found.tensors)
  const model = data && merged ? plain.with(await recalibrated(plain, plain.parameters, batches())) : plain
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
