/** @file VL-Adapter: Parameter-Efficient Transfer Learning for Vision-and-Language Tasks (arXiv 2112.06825): see vl-adapter.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { vlAdapter } from './vl-adapter.js'

export { vlAdapter, type VlAdapterOptions } from './vl-adapter.js'
export { type TaskBatches, taskOrder } from './batches.js'
export { type VisionOptions, withVision } from './vision.js'

export const entry: Entry<typeof vlAdapter> = {
  card,
  method: vlAdapter,
  experiment: () => import('./experiment.js'),
}
