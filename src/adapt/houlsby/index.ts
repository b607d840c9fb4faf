/** @file Parameter-Efficient Transfer Learning for NLP (arXiv 1902.00751): see houlsby.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { houlsby } from './houlsby.js'

export { houlsby } from './houlsby.js'

export const entry: Entry<typeof houlsby> = { card, method: houlsby }
