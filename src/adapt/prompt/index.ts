/** @file The Power of Scale for Parameter-Efficient Prompt Tuning (arXiv 2104.08691): see prompt.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { prompt } from './prompt.js'

export { prompt, type PromptOptions } from './prompt.js'

export const entry: Entry<typeof prompt> = { card, method: prompt }
