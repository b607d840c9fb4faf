/** @file KronA: Parameter Efficient Tuning with Kronecker Adapter (arXiv 2212.10650): see lokr.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { lokr } from './lokr.js'

export { lokr, type LokrOptions } from './lokr.js'

export const entry: Entry<typeof lokr> = { card, method: lokr }
