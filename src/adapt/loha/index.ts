/** @file FedPara: Low-Rank Hadamard Product for Communication-Efficient Federated Learning (arXiv 2108.06098): see loha.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { loha } from './loha.js'

export { loha, type LohaOptions } from './loha.js'

export const entry: Entry<typeof loha> = { card, method: loha }
