/** @file How soups are judged: any metric that evaluation computes, of weights that need not be a checkpoint on disk. */
import { z } from 'zod'
import type { Checkpoint, JsonObject } from '../../../checkpoint/index.js'
import { UsageError } from '../../../errors.js'
import { type Model, openModel, type Parameters } from '../../../models/index.js'
import type { DrawnPlot } from '../../../papers/plot.js'
import type { Value } from '../../../tensor/index.js'
import { type DataOptions, type Evaluation, evaluator } from '../../../train/index.js'
import {
  linePlot,
  lossAlong,
  lossPlane,
  barrierOf,
  weightedSum,
  planePlot,
  planeSvg,
  taskAngles,
} from './landscape.js'
import type { ProcedureContext } from '../procedure.js'
import { batchesAtMost, recalibrated, statisticsOf } from '../../../observe/index.js'

const metrics = ['loss', 'perplexity', 'accuracy', 'accuracyPerToken'] as const
const lowerIsBetter: ReadonlySet<Metric> = new Set(['loss', 'perplexity'])
export type Metric = (typeof metrics)[number]

/** Options of whatever scores its ingredients, as keys of a schema. */
export const scoreOptions = {
  metric: z
    .enum(metrics)
    .default('loss')
    .describe('what models are scored by: loss, perplexity, accuracy, accuracyPerToken'),
  batch: z.number().int().positive().default(8).describe('rows in a batch of text'),
  /** `segments`: halfway between every two, and along the lines that matter; `plane`: also of three (four sets in memory). */
  analysis: z
    .enum(['none', 'segments', 'plane'])
    .default('none')
    .describe('look at the loss between the ingredients: none, segments, plane'),
}
/** Options of whatever scores its ingredients; lower is better for loss and perplexity. */
export type ScoreOptions = Readonly<{
  [key in keyof typeof scoreOptions]: z.output<(typeof scoreOptions)[key]>
}>

/** Weights that can be scored. */
export interface Pot {
  /** The first model, opened with everything in memory. */
  readonly model: Model
  /** The weights of ingredient `i`, in float32. */
  parameters(i: number): Promise<Parameters<Value>>
  /** The metric asked for, or another. */
  score(parameters: Parameters<Value>, metric?: Metric): Promise<number>
  /** Whether the score `a` is better than `b`. */
  better(a: number, b: number): boolean
  /** The weights with running statistics of batch norm computed anew; as they are where a model has none. */
  settled(parameters: Parameters<Value>): Promise<Parameters<Value>>
  /** Tensors that differ from the mean of the ingredients when the soup of these weights is written. */
  replaced(parameters: Parameters<Value>): ReadonlyMap<string, Value>
}

/**
 * Opens a pot over `models`. Scores are those on `evaluation` (default: `data`); statistics are computed anew on `data`.
 */
export const openPot = async (
  models: readonly Checkpoint[],
  { metric, batch }: ScoreOptions,
  context: ProcedureContext,
): Promise<Pot> => {
  const { data, evaluation = data, tokenizer, signal } = context
  const options: DataOptions = { batch, tokenizer }
  const model = await openModel(models[0], { trainable: true, buffers: true })
  const evaluate = evaluation && evaluator(model, evaluation, { ...options, signal })
  const statistics = statisticsOf(model)
  const settled = async (parameters: Parameters<Value>): Promise<Parameters<Value>> =>
    data && statistics.length
      ? recalibrated(model, parameters, batchesAtMost(Infinity, model, data, options))
      : parameters
  return {
    model,
    parameters: async (i) =>
      i === 0
        ? model.parameters
        : (await openModel(models[i], { trainable: true, buffers: true })).parameters,
    score: async (parameters, wanted = metric) => {
      signal?.throwIfAborted()
      const scores = await evaluate!(parameters)
      signal?.throwIfAborted()
      return numberOf(scores, wanted)
    },
    better: (a, b) => (lowerIsBetter.has(metric) ? a < b : a > b),
    settled,
    replaced: (parameters) => new Map(data ? statistics.map((name) => [name, parameters[name]]) : []),
  }
}

/** Throws UsageError where nothing was scored, or not by this metric. */
const numberOf = (scores: Evaluation, metric: Metric): number => {
  if (scores.labels === 0)
    throw new UsageError('NoLabels', 'the data to score on hold no label that counts', {
      hint: 'Give other data (--data, --eval-data).',
    })
  const score = scores[metric]
  if (score === undefined)
    throw new UsageError('NoSuchMetric', `metric: these data have no ${metric}`, {
      hint: `They have: ${metrics.filter((name) => scores[name] !== undefined).join(', ')}.`,
    })
  return score
}

