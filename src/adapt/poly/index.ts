/** @file Combining Modular Skills in Multitask Learning (arXiv 2202.13914): see poly.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { poly } from './poly.js'

export { poly, type PolyOptions } from './poly.js'

export const entry: Entry<typeof poly> = { card, method: poly }
