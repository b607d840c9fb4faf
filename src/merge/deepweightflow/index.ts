/** @file DeepWeightFlow: Re-Basined Flow Matching for Generating Neural Network Weights (arXiv 2601.05052): see deepweightflow.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { deepweightflow } from './deepweightflow.js'

export { deepweightflow, learnWeightFlow, type WeightFlow } from './deepweightflow.js'
export type { DeepWeightFlowOptions } from './options.js'

export const entry: Entry<typeof deepweightflow> = {
  card,
  method: deepweightflow,
  experiment: () => import('./experiment.js'),
}
