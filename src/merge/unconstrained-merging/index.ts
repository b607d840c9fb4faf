/** @file Unconstrained Model Merging for Enhanced LLM Reasoning (arXiv 2410.13699): see unconstrained-merging.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { unconstrainedMerging } from './unconstrained-merging.js'

export { unconstrainedMerging } from './unconstrained-merging.js'
export { fuse, type Fused, type FuseOptions } from './fusion.js'
export { searchMerge, type SearchOptions, type SearchResult } from './search.js'
export type { UnconstrainedOptions } from './options.js'

export const entry: Entry<typeof unconstrainedMerging> = {
  card,
  method: unconstrainedMerging,
  experiment: () => import('./experiment.js'),
}
