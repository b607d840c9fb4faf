/** @file Norm tuning (Zhao et al. 2023, arXiv 2312.11420): the weights and biases of the norms train, and nothing else. */
import type { z } from 'zod'
import { adapter } from '../core/adapter.js'
import { ownBias, ownWeight } from '../core/initial.js'
import { card } from './card.js'
import { sitesOf } from '../../models/sites.js'
import { type AdapterMethod, type AdapterSpec, type CommonOptions, commonOptions } from '../core/spec.js'

/** Options of norm tuning. */
export type LnTuningOptions = Omit<CommonOptions, 'bias'>

const options: z.ZodObject = commonOptions.omit({ bias: true })

const spec: AdapterSpec<LnTuningOptions, undefined> = {
  paper: card,
  peftType: 'LN_TUNING',
  options,
  kinds: ['norm'],
  defaultTargets: (base) => sitesOf(base, ['norm']).map(({ name }) => name),
  settings: () => undefined,
  parameters: ({ in: width, bias }) => ({
    weight: { key: 'ln_tuning_layers.weight', shape: [width], initial: ownWeight, replaces: 'weight' },
    ...(bias && {
      bias: { key: 'ln_tuning_layers.bias', shape: [width], initial: ownBias, replaces: 'bias' },
    }),
  }),
  peft: {},
  lacks: ['bias', 'layers_pattern', 'layers_to_transform'],
}

/**
 * Norm tuning on `base`, a checkpoint or an open model: a model whose parameters are its norms' weights and biases.
 * Default targets: every norm. Throws UsageError for a target that matches no norm.
 */
export const lnTuning: AdapterMethod<LnTuningOptions> = adapter(spec)
