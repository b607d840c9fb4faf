/** @file Parameter-Efficient Checkpoint Merging via Metrics-Weighted Averaging (arXiv 2504.18580): see mwa.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { mwa } from './mwa.js'

export { type CheckpointMetrics, readCheckpointMetrics } from './history.js'
export { effectiveNumber, metricWeights, type MetricScore, type WeightOptions } from './weights.js'
export { mwa } from './mwa.js'
export type { MwaOptions } from './options.js'

export const entry: Entry<typeof mwa> = { card, method: mwa, experiment: () => import('./experiment.js') }
