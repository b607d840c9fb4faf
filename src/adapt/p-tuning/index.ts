/** @file GPT Understands, Too (arXiv 2103.10385): see p-tuning.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { pTuning } from './p-tuning.js'

export { pTuning, type PTuningOptions } from './p-tuning.js'

export const entry: Entry<typeof pTuning> = { card, method: pTuning, combines: ['prompt'] }
