/** @file How sharply metrics weigh: a penalty that is given, or the best of several by a score on data. */
import type { Checkpoint } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import type { Model, Parameters } from '../../models/index.js'
import type { Value } from '../../tensor/index.js'
import { evaluator } from '../../train/index.js'
import { weightedSum } from '../core/averaging/landscape.js'
import { openPot } from '../core/averaging/pot.js'
import type { ProcedureContext } from '../core/procedure.js'
import type { Adapters } from './adapters.js'
import type { Known } from './known.js'
import type { MwaOptions } from './options.js'
import { type MetricScore, metricWeights } from './weights.js'

/** A model and its checkpoints' weights, to be scored on data. */
export interface Scorer {
  parameters(i: number): Promise<Parameters<Value>>
  score(parameters: Parameters<Value>): Promise<number>
}

/** Scores checkpoints, or adapters on their base, by their loss on the context's data. Throws UsageError without a base. */
export const scorerOf = async (
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
  let mean = await parameters(used[0])
  let total = weights[used[0]]
  for (const i of used.slice(1)) {
    const share = weights[i] / (total + weights[i])
    mean = await weightedSum([mean, await parameters(i)], [1 - share, share])
    total += weights[i]
  }
  return mean
}

const penalties = [0, 0.5, 0.7, 0.8, 1, 2, 4]

/** Whether the penalty changes anything about these weights. */
const hasPenalty = (score: MetricScore): boolean => ['power', 'linear', 'softmax'].includes(score)

/** Weights of the checkpoints, and how they were come by. */
export interface Chosen {
  readonly weights: readonly number[]
  readonly penalty?: number
  /** The loss of every penalty that was tried. */
  readonly tried?: readonly { readonly penalty: number; readonly loss: number }[]
}

/** Weights by the metrics, with the given penalty or the one whose average has the lowest loss. */
export const choose = async (
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
