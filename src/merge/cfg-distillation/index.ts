/** @file Diversity-Rewarded CFG Distillation (arXiv 2410.06084): see cfg-distillation.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { cfgDistillation } from './cfg-distillation.js'

export { cfgDistillation, interpolation } from './cfg-distillation.js'
export { type Distilled, distilGuidance, type DistilOptions } from './train.js'
export type { CfgDistillationOptions } from './options.js'

export const entry: Entry<typeof cfgDistillation> = {
  card,
  method: cfgDistillation,
  experiment: () => import('./experiment.js'),
}
