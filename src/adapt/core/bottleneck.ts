/**
 * @file Bottleneck adapters: U s(D x + d) + u, with D: [b, in] and U: [out, b] of a small inner width b. Serial after a part
 * of a block (Houlsby et al. 2019, arXiv 1902.00751) or after the block (Pfeiffer et al. 2020, arXiv 2005.00247), or
 * parallel to a part (He et al. 2021, arXiv 2110.04366). U is zero at first, so that nothing changes. Which matrices D and U
 * are is a `Projections`: another method may make them otherwise.
 */
import { z } from 'zod'
import type { Model } from '../../models/index.js'
import type { Paper } from '../../papers/card.js'
import { activation, activations, type Tensor } from '../../tensor/index.js'
import { adapter } from './adapter.js'
import { kaimingUniform, zeros } from './initial.js'
import type { PeftTable } from './peft-table.js'
import { requireRank, type Site } from '../../models/sites.js'
import {
  type AdapterMethod,
  type AdapterSpec,
  type CommonOptions,
  commonOptions,
  type Named,
  type ParameterSpec,
  type SharedSpec,
  type SiteContext,
} from './spec.js'
import type { Part } from '../../models/index.js'
import { beginOfPart, endsOfParts } from '../../models/sublayers.js'

/** Options of bottleneck adapters. */
export interface BottleneckOptions extends CommonOptions {
  /** Parts of a block that have one. Default: the method's own. */
  readonly placement: Part | 'both'
  /** Inner width b. Default: the width divided by `reduction`. */
  readonly bottleneck?: number
  /** Width divided by the inner width. Default: the method's own, 16 of the plain ones. */
  readonly reduction?: number
  /** Activation s between the projections. Default: the method's own, 'gelu' of the plain ones. */
  readonly activation: string
  /** Factor of what the adapter adds. Default 1. */
  readonly scale: number
}

/** Options of a bottleneck at one site. */
export interface BottleneckSettings {
  /** Width of its input. */
  readonly in: number
  /** Width of its output. */
  readonly out: number
  /** Inner width b. */
  readonly bottleneck: number
  /** Activation s. */
  readonly activation: string
  /** Factor of what it adds. */
  readonly scale: number
}

/** How the two projections of a bottleneck are made. `O`: the method's options; `S`: what they come to at one site. */
export interface Projections<O, S extends BottleneckSettings> {
  /** The settings with more of the method's own. */
  settings(usual: BottleneckSettings, options: O, site: Site): S
  parameters(settings: S, site: Site): Named<ParameterSpec>
  shared?(options: O, sites: readonly Site[], base: Model): Named<SharedSpec>
  /** x: [..., in] -> [..., b]. */
  down(x: Tensor, p: Named<Tensor>, settings: S, context: SiteContext): Tensor
  /** h: [..., b] -> [..., out]. */
  up(h: Tensor, p: Named<Tensor>, settings: S, context: SiteContext): Tensor
}

/** A linear layer each way, with biases: 2 d b + b + d numbers at a width d. */
export const dense: Projections<unknown, BottleneckSettings> = {
  settings: (usual) => usual,
  parameters: ({ in: width, out, bottleneck: b }) => ({
    D: { key: 'adapter_down.weight', shape: [b, width], initial: kaimingUniform },
    d: { key: 'adapter_down.bias', shape: [b], initial: zeros },
    U: { key: 'adapter_up.weight', shape: [out, b], initial: zeros },
    u: { key: 'adapter_up.bias', shape: [out], initial: zeros },
  }),
  down: (x, { D, d }) => x.matmul(D.t()).add(d),
  up: (h, { U, u }) => h.matmul(U.t()).add(u),
}

/**
 * `serial`: of what a part of a block gives. `parallel`: of what the part is given, added to what it gives. `block`: of what
 * a whole block gives, its last sum and norm included.
 */
export type Arrangement = 'serial' | 'parallel' | 'block'

/** The schema of `BottleneckOptions`, for a method to extend; `placement` is left out where whole blocks are adapted. */
export const bottleneckOptions = (arrangement: Arrangement, placement: Part | 'both'): z.ZodObject => {
  const common = commonOptions.extend({
    bottleneck: z.number().int().positive().optional().describe('inner width b (default: width / reduction)'),
    reduction: z.number().positive().default(16).describe('width divided by the inner width'),
    activation: z
      .enum(Object.keys(activations) as [string, ...string[]])
      .default('gelu')
      .describe('between the two projections'),
    scale: z.number().default(1).describe('what the adapter adds is multiplied by it'),
  })
  if (arrangement === 'block') return common
  return common.extend({
    placement: z
      .enum(['attention', 'feed-forward', 'both'])
      .default(placement)
      .describe('which parts of a block have one'),
  })
}

