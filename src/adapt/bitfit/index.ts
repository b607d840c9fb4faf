/** @file BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models (arXiv 2106.10199): see bitfit.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { bitfit } from './bitfit.js'

export { bitfit, type BitfitOptions } from './bitfit.js'

export const entry: Entry<typeof bitfit> = { card, method: bitfit }
