/** @file Training Neural Networks with Fixed Sparse Masks (arXiv 2111.09839): see fish.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { fish } from './fish.js'

export { fish, type FishOptions } from './fish.js'

export const entry: Entry<typeof fish> = { card, method: fish }
