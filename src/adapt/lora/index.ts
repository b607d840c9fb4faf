/** @file LoRA: Low-Rank Adaptation of Large Language Models (arXiv 2106.09685): see lora.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { lora } from './lora.js'

export { toLora } from './export.js'
export { lora } from './lora.js'
export type { LoraOptions } from './options.js'
export { nf4, type Nf4Model, type Nf4Options } from './nf4.js'

export const entry: Entry<typeof lora> = { card, method: lora, experiment: () => import('./experiment.js') }
