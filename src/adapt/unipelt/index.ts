/** @file UniPELT: A Unified Framework for Parameter-Efficient Language Model Tuning (arXiv 2110.07577): see unipelt.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { unipelt } from './unipelt.js'

export { unipelt, type UnipeltOptions } from './unipelt.js'

export const entry: Entry<typeof unipelt> = { card, method: unipelt, combines: ['prefix'] }
