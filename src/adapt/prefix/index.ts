/** @file Prefix-Tuning: Optimizing Continuous Prompts for Generation (arXiv 2101.00190): see prefix.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { prefix } from './prefix.js'

export { prefix, type PrefixOptions } from './prefix.js'

export const entry: Entry<typeof prefix> = { card, method: prefix }
