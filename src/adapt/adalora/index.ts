/** @file AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning (arXiv 2303.10512): see adalora.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { adalora } from './adalora.js'

export { adalora, type AdaloraOptions } from './adalora.js'

export const entry: Entry<typeof adalora> = { card, method: adalora }
