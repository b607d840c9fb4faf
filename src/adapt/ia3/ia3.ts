/**
 * @file (IA)^3 (Liu et al. 2022, arXiv 2205.05638): vectors l, one at first, that scale keys, values and the hidden units
 * of the feed-forward part. As PEFT has it: l ⊙ (W x + b) at attention modules, and W (l ⊙ x) + b at feed-forward ones.
 */
import type { z } from 'zod'
import { architectures, type Model } from '../../models/index.js'
import { adapter } from '../core/adapter.js'
import { card } from './card.js'
import { ones } from '../core/initial.js'
import { sitesOf } from '../../models/sites.js'
import { listed, matcher } from '../../models/targets.js'
import {
  type AdapterMethod,
  type AdapterSpec,
  type CommonOptions,
  commonOptions,
  moduleNames,
} from '../core/spec.js'

/** Options of (IA)^3. */
export interface Ia3Options extends Omit<CommonOptions, 'bias'> {
  /** Feed-forward modules among the targets, written as targets are. Default: by the architectures' names. */
  readonly feedforward: string | readonly string[]
}

/** Whether the input is scaled rather than the output. */
interface Settings {
  readonly scalesInput: boolean
}

/** Modules that read the hidden units of a feed-forward part, in whichever architecture. */
const feedforward = [...new Set(architectures.flatMap(({ targets }) => targets?.hiddenInputs ?? []))]

/** Those of `names` that name a linear module. */
const present = (base: Model, names: readonly string[]): string[] => {
  const sites = sitesOf(base, ['linear'])
  return names.filter((name) => sites.some((site) => matcher([name])(site.name)))
}

const options: z.ZodObject = commonOptions.omit({ bias: true }).extend({
  feedforward: moduleNames
    .default(feedforward)
    .describe('which targets are feed-forward modules, whose input is scaled'),
})

const spec: AdapterSpec<Ia3Options, Settings> = {
  paper: card,
  peftType: 'IA3',
  options,
  kinds: ['linear'],
  defaultTargets: (base) =>
    present(base, [
      ...(base.architecture.targets?.keysAndValues ?? []),
      ...(base.architecture.targets?.hiddenInputs ?? []),
    ]),
  settings: (o, { name }) => ({ scalesInput: matcher(o.feedforward)(name) }),
  parameters: ({ in: width, out }, { scalesInput }) => ({
    l: scalesInput
      ? { key: 'ia3_l', shape: [1, width], initial: ones, axes: [undefined, 'in'] }
      : { key: 'ia3_l', shape: [out, 1], initial: ones, axes: ['out', undefined] },
  }),
  linear: (y, x, { l }, { scalesInput }, { base }) =>
    scalesInput ? base(x.mul(l.reshape([-1]))) : y.mul(l.reshape([-1])),
  fold: (W, { l }) => W.mul(l),
  foldBias: (b, { l }, { scalesInput }) => (scalesInput ? b : b.mul(l.reshape([-1]))),
  blocks: () => ['in', 'out'],
  peft: {
    keys: {
      feedforward_modules: {
        option: 'feedforward',
        write: (feedforward, _, { sites }) =>
          written(
            feedforward,
            sites.map(({ name }) => name),
          ),
        read: (json) => json as string | string[],
      },
    },
    derived: ({ sites }) => ({ fan_in_fan_out: sites.some(({ transposed }) => transposed) }),
    harmless: { init_ia3_weights: true },
  },
  lacks: ['bias', 'layers_pattern', 'layers_to_transform'],
}

/** A pattern as it is; of names those that name a site. */
const written = (pattern: string | readonly string[], sites: readonly string[]): string | string[] => {
  const names = listed(pattern)
  return typeof names === 'string' ? names : names.filter((name) => sites.some(matcher([name])))
}

/**
 * (IA)^3 on `base`, a checkpoint or an open model: a model whose parameters are the vectors l of every target.
 * Throws UsageError for a target that matches nothing.
 */
export const ia3: AdapterMethod<Ia3Options> = adapter(spec)
