/** @file A serial bottleneck adapter after each whole block (Pfeiffer et al. 2020, arXiv 2005.00247). */
import { type BottleneckOptions, denseBottleneck } from '../core/bottleneck.js'
import type { AdapterMethod } from '../core/spec.js'
import { card } from './card.js'

/** Options of Pfeiffer's adapters: a whole block has no parts to choose from. */
export type PfeifferOptions = Omit<BottleneckOptions, 'placement'>

/** Serial adapters after each whole block: 2 d b + b + d numbers a block. Throws as `houlsby` does. */
export const pfeiffer: AdapterMethod<PfeifferOptions> = denseBottleneck(card, 'PFEIFFER', 'block', 'both')
