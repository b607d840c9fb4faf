/**
 * @file UniPELT (Mao et al. 2021, arXiv 2110.07577): LoRA at queries and values, a prefix, and a serial adapter behind the
 * feed-forward part, each times a gate σ(g x + c) of what enters its part of the block. The gate is a token's own, so that no
 * token sees what comes after it; that of the prefix mixes attention with the virtual tokens and without them.
 */
import { z } from 'zod'
import type { Tensor } from '../../tensor/index.js'
import { adapter } from '../core/adapter.js'
import { bottleneckOf, type BottleneckSettings, dense } from '../core/bottleneck.js'
import { kaimingUniform, zeros } from '../core/initial.js'
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
import { requireRank, type Site, sitesOf } from '../../models/sites.js'
import { matcher } from '../../models/targets.js'
import type { AdapterMethod, AdapterSpec, Named, ParameterSpec } from '../core/spec.js'
import { beginOfPart, endsOfParts, entrancesOf, partEndedBy } from '../../models/sublayers.js'
import { card } from './card.js'

/** Options of UniPELT. */
export interface UnipeltOptions extends VirtualTokenOptions {
  /** Rank r of LoRA. Default 8. */
  readonly rank: number
  /** Scale α: LoRA's update is multiplied by α / r. Default 16. */
  readonly alpha: number
  /** Inner width b of the serial adapter. Default 16. */
  readonly bottleneck: number
}

/** What stands at one site, and the width of its gate's input. */
type Settings = { readonly gate: number } & (
  | { readonly part: 'prefix'; readonly prefix: PrefixSettings; readonly inputs: readonly string[] }
  | { readonly part: 'adapter'; readonly bottleneck: BottleneckSettings }
  | { readonly part: 'lora'; readonly rank: number; readonly scale: number }
)

const size = z.number().int().positive()

const options: z.ZodObject = virtualTokenOptions.extend({
  rank: size.default(8).describe('rank r of LoRA at queries and values'),
  alpha: z.number().positive().default(16).describe('LoRA is scaled by alpha / rank'),
  bottleneck: size.default(16).describe('inner width of the adapter'),
})

const atAttention = (sites: readonly Site[]): Site[] => sites.filter(({ kind }) => kind === 'attention')

const settings = (o: UnipeltOptions, site: Site, sites: readonly Site[]): Settings => {
  const { name, in: width, out, kind } = site
  if (kind === 'attention') {
    const inputs = entrancesOf(name)
    const gate = sites.find((other) => inputs.includes(other.name))?.in ?? out
    return { part: 'prefix', prefix: prefixSettings(o, site, atAttention(sites)), inputs, gate }
  }
  if (partEndedBy(name) !== 'feed-forward') {
    requireRank('unipelt', o.rank, site)
    return { part: 'lora', rank: o.rank, scale: o.alpha / o.rank, gate: width }
  }
  requireRank('unipelt', o.bottleneck, { ...site, in: out }, { what: 'bottleneck' })
  const bottleneck = { in: out, out, bottleneck: o.bottleneck, activation: 'gelu', scale: 1 }
  return { part: 'adapter', bottleneck, gate: out }
}

const gateSpecs = (width: number): Named<ParameterSpec> => ({
  g: { key: 'gate.weight', shape: [1, width], initial: kaimingUniform },
  c: { key: 'gate.bias', shape: [1], initial: zeros },
})

/** Of each token: [..., 1]. x: [..., width]. */
const gateOf = (x: Tensor, { g, c }: Named<Tensor>): Tensor => x.matmul(g.t()).add(c).sigmoid()

const partSpecs = (site: Site, s: Settings): Named<ParameterSpec> => {
  if (s.part === 'prefix') return {}
  if (s.part === 'adapter') return dense.parameters(s.bottleneck, site)
  return {
    A: { key: 'lora_A.weight', shape: [s.rank, site.in], initial: kaimingUniform },
    B: { key: 'lora_B.weight', shape: [site.out, s.rank], initial: zeros },
  }
}

const spec: AdapterSpec<UnipeltOptions, Settings> = {
  paper: card,
  peftType: 'UNIPELT',
  options,
  size: { option: 'rank', kind: 'count' },
  kinds: ['attention', 'linear'],
  defaultTargets(base) {
    const attention = prefixSites('unipelt', base).map(({ name }) => name)
    const within = (name: string): boolean => attention.some((module) => name.startsWith(`${module}.`))
    // Queries and values, or the fused matrix that holds them.
    const isAdapted = matcher(base.architecture.targets?.usual ?? [])
    const names = sitesOf(base, ['linear']).map(({ name }) => name)
    const ends = endsOfParts(base, ['feed-forward'])
    return [...attention, ...names.filter((name) => within(name) && isAdapted(name)), ...ends]
  },
  settings,
  parameters: (site, s) => ({ ...partSpecs(site, s), ...gateSpecs(s.gate) }),
  shared: ({ tokens }, sites) =>
    prefixSpecs({ tokens, initial: 'random', projection: false }, atAttention(sites)),
  attend(parts, run, p, s, context) {
    if (s.part !== 'prefix') return run(parts)
    const gate = gateOf(context.entered(...s.inputs), p).unsqueeze(1)
    const [without, among] = [run(parts), run(prefixed(parts, prefixOf(p), s.prefix))]
    return without.add(among.sub(without).mul(gate))
  },
  linear(y, x, p, s, context) {
    if (s.part === 'lora') {
      const update = x.matmul(p.A.t()).matmul(p.B.t()).mul(s.scale)
      return y.add(update.mul(gateOf(x, p)))
    }
    if (s.part !== 'adapter') return y
    const gate = gateOf(context.entered(...beginOfPart(context.site.name)), p)
    return y.add(bottleneckOf(dense, y, p, s.bottleneck, context).mul(gate))
  },
  forward: (inputs, run, _p, { base, options: { tokens } }) => run(laterBy(inputs, tokens, base)),
  virtual: ({ tokens }) => ({ positions: tokens, cached: 0 }),
  startsChanged: true,
  peft: {
    keys: { bottleneck: 'bottleneck', lora_alpha: 'alpha', num_virtual_tokens: 'tokens', r: 'rank' },
    check: requireTokens,
  },
  lacks: lacksModules,
}

/**
 * LoRA, prefix and adapter with gates on `base`, a checkpoint or an open model. It changes the base before any training.
 * Throws UsageError for a base without attention, and a rank or bottleneck that a module cannot have.
 */
export const unipelt: AdapterMethod<UnipeltOptions> = adapter(spec)