/** A bottleneck method's own words beside the projections. */
export interface BottleneckMethod<O, S extends BottleneckSettings> extends Pick<
  AdapterSpec<never, S>,
  'paper' | 'peftType' | 'options'
> {
  readonly arrangement: Arrangement
  readonly projections: Projections<O, S>
  /** The method's own keys of adapter_config.json beside those of all bottlenecks. */
  readonly keys?: PeftTable<O>['keys']
}

const usualSettings = (
  id: string,
  arrangement: Arrangement,
  o: BottleneckOptions,
  site: Site,
): BottleneckSettings => {
  // A part of a block is as wide where it begins as where it ends; only a module that is none has its own input.
  const isPart = beginOfPart(site.name)[0] !== site.name
  const width = arrangement === 'parallel' && !isPart ? site.in : site.out
  const bottleneck = o.bottleneck ?? Math.max(1, Math.round(width / (o.reduction ?? 16)))
  requireRank(id, bottleneck, { ...site, in: width }, { what: 'bottleneck' })
  return { in: width, out: site.out, bottleneck, activation: o.activation, scale: o.scale }
}

/** The bottleneck's output for x: [..., in] -> [..., out]. */
export const bottleneckOf = <S extends BottleneckSettings>(
  { down, up }: Pick<Projections<never, S>, 'down' | 'up'>,
  x: Tensor,
  p: Named<Tensor>,
  s: S,
  context: SiteContext,
): Tensor => {
  const y = up(activation(s.activation)(down(x, p, s, context)), p, s, context)
  return s.scale === 1 ? y : y.mul(s.scale)
}

/** The answer of the seam in which an arrangement stands. */
const answerOf = <S extends BottleneckSettings>(
  arrangement: Arrangement,
  projections: Pick<Projections<never, S>, 'down' | 'up'>,
): Pick<AdapterSpec<never, S>, 'linear' | 'module'> =>
  arrangement === 'block'
    ? {
        module(x, at, run, p, s, context) {
          const y = run(x, at)
          return y.add(bottleneckOf(projections, y, p, s, context))
        },
      }
    : {
        linear(y, _x, p, s, context) {
          const from = arrangement === 'serial' ? y : context.entered(...beginOfPart(context.site.name))
          return y.add(bottleneckOf(projections, from, p, s, context))
        },
      }

/** The keys of adapter_config.json that all bottlenecks have. */
const usualKeys = {
  activation: 'activation',
  bottleneck: 'bottleneck',
  placement: 'placement',
  reduction: 'reduction',
  scale: 'scale',
} as const

/** The spec of a method that puts bottlenecks somewhere, for `adapter`. */
export const bottleneckSpec = <O extends BottleneckOptions, S extends BottleneckSettings>({
  arrangement,
  projections,
  keys,
  ...method
}: BottleneckMethod<O, S>): AdapterSpec<O, S> => ({
  ...method,
  size: { option: 'bottleneck', kind: 'count' },
  kinds: [arrangement === 'block' ? 'block' : 'linear'],
  defaultTargets: (base, { placement }) =>
    arrangement === 'block'
      ? blockNames
      : endsOfParts(base, placement === 'both' ? ['attention', 'feed-forward'] : [placement]),
  settings: (options, site) =>
    projections.settings(usualSettings(method.paper.id, arrangement, options, site), options, site),
  parameters: (site, settings) => projections.parameters(settings, site),
  ...(projections.shared && { shared: projections.shared }),
  ...answerOf(arrangement, projections),
  peft: { keys: { ...usualKeys, ...keys } },
})

/** Every block, as a regular expression. */
const blockNames = '.*'

/** A bottleneck adapter of dense projections. `placement`: its default. */
export const denseBottleneck = (
  paper: Paper,
  peftType: string,
  arrangement: Arrangement,
  placement: Part | 'both',
): AdapterMethod<BottleneckOptions> =>
  adapter(
    bottleneckSpec<BottleneckOptions, BottleneckSettings>({
      paper,
      peftType,
      options: bottleneckOptions(arrangement, placement),
      arrangement,
      projections: dense,
    }),
  )
