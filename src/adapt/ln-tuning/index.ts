/** @file Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning (arXiv 2312.11420): see ln-tuning.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { lnTuning } from './ln-tuning.js'

export { lnTuning, type LnTuningOptions } from './ln-tuning.js'

export const entry: Entry<typeof lnTuning> = { card, method: lnTuning }
