/** @file AdapterFusion: Non-Destructive Task Composition for Transfer Learning (arXiv 2005.00247): see pfeiffer.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { pfeiffer } from './pfeiffer.js'

export { pfeiffer, type PfeifferOptions } from './pfeiffer.js'

export const entry: Entry<typeof pfeiffer> = { card, method: pfeiffer }
