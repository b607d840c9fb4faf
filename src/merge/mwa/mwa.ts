/**
 * @file Metrics-weighted averaging (arXiv 2504.18580): the checkpoints of one run averaged with weights from its log, the
 * lower the loss or the later the step the heavier. Adapters, and models whole.
 */
import { z } from 'zod'
import type { Checkpoint, JsonObject } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import type { Model, Parameters } from '../../models/index.js'
import type { Value } from '../../tensor/index.js'
import { evaluator } from '../../train/index.js'
import { mixed } from '../core/averaging/landscape.js'
import {
  type Adapters,
  checkOneRun,
  covarianceTerm,
  isAdapter,
  labelsOf,
  openAdapters,
  writeAverage,
} from './adapters.js'
import { type CheckpointMetrics, readCheckpointMetrics } from './history.js'
import { effectiveNumber, type MetricScore, metricWeights, scores, type WeightOptions } from './weights.js'
import { card } from './card.js'
import { type Procedure, procedure, type ProcedureContext } from '../core/procedure.js'
import { openPot } from '../core/averaging/pot.js'
import { checkAlike, namesOf, writeWeighted } from '../core/averaging/weighted.js'
import { maxOf, minOf } from '../../tensor/numbers.js'

export interface MwaOptions {
  /**
   * What weighs: the mean training `loss` since the checkpoint before, the loss of the last `evaluation`, or the `step`.
   * Default loss.
   */
  readonly metric: 'loss' | 'evaluation' | 'step'
  /** How a metric becomes a weight; see `MetricScore`. Default power. */
  readonly score: MetricScore
  /** p. Default 1; with data, the best of 0, 0.5, 0.7, 0.8, 1, 2 and 4. */
  readonly penalty?: number
  /** Of score=ema. Default 0.8. */
  readonly decay: number
  /** Metrics in the order of the checkpoints, in place of those of their logs: a list, or numbers with commas between. */
  readonly values?: string | number | readonly number[]
  /** Steps, likewise. */
  readonly steps?: string | number | readonly number[]
  /** Of adapters: average the `factors`, or the updates that they make (`delta`) exactly. Default factors. */
  readonly space: 'factors' | 'delta'
  /** With space=delta: the best adapter of this rank in place of the exact one. */
  readonly rank?: number
  /** Rows in a batch of text. Default 8. */
  readonly batch: number
}

const listOption = (what: string) =>
  z
    .union([z.string(), z.number(), z.array(z.number())])
    .optional()
    .describe(`${what}, with commas between`)

const numbersIn = (given: MwaOptions['values'], name: string, count: number): number[] | undefined => {
  if (given === undefined) return undefined
  const list = Array.isArray(given)
    ? (given as readonly number[])
    : String(given as string | number)
        .split(',')
        .map(Number)
  if (list.length !== count || list.some((x) => !Number.isFinite(x)))
    throw new UsageError(
      'BadOption',
      `${name} is ${String(given)}; expected ${count} numbers, one a checkpoint`,
    )
  return [...list]
}

/** What is averaged: how far each checkpoint came, and how well it did. */
interface Known {
  readonly metrics: readonly number[]
  readonly steps?: readonly number[]
  /** Indices from the first checkpoint to the last. */
  readonly order: readonly number[]
  readonly by: WeightOptions['by']
  readonly sources: readonly (string | undefined)[]
}

const allOf = (found: readonly (number | undefined)[]): number[] | undefined =>
  found.every((x) => x !== undefined) ? (found as number[]) : undefined

/** Scores that look at metrics. */
const looks = (score: MetricScore): boolean => !['uniform', 'last', 'ema'].includes(score)

const missing = (
  models: readonly Checkpoint[],
  found: readonly CheckpointMetrics[],
  metric: MwaOptions['metric'],
): never => {
  const i = found.findIndex((one) => one[metric] === undefined)
  throw new UsageError(
    'NoMetric',
    `${models[i].folder}: its ${metric} is unknown${found[i].source ? ` (${found[i].source})` : ': no trainer_state.json, and no metrics.jsonl in it or above it'}`,
    {
      hint:
        metric === 'step'
          ? 'Give the steps: -p steps=100,200,...'
          : 'Weigh by step (-p metric=step), or give the numbers: -p values=0.41,0.38,...',
    },
  )
}

const know = async (models: readonly Checkpoint[], options: MwaOptions): Promise<Known> => {
  const { metric, score } = options
  const found = await readCheckpointMetrics(models.map(({ folder }) => folder))
  const steps = numbersIn(options.steps, 'steps', models.length) ?? allOf(found.map(({ step }) => step))
  if (steps === undefined && (metric === 'step' || !looks(score)) && score !== 'uniform')
    missing(models, found, 'step')
  const own = numbersIn(options.values, 'values', models.length)
  const read = metric === 'step' ? steps : allOf(found.map((one) => one[metric]))
  if (own === undefined && read === undefined && looks(score)) missing(models, found, metric)
  const metrics = own ?? read ?? models.map(() => 1)
  const given = [...models.keys()]
  const order = steps ? given.sort((a, b) => steps[a] - steps[b]) : given
  return {
    metrics,
    steps,
    order,
    by: metric === 'step' ? 'step' : 'loss',
    sources: found.map(({ source }) => source),
  }
}

