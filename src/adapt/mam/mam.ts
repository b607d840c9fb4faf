/**
 * @file The mix-and-match adapter (He et al. 2021, arXiv 2110.04366): a short prefix in attention, and a scaled parallel
 * bottleneck at the feed-forward part.
 */
import { z } from 'zod'
import { adapter } from '../core/adapter.js'
import { bottleneckOf, type BottleneckSettings, dense } from '../core/bottleneck.js'
import { card } from './card.js'
import {
  laterBy,
  prefixed,
  prefixOf,
  type PrefixSettings,
  prefixSettings,
  prefixSites,
  prefixSpecs,
} from '../prefix/prefix.js'
import {
  lacksModules,
  requireTokens,
  type VirtualTokenOptions,
  virtualTokenOptions,
} from '../core/virtual-tokens.js'
import { requireRank, type Site } from '../../models/sites.js'
import type { AdapterMethod, AdapterSpec } from '../core/spec.js'
import { beginOfPart, endsOfParts } from '../../models/sublayers.js'

/** Options of the mix-and-match adapter. */
export interface MamOptions extends VirtualTokenOptions {
  /** Inner width b of the parallel adapter. Default 16. */
  readonly bottleneck: number
  /** Factor of what the parallel adapter adds. Default 4. */
  readonly scale: number
}

/** At an attention module the prefix's, at the end of a feed-forward part the bottleneck's. */
type Settings = PrefixSettings | BottleneckSettings

const options: z.ZodObject = virtualTokenOptions.extend({
  bottleneck: z.number().int().positive().default(16).describe('inner width of the parallel adapter'),
  scale: z.number().default(4).describe('what the parallel adapter adds is multiplied by it'),
})

const atAttention = (sites: readonly Site[]): Site[] => sites.filter(({ kind }) => kind === 'attention')

const settings = (o: MamOptions, site: Site, sites: readonly Site[]): Settings => {
  if (site.kind === 'attention') return prefixSettings(o, site, atAttention(sites))
  requireRank('mam', o.bottleneck, { ...site, in: site.out }, { what: 'bottleneck' })
  return { in: site.out, out: site.out, bottleneck: o.bottleneck, activation: 'relu', scale: o.scale }
}

const spec: AdapterSpec<MamOptions, Settings> = {
  paper: card,
  peftType: 'MAM',
  options,
  size: { option: 'bottleneck', kind: 'count' },
  kinds: ['attention', 'linear'],
  defaultTargets: (base) => [
    ...prefixSites('mam', base).map(({ name }) => name),
    ...endsOfParts(base, ['feed-forward']),
  ],
  settings,
  parameters: (site, s) => (site.kind === 'attention' ? {} : dense.parameters(s as BottleneckSettings, site)),
  shared: ({ tokens }, sites) =>
    prefixSpecs({ tokens, initial: 'random', projection: false }, atAttention(sites)),
  attend: (parts, run, p, s) => run(prefixed(parts, prefixOf(p), s as PrefixSettings)),
  linear(y, _x, p, s, context) {
    const x = context.entered(...beginOfPart(context.site.name))
    return y.add(bottleneckOf(dense, x, p, s as BottleneckSettings, context))
  },
  forward: (inputs, run, _p, { base, options: { tokens } }) => run(laterBy(inputs, tokens, base)),
  virtual: ({ tokens }) => ({ positions: tokens, cached: 0 }),
  startsChanged: true,
  peft: {
    keys: { bottleneck: 'bottleneck', num_virtual_tokens: 'tokens', scale: 'scale' },
    check: requireTokens,
  },
  lacks: lacksModules,
}

/**
 * A prefix and a parallel adapter on `base`, a checkpoint or an open model: 2 p d and 2 d b + b + d numbers a block. It
 * changes the base before any training. Throws UsageError for a base without attention and a bottleneck wider than it.
 */
export const mam: AdapterMethod<MamOptions> = adapter(spec)
