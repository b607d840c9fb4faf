/** @file Serial bottleneck adapters after both parts of a block (Houlsby et al. 2019, arXiv 1902.00751). */
import { type BottleneckOptions, denseBottleneck } from '../core/bottleneck.js'
import type { AdapterMethod } from '../core/spec.js'
import { card } from './card.js'

/**
 * Serial adapters on `base`: after attention and feed-forward part, before the residual sum. 2 (2 d b + b + d) numbers a
 * block of width d. Throws UsageError for a target that matches nothing and a bottleneck wider than the model.
 */
export const houlsby: AdapterMethod<BottleneckOptions> = denseBottleneck(card, 'HOULSBY', 'serial', 'both')
