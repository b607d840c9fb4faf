/**
 * @file BitFit (Ben Zaken et al. 2021, arXiv 2106.10199): the biases of linear modules and norms train, and nothing else.
 * Linear modules that have none are given one, zero at first: Llama has none at all.
 */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import { adapter } from '../core/adapter.js'
import { card } from './card.js'
import { ownBias } from '../core/initial.js'
import { heads, sitesOf } from '../../models/sites.js'
import { type AdapterMethod, type AdapterSpec, type CommonOptions, commonOptions } from '../core/spec.js'

/** Options of BitFit. */
export interface BitfitOptions extends Omit<CommonOptions, 'bias'> {
  /** True to give linear modules without a bias one. Default true. */
  readonly add: boolean
}

const options: z.ZodObject = commonOptions.omit({ bias: true }).extend({
  add: z.boolean().default(true).describe('give linear modules without a bias one'),
})

const spec: AdapterSpec<BitfitOptions, undefined> = {
  paper: card,
  peftType: 'BITFIT',
  options,
  kinds: ['linear', 'norm'],
  defaultTargets(base, { add }) {
    const biased = sitesOf(base, ['linear', 'norm']).filter(
      ({ name, kind, bias }) => bias || (add && kind === 'linear' && !heads.has(name)),
    )
    if (biased.length) return biased.map(({ name }) => name)
    throw new UsageError('NoBias', `bitfit: ${base.checkpoint.folder} has no biases`, {
      hint: 'Give its linear modules some (add), or train its norms: ln-tuning.',
    })
  },
  settings({ add }, { name, kind, bias }) {
    if (bias || (add && kind === 'linear')) return undefined
    throw new UsageError('NoBias', `bitfit: ${name} has no bias`, {
      hint: kind === 'linear' ? 'Give it one: add.' : 'A norm without one cannot have one: leave it out.',
    })
  },
  parameters: ({ out }) => ({
    b: { key: 'bias', shape: [out], initial: ownBias, replaces: 'bias' },
  }),
  peft: { keys: { add: 'add' } },
  lacks: ['bias'],
}

/**
 * BitFit on `base`, a checkpoint or an open model: a model whose parameters are its biases. Default targets: every
 * linear module but the head, and every norm that has a bias. PEFT has no such method: the folder is Weft's own.
 * Throws UsageError for a target that matches nothing or can have no bias.
 */
export const bitfit: AdapterMethod<BitfitOptions> = adapter(spec)