/** A model and its checkpoints' weights, to be scored on data. */
interface Scorer {
  parameters(i: number): Promise<Parameters<Value>>
  score(parameters: Parameters<Value>): Promise<number>
}

const scorerOf = async (
  models: readonly Checkpoint[],
  adapters: Adapters | undefined,
  options: MwaOptions,
  context: ProcedureContext,
): Promise<Scorer> => {
  if (!adapters) {
    const pot = await openPot(models, { metric: 'loss', batch: options.batch, analysis: 'none' }, context)
    return { parameters: (i) => pot.parameters(i), score: async (p) => pot.score(await pot.settled(p)) }
  }
  const { base, data, evaluation = data, tokenizer, signal } = context
  if (!base)
    throw new UsageError('NoBase', 'adapters are scored on the model that they belong to', {
      hint: 'Give it as base (--base), or leave the data out and set the penalty.',
    })
  const { loadAdapter } = await import('../../adapt/index.js')
  const load = (i: number): Promise<Model> =>
    loadAdapter(base, models[i].folder, { onWarning: () => undefined })
  const first = await load(0)
  const evaluate = evaluator(first, evaluation!, { batch: options.batch, tokenizer, signal })
  return {
    parameters: async (i) => (i === 0 ? first : await load(i)).parameters,
    score: async (parameters) => {
      const { loss, labels } = await evaluate(parameters)
      signal?.throwIfAborted()
      if (labels === 0) throw new UsageError('NoLabels', 'the data to score on hold no label that counts')
      return loss
    },
  }
}

/** The weighted mean, a checkpoint after another: two sets of weights in memory. */
const average = async ({ parameters }: Scorer, weights: readonly number[]): Promise<Parameters<Value>> => {
  const used = [...weights.keys()].filter((i) => weights[i] > 0)
  let [mean, total] = [await parameters(used[0]), weights[used[0]]]
  for (const i of used.slice(1)) {
    const share = weights[i] / (total + weights[i])
    mean = await mixed([mean, await parameters(i)], [1 - share, share])
    total += weights[i]
  }
  return mean
}

const penalties = [0, 0.5, 0.7, 0.8, 1, 2, 4]

/** Whether the penalty changes anything about these weights. */
const hasPenalty = (score: MetricScore): boolean => ['power', 'linear', 'softmax'].includes(score)

interface Chosen {
  readonly weights: readonly number[]
  readonly penalty?: number
  /** The loss of every penalty that was tried. */
  readonly tried?: readonly { readonly penalty: number; readonly loss: number }[]
}

const choose = async (
  known: Known,
  options: MwaOptions,
  scorer: Scorer | undefined,
  { onProgress }: ProcedureContext,
): Promise<Chosen> => {
  const { score, decay } = options
  const of = (penalty: number): number[] =>
    metricWeights(known.metrics, known.order, { by: known.by, score, penalty, decay })
  if (!hasPenalty(score) || options.penalty !== undefined || !scorer) {
    const penalty = options.penalty ?? 1
    return { weights: of(penalty), ...(hasPenalty(score) ? { penalty } : {}) }
  }
  const tried: { penalty: number; loss: number }[] = []
  const all = penalties.filter((p) => score !== 'linear' || p <= 1)
  for (const penalty of all) {
    onProgress?.({
      status: 'progress',
      name: 'mwa',
      done: tried.length,
      total: all.length,
      unit: 'evaluations',
    })
    tried.push({ penalty, loss: await scorer.score(await average(scorer, of(penalty))) })
  }
  const best = tried.reduce((a, b) => (b.loss < a.loss ? b : a))
  return { weights: of(best.penalty), penalty: best.penalty, tried }
}

const notesOf = (weights: readonly number[], { metrics, by }: Known, score: MetricScore): string[] => {
  const positive = weights.filter((w) => w > 0)
  const ratio = maxOf(weights) / minOf(positive)
  return [
    ...(looks(score) && metrics.every((x) => x === metrics[0])
      ? [`the ${by} of all checkpoints is the same: this is a uniform average`]
      : []),
    `weights differ by a factor of ${ratio.toPrecision(3)}${positive.length < weights.length ? `, ${weights.length - positive.length} are 0` : ''}; they amount to ${effectiveNumber(weights).toPrecision(3)} of ${weights.length} checkpoints`,
  ]
}

