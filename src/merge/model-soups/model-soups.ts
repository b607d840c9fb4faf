/**
 * @file The greedy soup (Wortsman et al. 2022, arXiv 2203.05482): the models of a sweep, the best first, averaged where
 * each makes the held-out score better. The uniform soup is uniform.ts, the learned one learned.ts.
 */
import { z } from 'zod'
import type { JsonObject } from '../../checkpoint/index.js'
import type { Parameters } from '../../models/index.js'
import { Stream } from '../../random/index.js'
import type { Value } from '../../tensor/index.js'
import { weightedSum } from '../core/averaging/landscape.js'
import { analyse, openPot, type Pot, scoreOptions } from '../core/averaging/pot.js'
import { checkAlike, namesOf } from '../core/averaging/weighted.js'
import { type Procedure, procedure, type ProcedureContext } from '../core/procedure.js'
import { card } from './card.js'
import { ranked, ranking, scoresOf, served } from './soup.js'

const options = z.strictObject({
  ...scoreOptions,
  ties: z
    .enum(['reject', 'accept'])
    .default('reject')
    .describe('whether a model that leaves the score as it is comes in: reject, accept'),
  order: z
    .enum(['score', 'given', 'random'])
    .default('score')
    .describe('in which order models are tried: score, given, random'),
  most: z.number().int().positive().optional().describe('at most so many ingredients'),
})

/** Options of `greedySoup`. */
export type GreedySoupOptions = Readonly<z.output<typeof options>>

interface Tasting {
  readonly log: JsonObject[]
  readonly ingredients: number[]
  readonly soup: Parameters<Value>
  readonly score: number
}

/** Goes through the models in `order` once. Three sets of weights are in memory: the soup, the model, the two weightedSum. */
const taste = async (
  pot: Pot,
  order: readonly number[],
  scores: readonly number[],
  names: readonly string[],
  { ties, most = Infinity }: GreedySoupOptions,
  { onProgress }: ProcedureContext,
): Promise<Tasting> => {
  const [first, ...others] = order
  const ingredients = [first]
  const log: JsonObject[] = []
  let soup = await pot.parameters(first)
  let score = scores[first]
  for (const [done, i] of others.entries()) {
    if (ingredients.length >= most) break
    onProgress?.({
      status: 'progress',
      name: 'greedy-soup',
      done: order.length + done,
      total: 2 * order.length - 1,
      unit: 'evaluations',
      metrics: { score },
    })
    const n = ingredients.length
    const candidate = await weightedSum([soup, await pot.parameters(i)], [n / (n + 1), 1 / (n + 1)])
    const soupScore = await pot.score(await pot.settled(candidate))
    const accepted = pot.better(soupScore, score) || (ties === 'accept' && soupScore === score)
    log.push({ model: names[i], score: scores[i], soup: soupScore, accepted })
    if (!accepted) continue
    ingredients.push(i)
    soup = candidate
    score = soupScore
  }
  return { log, ingredients, soup, score }
}

/** Indices in the order that the options ask for. */
const inOrder = (
  { order }: GreedySoupOptions,
  scores: readonly number[],
  pot: Pot,
  seed: number | string,
): number[] => {
  if (order === 'score') return ranking(scores, pot)
  const indices = [...scores.keys()]
  return order === 'given' ? indices : new Stream(`greedy soup ${seed}`).shuffle(indices)
}

/**
 * The models from the best to the worst on held-out data, each taken into the average where that makes its score better:
 * never worse on these data than the best model. k models cost 2k - 1 evaluations and three sets of weights in memory.
 * The released script tries the later of two models with equal scores first: give the models in that order.
 *
 *     const soup = await greedySoup(models, { data: heldOut, metric: 'accuracy' })
 */
export const greedySoup: Procedure<GreedySoupOptions> = procedure<GreedySoupOptions>({
  paper: card,
  name: 'greedy-soup',
  summary: 'the average of the models that make it better on held-out data',
  base: 'optional',
  data: 'required',
  evaluation: 'optional',
  counts: [1, Infinity],
  options,
  async run(models, options, context) {
    checkAlike(models)
    const names = namesOf(models, context.names)
    const pot = await openPot(models, options, context)
    const scores = await scoresOf(pot, models.length, context, 'greedy-soup')
    const best = ranking(scores, pot)
    const order = inOrder(options, scores, pot, context.seed ?? 0)
    const { log, ingredients, soup, score } = await taste(pot, order, scores, names, options, context)
    const alone = ingredients.length === 1
    return served({
      name: 'greedy-soup',
      models: ingredients.map((i) => models[i]),
      names: ingredients.map((i) => names[i]),
      weights: ingredients.map(() => 1),
      replaced: alone ? undefined : pot.replaced(await pot.settled(soup)),
      report: {
        metric: options.metric,
        models: ranked(names, scores),
        log,
        ingredients: ingredients.map((i) => names[i]),
        best: names[best[0]],
        bestScore: scores[best[0]],
        score,
      },
      notes: [
        `${ingredients.length} of ${models.length} models are in the soup: ${options.metric} ${score.toPrecision(5)}, of the best alone (${names[best[0]]}) ${scores[best[0]].toPrecision(5)}`,
      ],
      analysis: await analyse(pot, models, best, names, context, options),
    })
  },
})
