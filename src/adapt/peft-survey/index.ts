/** @file Parameter-Efficient Fine-Tuning for Large Models: A Comprehensive Survey (arXiv 2403.14608): see peft-survey.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'

export { type Cost, costs } from './peft-survey.js'

export const entry: Entry<never> = { card, experiment: () => import('./experiment.js') }
