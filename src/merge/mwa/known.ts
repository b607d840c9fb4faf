/** @file What is known of each checkpoint: its metric, its step, and where both were read. */
import type { Checkpoint } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import { type CheckpointMetrics, readCheckpointMetrics } from './history.js'
import type { MwaOptions } from './options.js'
import type { MetricScore, WeightOptions } from './weights.js'

const numbersIn = (values: MwaOptions['values'], name: string, count: number): number[] | undefined => {
  if (values === undefined) return undefined
  const list = Array.isArray(values)
    ? (values as readonly number[])
    : String(values as string | number)
        .split(',')
        .map(Number)
  if (list.length !== count || list.some((x) => !Number.isFinite(x)))
    throw new UsageError(
      'BadOption',
      `${name} is ${String(values)}; expected ${count} numbers, one a checkpoint`,
    )
  return [...list]
}

/** What is averaged: how far each checkpoint came, and how well it did. */
export interface Known {
  readonly metrics: readonly number[]
  readonly steps?: readonly number[]
  /** Indices from the first checkpoint to the last. */
  readonly order: readonly number[]
  readonly by: WeightOptions['by']
  readonly sources: readonly (string | undefined)[]
}

const allOf = (values: readonly (number | undefined)[]): number[] | undefined =>
  values.every((x) => x !== undefined) ? (values as number[]) : undefined

/** Whether a score looks at metrics. */
export const looks = (score: MetricScore): boolean => !['uniform', 'last', 'ema'].includes(score)

const missing = (
  models: readonly Checkpoint[],
  metricsPerModel: readonly CheckpointMetrics[],
  metric: MwaOptions['metric'],
): never => {
  const i = metricsPerModel.findIndex((one) => one[metric] === undefined)
  throw new UsageError(
    'NoMetric',
    `${models[i].folder}: its ${metric} is unknown${metricsPerModel[i].source ? ` (${metricsPerModel[i].source})` : ': no trainer_state.json, and no metrics.jsonl in it or above it'}`,
    {
      hint:
        metric === 'step'
          ? 'Give the steps: -p steps=100,200,...'
          : 'Weigh by step (-p metric=step), or give the numbers: -p values=0.41,0.38,...',
    },
  )
}

/** Reads the metrics that `options` ask for. Throws UsageError where one is missing or not one a checkpoint. */
export const know = async (models: readonly Checkpoint[], options: MwaOptions): Promise<Known> => {
  const { metric, score } = options
  const metricsPerModel = await readCheckpointMetrics(models.map(({ folder }) => folder))
  const steps =
    numbersIn(options.steps, 'steps', models.length) ?? allOf(metricsPerModel.map(({ step }) => step))
  if (steps === undefined && (metric === 'step' || !looks(score)) && score !== 'uniform')
    missing(models, metricsPerModel, 'step')
  const values = numbersIn(options.values, 'values', models.length)
  const read = metric === 'step' ? steps : allOf(metricsPerModel.map((one) => one[metric]))
  if (values === undefined && read === undefined && looks(score)) missing(models, metricsPerModel, metric)
  const metrics = values ?? read ?? models.map(() => 1)
  const indices = [...models.keys()]
  const order = steps ? indices.sort((a, b) => steps[a] - steps[b]) : indices
  return {
    metrics,
    steps,
    order,
    by: metric === 'step' ? 'step' : 'loss',
    sources: metricsPerModel.map(({ source }) => source),
  }
}
