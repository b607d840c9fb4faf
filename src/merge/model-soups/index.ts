/** @file Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference time (arXiv 2203.05482): see model-soups.ts. */
import { card } from './card.js'
import { learnedSoup } from './learned.js'
import { greedySoup } from './model-soups.js'
import { uniformSoup } from './uniform.js'

export { type EnsembleGap, ensembleGap } from './ensemble.js'
export { learnedSoup, type LearnedSoupOptions, soupModel, type SoupModel } from './learned.js'
export { greedySoup, type GreedySoupOptions } from './model-soups.js'
export { uniformSoup } from './uniform.js'

const experiment = () => import('./experiment.js')

/** The paper's three ways to average. */
export const entries = [
  { card, method: uniformSoup, experiment },
  { card, method: greedySoup, experiment },
  { card, method: learnedSoup, experiment },
]
