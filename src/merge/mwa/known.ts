/** @file What is known of each checkpoint: its metric, its step, and where both were read. */
import type { Checkpoint } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import { type CheckpointMetrics, readCheckpointMetrics } from './history.js'
import type { MwaOptions } from './options.js'
import type { MetricScore, WeightOptions } from './weights.js'

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
export interface Known {
  readonly metrics: readonly number[]
  readonly steps?: readonly number[]
  /** Indices from the first checkpoint to the last. */
  readonly order: readonly number[]
  readonly by: WeightOptions['by']
  readonly sources: readonly (string | undefined)[]
}

const allOf = (found: readonly (number | undefined)[]): number[] | undefined =>
  found.every((x) => x !== undefined) ? (found as number[]) : undefined

/** Whether a score looks at metrics. */
export const looks = (score: MetricScore): boolean => !['uniform', 'last', 'ema'].includes(score)

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

/** Reads the metrics that `options` ask for. Throws UsageError where one is missing or not one a checkpoint. */
export const know = async (models: readonly Checkpoint[], options: MwaOptions): Promise<Known> => {
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
