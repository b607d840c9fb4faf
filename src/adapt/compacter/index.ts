/** @file Compacter: Efficient Low-Rank Hypercomplex Adapter Layers (arXiv 2106.04647): see compacter.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { compacter } from './compacter.js'

export { compacter, type CompacterOptions, kroneckerProduct, kroneckerSum, toHoulsby } from './compacter.js'

export const entry: Entry<typeof compacter> = {
  card,
  method: compacter,
  combines: ['houlsby'],
  experiment: () => import('./experiment.js'),
}
