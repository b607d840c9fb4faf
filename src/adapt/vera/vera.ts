/**
 * @file VeRA (Kopiczko et al. 2023, arXiv 2310.11454): W x + b ⊙ (B (d ⊙ (A x))), with A: [r, in] and B: [out, r] random,
 * frozen and shared by all modules (each takes the rows and columns that it has), d: [r] and b: [out] trained, b zero at
 * first.
 */
import { z } from 'zod'
import { CheckpointError } from '../../errors.js'
import type { Tensor } from '../../tensor/index.js'
import { adapter } from '../core/adapter.js'
import { filledWith, uniformWithin, zeros } from '../core/initial.js'
import {
  type AdapterMethod,
  type AdapterSpec,
  type CommonOptions,
  commonOptions,
  type Named,
} from '../core/spec.js'
import { card } from './card.js'
import { maxOf } from '../../tensor/numbers.js'

/** Options of VeRA. */
export interface VeraOptions extends CommonOptions {
  /** Rank r of the shared projections. Default 256. */
  readonly rank: number
  /** Dropout probability on the update's input, in [0, 1). Default 0. */
  readonly dropout: number
  /** Beginning of the vector d. Default 0.1. */
  readonly initial: number
  /** Number that PEFT would make A and B of; they are saved in any case. Default 0. */
  readonly projectionKey: number
}

interface Settings extends Pick<VeraOptions, 'rank' | 'dropout' | 'initial'> {
  readonly in: number
  readonly out: number
}

const options: z.ZodObject = commonOptions.extend({
  rank: z.number().int().positive().default(256).describe('rank r of the shared projections'),
  dropout: z.number().min(0).lt(1).default(0).describe("dropout on the update's input"),
  initial: z.number().default(0.1).describe('what the vector d is at first'),
  projectionKey: z.number().int().default(0).describe("PEFT's number of the random projections, kept for it"),
})

/** The part of the shared projections that fits the module. */
const projections = ({ A, B }: Named<Tensor>, s: Settings): { A: Tensor; B: Tensor } => ({
  A: A.slice(1, 0, s.in),
  B: B.slice(0, 0, s.out),
})

/** Kaiming's uniform: within ±sqrt(6 / columns). */
const kaiming = uniformWithin((shape) => Math.sqrt(6 / shape[1]))

const spec: AdapterSpec<VeraOptions, Settings> = {
  paper: card,
  peftType: 'VERA',
  options,
  size: { option: 'rank', kind: 'count' },
  kinds: ['linear'],
  settings: ({ rank, dropout, initial }, site) => ({ rank, dropout, initial, in: site.in, out: site.out }),
  parameters: ({ out }, { rank, initial }) => ({
    b: { key: 'vera_lambda_b', shape: [out], initial: zeros },
    d: { key: 'vera_lambda_d', shape: [rank], initial: filledWith(initial) },
  }),
  shared({ rank }, sites) {
    const width = maxOf(sites.map((site) => site.in))
    const out = maxOf(sites.map((site) => site.out))
    return {
      A: { key: 'vera_A', shape: [rank, width], initial: kaiming, frozen: true },
      B: { key: 'vera_B', shape: [out, rank], initial: kaiming, frozen: true },
    }
  },
  linear(y, x, p, s, { dropout }) {
    const { A, B } = projections(p, s)
    return y.add(dropout(x, s.dropout).matmul(A.t()).mul(p.d).matmul(B.t()).mul(p.b))
  },
  fold(W, p, s) {
    const { A, B } = projections(p, s)
    return W.add(B.mul(p.d).matmul(A).mul(p.b.unsqueeze(1)))
  },
  peft: {
    keys: {
      d_initial: 'initial',
      projection_prng_key: 'projectionKey',
      r: 'rank',
      vera_dropout: 'dropout',
    },
    derived: ({ sites }) => ({ fan_in_fan_out: sites.some(({ transposed }) => transposed) }),
    harmless: { init_weights: true, save_projection: true },
    check({ save_projection: saved }) {
      if (saved !== false) return
      throw new CheckpointError(
        'UnsupportedAdapter',
        'adapter_config.json: save_projection is false: the random projections are not in the folder.',
        { hint: 'Load it with PEFT, set save_projection, and save it again.' },
      )
    },
  },
  lacks: ['exclude_modules'],
}

/**
 * VeRA on `base`, a checkpoint or an open model: a model whose parameters are the vectors b and d of every target; the
 * projections are made of the seed, and saved beside them. Throws UsageError for a target that matches nothing.
 */
export const vera: AdapterMethod<VeraOptions> = adapter(spec)
