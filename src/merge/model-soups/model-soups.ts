/**
 * @file Model soups (Wortsman et al. 2022, arXiv 2203.05482): the models of a sweep averaged, all of them or those that
 * a greedy pass over held-out scores admits. The learned soup is in soups-learned.ts.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { Checkpoint, JsonObject } from '../../checkpoint/index.js'
import type { Parameters } from '../../models/index.js'
import { Stream } from '../../random/index.js'
import type { Value } from '../../tensor/index.js'
import { mixed } from '../core/averaging/landscape.js'
import { type Merged, type Procedure, procedure, type ProcedureContext } from '../core/procedure.js'
import { card } from './card.js'
import {
  type Analysis,
  analyse,
  openPot,
  type Pot,
  scoreOptions,
  type ScoreOptions,
} from '../core/averaging/pot.js'
import { checkAlike, type ModelWeights, namesOf, writeWeighted } from '../core/averaging/weighted.js'

/** What a soup's recipe came to, ready to be written. */
interface Soup {
  readonly name: string
  readonly models: readonly Checkpoint[]
  readonly names: readonly string[]
  readonly weights: ModelWeights
  readonly replaced?: ReadonlyMap<string, Value>
  readonly report: JsonObject
  readonly notes: readonly string[]
  readonly analysis: Analysis
}

/** A soup as procedures give them: weights and, beside them, the pictures of its analysis. */
export const served = ({
  name,
  models,
  names,
  weights,
  replaced,
  report,
  notes,
  analysis,
}: Soup): Merged => ({
  report: { ...report, ...(Object.keys(analysis.report).length ? { analysis: analysis.report } : {}) },
  notes: [...notes, ...analysis.notes],
  plots: analysis.plots,
  async save(folder) {
    await writeWeighted(models, weights, folder, { title: name, names, replaced })
    await mkdir(folder, { recursive: true })
    for (const [file, text] of Object.entries(analysis.files)) await writeFile(join(folder, file), text)
  },
})

/** The score of every ingredient as it is, in the order given. One is in memory at a time. */
const scoresOf = async (
  pot: Pot,
  count: number,
  { onProgress }: ProcedureContext,
  name: string,
): Promise<number[]> => {
  const scores: number[] = []
  for (let i = 0; i < count; i++) {
    onProgress?.({ status: 'progress', name, done: i, total: 2 * count - 1, unit: 'evaluations' })
    scores.push(await pot.score(await pot.parameters(i)))
  }
  return scores
}

/** Indices from the best score to the worst; equal ones as they were given. */
const ranking = (scores: readonly number[], { better }: Pot): number[] =>
  [...scores.keys()].sort((a, b) =>
    better(scores[a], scores[b]) ? -1 : better(scores[b], scores[a]) ? 1 : a - b,
  )

const ranked = (names: readonly string[], scores: readonly number[]): JsonObject[] =>
  names.map((model, i) => ({ model, score: scores[i] }))

/**
 * The average of all models. With data, they and the soup are scored, and a model with batch norm gets new statistics.
 *
 *     await (await uniformSoup([a, b, c])).save('models/soup')
 */
export const uniformSoup: Procedure<ScoreOptions> = procedure<ScoreOptions>({
  paper: card,
  name: 'uniform-soup',
  summary: 'the average of all models',
  base: 'optional',
  data: 'optional',
  counts: [1, Infinity],
  options: z.strictObject(scoreOptions),
  async run(models, options, context) {
    checkAlike(models)
    const [names, weights] = [namesOf(models, context.names), models.map(() => 1)]
    const pot = context.data || context.evaluation ? await openPot(models, options, context) : undefined
    const about = { name: 'uniform-soup', models, names, weights }
    if (!pot) {
      const analysis = await analyse(undefined, models, [], names, context, options)
      return served({ ...about, report: { models: names }, notes: [], analysis })
    }
    const scores = await scoresOf(pot, models.length, context, about.name)
    const order = ranking(scores, pot)
    const soup = await pot.settled(await meanOf(pot, [...models.keys()]))
    const score = await pot.score(soup)
    const worst = scores[order[order.length - 1]]
    const analysis = await analyse(pot, models, order, names, context, options)
    return served({
      ...about,
      replaced: pot.replaced(soup),
      report: { metric: options.metric, models: ranked(names, scores), best: names[order[0]], score },
      notes: pot.better(worst, score)
        ? [
            'the soup is worse than every model in it: they are not in one basin; align them first (--method pleas)',
          ]
        : pot.better(scores[order[0]], score)
          ? [`the soup is worse than ${names[order[0]]} alone: greedy-soup admits only what helps`]
          : [],
      analysis,
    })
  },
})

/** The average of ingredients, one after another: two sets of weights in memory. */
const meanOf = async (pot: Pot, ingredients: readonly number[]): Promise<Parameters<Value>> => {
  let mean = await pot.parameters(ingredients[0])
  // The running form m + (x - m) / n, whose rounding does not grow with the number of models.
  for (const [n, i] of ingredients.entries())
    if (n > 0) mean = await mixed([mean, await pot.parameters(i)], [n / (n + 1), 1 / (n + 1)])
  return mean
}

export interface GreedySoupOptions extends ScoreOptions {
  /** Whether a model that leaves the score as it is comes in. Default reject. */
  readonly ties: 'reject' | 'accept'
  /** In which order models are tried. `score`: the best first, equal ones as given. Default score. */
  readonly order: 'score' | 'given' | 'random'
  /** At most this many ingredients. Default: any number. */
  readonly most?: number
}

interface Tasting {
  readonly log: JsonObject[]
  readonly ingredients: number[]
  readonly soup: Parameters<Value>
  readonly score: number
}

/** Goes through the models in `order` once. Three sets of weights are in memory: the soup, the model, the two mixed. */
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
  let [soup, score] = [await pot.parameters(first), scores[first]]
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
    const candidate = await mixed([soup, await pot.parameters(i)], [n / (n + 1), 1 / (n + 1)])
    const found = await pot.score(await pot.settled(candidate))
    const accepted = pot.better(found, score) || (ties === 'accept' && found === score)
    log.push({ model: names[i], score: scores[i], soup: found, accepted })
    if (!accepted) continue
    ingredients.push(i)
    ;[soup, score] = [candidate, found]
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
  const given = [...scores.keys()]
  return order === 'given' ? given : new Stream(`greedy soup ${seed}`).shuffle(given)
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
  counts: [1, Infinity],
  options: z.strictObject({
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
  }),
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