/**
 * The checkpoints of one run averaged by their metrics, which are read from their logs (`trainer_state.json`, Weft's
 * `metrics.jsonl` in the folder or above it) or given. Of adapters (folders with adapter_config.json) the factors are
 * averaged, or their updates; models whole are streamed, a tensor at a time.
 *
 *     await (await mwa(checkpoints, { metric: 'step' })).save('adapters/averaged')
 */
export const mwa: Procedure<MwaOptions> = procedure<MwaOptions>({
  paper: card,
  summary: 'the checkpoints of one run, averaged by its log: by loss, or by step',
  base: 'optional',
  data: 'optional',
  adapters: true,
  counts: [1, Infinity],
  options: z.strictObject({
    metric: z
      .enum(['loss', 'evaluation', 'step'])
      .default('loss')
      .describe('what weighs: loss, evaluation, step'),
    score: z
      .enum(scores)
      .default('power')
      .describe(`how it weighs: ${scores.join(', ')}`),
    penalty: z.number().optional().describe('how sharply: 0 is uniform (1; with data, the best of several)'),
    decay: z.number().default(0.8).describe('of score=ema'),
    values: listOption('the metrics of the checkpoints'),
    steps: listOption('the steps of the checkpoints'),
    space: z
      .enum(['factors', 'delta'])
      .default('factors')
      .describe('of adapters: average the factors, or the updates exactly (delta)'),
    rank: z.number().int().positive().optional().describe('with space=delta: the best adapter of this rank'),
    batch: z.number().int().positive().default(8).describe('rows in a batch of text'),
  }),
  async run(models, options, context) {
    checkAlike(models)
    const adapters = isAdapter(models[0]) ? await openAdapters(models) : undefined
    checkOptions(options, adapters, context)
    const known = await know(models, options)
    if (adapters && options.space === 'factors') await checkOneRun(adapters, known.order)
    const scorer =
      context.data || context.evaluation ? await scorerOf(models, adapters, options, context) : undefined
    const { weights, penalty, tried } = await choose(known, options, scorer, context)
    const lost =
      adapters?.config.peft_type === 'LORA' && options.space === 'factors'
        ? await covarianceTerm(adapters, weights)
        : undefined
    const names = namesOf(models, context.names)
    const report: JsonObject = {
      metric: options.metric,
      score: options.score,
      ...(penalty === undefined ? {} : { penalty }),
      ...(tried ? { tried: tried.map((one) => ({ ...one })) } : {}),
      checkpoints: names.map((checkpoint, i) => ({
        checkpoint,
        ...(known.steps ? { step: known.steps[i] } : {}),
        ...(looks(options.score) ? { [known.by === 'loss' ? 'loss' : 'metric']: known.metrics[i] } : {}),
        weight: weights[i],
        ...(known.sources[i] === undefined ? {} : { source: known.sources[i] }),
      })),
      effective: effectiveNumber(weights),
      ...(lost === undefined ? {} : { covarianceTerm: lost }),
    }
    return {
      report,
      notes: [
        ...notesOf(weights, known, options.score),
        ...(lost !== undefined && lost > 0.1
          ? [
              `averaging factors leaves out ${(100 * lost).toFixed(0)} % of the update's norm: space=delta averages the updates`,
            ]
          : []),
      ],
      async save(folder) {
        const used = [...weights.keys()].filter((i) => weights[i] > 0)
        const chosen = used.map((i) => models[i])
        const shares = used.map((i) => weights[i])
        if (!adapters)
          return writeWeighted(chosen, shares, folder, { title: 'mwa', names: used.map((i) => names[i]) })
        const told = labelsOf(chosen).map((name, i) => [name, shares[i]])
        await writeAverage({ ...adapters, models: chosen }, shares, folder, {
          space: options.space,
          rank: options.rank,
          metadata: { 'weft.averaged': JSON.stringify(Object.fromEntries(told)) },
        })
      },
    }
  },
})

/** Throws UsageError for options that do not go together. */
const checkOptions = (
  { space, rank, penalty }: MwaOptions,
  adapters: Adapters | undefined,
  { data, evaluation }: ProcedureContext,
): void => {
  if (!adapters && space === 'delta')
    throw new UsageError('BadOption', 'space=delta is for adapters; these are models, whose average is exact')
  if (rank !== undefined && space !== 'delta')
    throw new UsageError('BadOption', 'rank goes with space=delta: factors keep the rank they have')
  if (rank !== undefined && adapters && rank > Number(adapters.config.r) * adapters.models.length)
    throw new UsageError(
      'BadOption',
      `rank is ${rank}; the exact average has no more than ${Number(adapters.config.r) * adapters.models.length}`,
    )
  if (space === 'delta' && penalty === undefined && (data || evaluation))
    throw new UsageError('BadOption', 'space=delta: the penalty cannot be chosen by data', {
      hint: 'Choose it with space=factors, and give it: penalty.',
    })
}
