/** @file S^{2}FT: Efficient, Scalable and Generalizable LLM Fine-tuning by Structured Sparsity (arXiv 2412.06289): see s2ft.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { s2ft } from './s2ft.js'

export { s2ft, type S2ftOptions } from './s2ft.js'

export const entry: Entry<typeof s2ft> = { card, method: s2ft, experiment: () => import('./experiment.js') }
