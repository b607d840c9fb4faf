/** @file Layer-wise Importance Matters: Less Memory for Better Performance in Parameter-efficient Fine-tuning of Large Language Models (arXiv 2410.11772): see ist.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { ist } from './ist.js'

export { ist, istAround, type IstOptions, layerImportance, layerSampled } from './ist.js'
export type { LayerSampling } from './layers.js'

export const entry: Entry<typeof ist> = {
  card,
  method: ist,
  combines: ['lora'],
  experiment: () => import('./experiment.js'),
}
