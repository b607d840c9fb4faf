/** @file Multi-Head Adapter Routing for Cross-Task Generalization (arXiv 2211.03831): see mhr.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { mhr } from './mhr.js'

export { mhr, type MhrOptions } from './mhr.js'

export const entry: Entry<typeof mhr> = {
  card,
  method: mhr,
  combines: ['poly'],
  experiment: () => import('./experiment.js'),
}
