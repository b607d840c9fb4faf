/** @file DSEE: Dually Sparsity-embedded Efficient Tuning of Pre-trained Language Models (arXiv 2111.00160): see dsee.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { dsee } from './dsee.js'

export { dsee, prunedNow } from './dsee.js'
export type { DseeOptions } from './options.js'

export const entry: Entry<typeof dsee> = { card, method: dsee, experiment: () => import('./experiment.js') }
