/** @file Enabling Flexible Multi-LLM Integration for Scalable Knowledge Aggregation (arXiv 2505.23844): see fusion-x.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { fusionX } from './fusion-x.js'

export { fusionX } from './fusion-x.js'
export { type FusionXSettings, trainFusionX } from './train.js'
export type { FusionXOptions } from './options.js'

export const entry: Entry<typeof fusionX> = {
  card,
  method: fusionX,
  experiment: () => import('./experiment.js'),
}
