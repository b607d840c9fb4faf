/** @file Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning (arXiv 2205.05638): see ia3.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { ia3 } from './ia3.js'

export { ia3, type Ia3Options } from './ia3.js'

export const entry: Entry<typeof ia3> = { card, method: ia3 }