/** What an analysis found. */
export interface Analysis {
  readonly report: JsonObject
  readonly notes: readonly string[]
  readonly plots: readonly DrawnPlot[]
  /** Files to be written beside the weights, by name. */
  readonly files: Readonly<Record<string, string>>
}

const short = (x: number): number => Number(x.toPrecision(5))

/** The angles between the differences from the base, and a warning where these look like those of strangers. */
const angles = async (base: Checkpoint, models: readonly Checkpoint[]): Promise<Analysis> => {
  const { baseNorm, norms, cosines } = await taskAngles(base, models)
  const strange = models.filter(
    (_, m) => norms[m] > 0.5 * baseNorm && cosines[m].every((c, other) => other === m || Math.abs(c) < 0.05),
  )
  return {
    report: {
      baseNorm: short(baseNorm),
      norms: norms.map(short),
      cosines: cosines.map((row) => row.map(short)),
    },
    notes: strange.map(
      ({ folder }) =>
        `${folder} is as far from the base as from nothing, in a direction of its own: it may not have started from it`,
    ),
    plots: [],
    files: {},
  }
}

/** The order in which ingredients matter: the plots show the first ones. */
const between = async (
  pot: Pot,
  order: readonly number[],
  names: readonly string[],
  base: Parameters<Value> | undefined,
  withPlane: boolean,
): Promise<Analysis> => {
  const loss = (parameters: Parameters<Value>): Promise<number> => pot.score(parameters, 'loss')
  const at = (i: number): Promise<Parameters<Value>> => pot.parameters(order[i])
  const ends: number[] = []
  for (const i of order.keys()) ends.push(await loss(await at(i)))
  const barriers = order.map(() => order.map(() => 0))
  const apart: string[] = []
  for (const i of order.keys())
    for (const j of order.keys()) {
      if (j <= i) continue
      const middle = await loss(await pot.settled(await weightedSum([await at(i), await at(j)], [0.5, 0.5])))
      const a = order[i]
      const b = order[j]
      barriers[a][b] = barriers[b][a] = short(
        barrierOf([ends[i], middle, ends[j]].map((l, k) => ({ at: k / 2, loss: l }))),
      )
      if (middle > 1.5 * Math.max(ends[i], ends[j])) apart.push(`${names[a]} and ${names[b]}`)
    }
  const settledLoss = async (parameters: Parameters<Value>): Promise<number> =>
    loss(await pot.settled(parameters))
  const first = await at(0)
  const second = await at(1)
  const lines = {
    [`${names[order[0]]} to ${names[order[1]]}`]: await lossAlong(settledLoss, first, second),
    ...(base ? { [`base to ${names[order[0]]}`]: await lossAlong(settledLoss, base, first) } : {}),
  }
  const third = base ?? (order.length > 2 ? await at(2) : undefined)
  const plane = withPlane && third ? await lossPlane(settledLoss, [third, first, second]) : undefined
  const marks = [base ? 'base' : names[order[2]], names[order[0]], names[order[1]]]
  return {
    report: {
      barriers,
      lines: lines as unknown as JsonObject,
      ...(plane ? { plane: { ...plane, names: marks } as unknown as JsonObject } : {}),
    },
    plots: [linePlot(lines), ...(plane ? [planePlot(plane, marks)] : [])],
    notes: apart.length
      ? [
          `the loss halfway between ${apart.slice(0, 3).join(', ')}${apart.length > 3 ? ` and ${apart.length - 3} more pairs` : ''} is far above that of either: these runs are not in one basin; align them first (--method pleas)`,
        ]
      : [],
    files: plane ? { 'loss-plane.svg': planeSvg(plane, marks) } : {},
  }
}

/** What the options and inputs ask to be looked at: angles wherever there is a base, losses where they are asked for. */
export const analyse = async (
  pot: Pot | undefined,
  models: readonly Checkpoint[],
  order: readonly number[],
  names: readonly string[],
  { base }: ProcedureContext,
  { analysis }: Pick<ScoreOptions, 'analysis'>,
): Promise<Analysis> => {
  if (analysis !== 'none' && !pot)
    throw new UsageError('NoData', `analysis=${analysis} needs data to compute losses on`, {
      hint: 'Give them as data (--data FILE).',
    })
  const parts: Analysis[] = base ? [await angles(base, models)] : []
  if (pot && analysis !== 'none' && models.length > 1) {
    const start = base && (await openModel(base, { trainable: true, buffers: true })).parameters
    parts.push(await between(pot, order, names, start, analysis === 'plane'))
  }
  return {
    report: Object.assign({}, ...parts.map(({ report }) => report)) as JsonObject,
    notes: parts.flatMap(({ notes }) => notes),
    plots: parts.flatMap(({ plots }) => plots),
    files: Object.assign({}, ...parts.map(({ files }) => files)) as Record<string, string>,
  }
}
