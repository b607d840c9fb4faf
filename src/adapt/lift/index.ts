/** @file LIFT the Veil for the Truth: Principal Weights Emerge after Rank Reduction for Reasoning-Focused Supervised Fine-Tuning (arXiv 2506.00772): see lift.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { lift } from './lift.js'

export { lift } from './lift.js'
export type { LiftOptions } from './options.js'

export const entry: Entry<typeof lift> = { card, method: lift, experiment: () => import('./experiment.js') }
