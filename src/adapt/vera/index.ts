/** @file VeRA: Vector-based Random Matrix Adaptation (arXiv 2310.11454): see vera.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { vera } from './vera.js'

export { vera, type VeraOptions } from './vera.js'

export const entry: Entry<typeof vera> = { card, method: vera }
