/** @file PLeaS -- Merging Models with Permutations and Least Squares (arXiv 2407.02447): see pleas.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { pleas } from './pleas.js'

export { pleas, pleasMerge, type PleasResult } from './pleas.js'
export type { PleasOptions } from './options.js'

export const entry: Entry<typeof pleas> = { card, method: pleas, experiment: () => import('./experiment.js') }
