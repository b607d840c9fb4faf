/** @file The uniform soup (Wortsman et al. 2022, arXiv 2203.05482): the average of all models. */
import { z } from 'zod'
import type { Parameters } from '../../models/index.js'
import type { Value } from '../../tensor/index.js'
import { weightedSum } from '../core/averaging/landscape.js'
import { analyse, openPot, type Pot, scoreOptions, type ScoreOptions } from '../core/averaging/pot.js'
import { checkAlike, namesOf } from '../core/averaging/weighted.js'
import { type Procedure, procedure } from '../core/procedure.js'
import { card } from './card.js'
import { ranked, ranking, scoresOf, served } from './soup.js'
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
  evaluation: 'optional',
  counts: [1, Infinity],
  options: z.strictObject(scoreOptions),
  async run(models, options, context) {
    checkAlike(models)
    const names = namesOf(models, context.names)
    const weights = models.map(() => 1)
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
    if (n > 0) mean = await weightedSum([mean, await pot.parameters(i)], [n / (n + 1), 1 / (n + 1)])
  return mean
}
