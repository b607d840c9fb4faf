/** @file Bottleneck adapters parallel to a part of a block (He et al. 2021, arXiv 2110.04366). */
import { type BottleneckOptions, denseBottleneck } from '../core/bottleneck.js'
import type { AdapterMethod } from '../core/spec.js'
import { card } from './card.js'

/** Adapters parallel to parts of blocks, by default the feed-forward one: 2 d b + b + d numbers each. Throws as `houlsby` does. */
export const parallel: AdapterMethod<BottleneckOptions> = denseBottleneck(
  card,
  'PARALLEL_ADAPTER',
  'parallel',
  'feed-forward',
)
