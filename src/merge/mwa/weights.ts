/** @file Weights of checkpoints from their metrics: two readings of the paper's score, and the averages it is compared with. */
import { UsageError } from '../../errors.js'
import { maxOf, minOf } from '../../tensor/numbers.js'

export const scores = ['power', 'linear', 'softmax', 'ema', 'last', 'best', 'uniform'] as const
/**
 * How a metric becomes a weight, with L a loss, S a step and p the penalty: `power` (1 / L)^p or S^p; `linear`
 * 1 - p (L - least) / (most - least), for steps from the last one down; `softmax` exp(-p L / deviation). And, whatever
 * the metric: `ema` an exponential moving average over steps, `last` and `best` one checkpoint alone, `uniform` all alike.
 */
export type MetricScore = (typeof scores)[number]

/** How metrics become weights. */
export interface WeightOptions {
  /** Whether the metrics are losses, of which lower is better, or steps, of which later is. */
  readonly by: 'loss' | 'step'
  /** How a metric becomes a score. */
  readonly score: MetricScore
  /** p. */
  readonly penalty: number
  /** Decay of `ema`: the share of the average that each new checkpoint leaves, in [0, 1). */
  readonly decay: number
}

const refuse = (code: string, message: string, hint: string): never => {
  throw new UsageError(code, message, { hint })
}

const checkPenalty = ({ score, penalty }: WeightOptions): void => {
  if (!(penalty >= 0)) refuse('BadOption', `penalty is ${penalty}`, 'Give a number from 0 up.')
  if (score === 'linear' && penalty > 1)
    refuse(
      'BadOption',
      `penalty is ${penalty}; with score=linear the worst would weigh less than nothing`,
      'Give 0 to 1.',
    )
}

const checkMetrics = (metrics: readonly number[], { by, score }: WeightOptions): void => {
  const odd = metrics.findIndex((x) => !Number.isFinite(x))
  if (odd >= 0)
    refuse(
      'BadMetric',
      `the ${by} of checkpoint ${odd + 1} is ${metrics[odd]}`,
      'Leave it out, or give metrics by hand: values.',
    )
  const twice = metrics.findIndex((x, i) => metrics.indexOf(x) !== i)
  if (by === 'step' && twice >= 0)
    refuse(
      'SameStep',
      `two checkpoints are of step ${metrics[twice]}`,
      'Give checkpoints of different steps.',
    )
  const low = metrics.findIndex((x) => x <= 0)
  if (score === 'power' && low >= 0)
    refuse(
      'BadMetric',
      `the ${by} of checkpoint ${low + 1} is ${metrics[low]}; score=power needs numbers above 0`,
      'Use score=softmax, or score=linear.',
    )
}

const deviation = (numbers: readonly number[]): number => {
  const mean = numbers.reduce((a, b) => a + b) / numbers.length
  return Math.sqrt(numbers.reduce((sum, x) => sum + (x - mean) ** 2, 0) / numbers.length)
}

/** Scores u of the metrics; the best one's is 1, so that nothing overflows. */
const rawScores = (metrics: readonly number[], { by, score, penalty }: WeightOptions): number[] => {
  const [least, most] = [minOf(metrics), maxOf(metrics)]
  const best = by === 'loss' ? least : most
  // How much worse than the best, in the metric's own unit.
  const worse = metrics.map((x) => Math.abs(x - best))
  if (score === 'power') return metrics.map((x) => Math.exp(-penalty * Math.abs(Math.log(x / best))))
  if (score === 'linear') return worse.map((d) => (most > least ? 1 - (penalty * d) / (most - least) : 1))
  const unit = deviation(metrics)
  return worse.map((d) => (unit > 0 ? Math.exp((-penalty * d) / unit) : 1))
}

/** Weights of an exponential moving average that begins at the first checkpoint; `order`: indices by step. */
const emaWeights = (order: readonly number[], decay: number): number[] => {
  if (!(decay >= 0 && decay < 1)) refuse('BadOption', `decay is ${decay}`, 'Give a number from 0 to below 1.')
  const weights = order.map(() => 0)
  order.forEach((index, i) => {
    const later = decay ** (order.length - 1 - i)
    weights[index] = i === 0 ? later : (1 - decay) * later
  })
  return weights
}

const oneOf = (count: number, index: number): number[] =>
  Array.from({ length: count }, (_, i) => (i === index ? 1 : 0))

/**
 * Weights of checkpoints by their `metrics`, which add up to 1. `order`: their indices from the first to the last (for
 * `ema` and `last`). Throws UsageError for metrics and penalties that a score makes no sense of.
 * metrics, order: [checkpoints] -> [checkpoints].
 */
export const metricWeights = (
  metrics: readonly number[],
  order: readonly number[],
  options: WeightOptions,
): number[] => {
  const { score, by, decay } = options
  const count = order.length
  if (count === 0) refuse('NoCheckpoints', 'there is no checkpoint to average', 'Give at least one.')
  checkPenalty(options)
  if (score === 'uniform') return order.map(() => 1 / count)
  if (score === 'ema') return emaWeights(order, decay)
  if (score === 'last') return oneOf(count, order[count - 1])
  checkMetrics(metrics, options)
  if (score === 'best') return oneOf(count, metrics.indexOf(by === 'loss' ? minOf(metrics) : maxOf(metrics)))
  const raw = rawScores(metrics, options)
  const total = raw.reduce((a, b) => a + b)
  return raw.map((u) => u / total)
}

/** How many checkpoints weights like these amount to: 1 / sum of squares. weights: [n]. */
export const effectiveNumber = (weights: readonly number[]): number =>
  1 / weights.reduce((sum, w) => sum + w * w, 0)
