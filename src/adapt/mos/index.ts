/** @file MoS: Unleashing Parameter Efficiency of Low-Rank Adaptation with Mixture of Shards (arXiv 2410.00938): see mos.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { mos } from './mos.js'

export { mos, type MosOptions } from './mos.js'

export const entry: Entry<typeof mos> = { card, method: mos, experiment: () => import('./experiment.js') }
