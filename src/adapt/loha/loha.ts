/**
 * @file LoHa (of FedPara, Hyeon-Woo et al. 2021, arXiv 2108.06098, as LyCORIS and PEFT have it): W + (α / r) (A₁ B₁) ⊙
 * (A₂ B₂), with A: [out, r] and B: [r, in] random at first but A₂, which is zero.
 */
import type { Tensor } from '../../tensor/index.js'
import { adapter } from '../core/adapter.js'
import { normalWith, standardNormal, zeros } from '../core/initial.js'
import { card } from './card.js'
import {
  type LycorisOptions,
  lycorisOptions,
  type LycorisSettings,
  lycorisSettings,
  lycorisTable,
  withoutSome,
} from '../core/lycoris.js'
import { requireRank } from '../../models/sites.js'
import type { AdapterMethod, AdapterSpec, Named } from '../core/spec.js'

/** Options of LoHa. */
export type LohaOptions = LycorisOptions

/** The update: [out, in]. */
const delta = ({ A1, B1, A2, B2 }: Named<Tensor>, { scale }: LycorisSettings): Tensor =>
  A1.matmul(B1).mul(A2.matmul(B2)).mul(scale)

const spec: AdapterSpec<LohaOptions, LycorisSettings> = {
  paper: card,
  peftType: 'LOHA',
  options: lycorisOptions,
  size: { option: 'rank', kind: 'count' },
  kinds: ['linear'],
  fits: (o, site) =>
    requireRank('loha', lycorisSettings(o, site).rank, site, {
      hint: 'Other ranks for some modules: rankPattern.',
    }),
  settings: lycorisSettings,
  parameters: ({ in: width, out }, { rank }) => ({
    A1: { key: 'hada_w1_a', shape: [out, rank], initial: normalWith(0.1), axes: ['out', undefined] },
    B1: { key: 'hada_w1_b', shape: [rank, width], initial: standardNormal, axes: [undefined, 'in'] },
    A2: { key: 'hada_w2_a', shape: [out, rank], initial: zeros, axes: ['out', undefined] },
    B2: { key: 'hada_w2_b', shape: [rank, width], initial: standardNormal, axes: [undefined, 'in'] },
  }),
  linear: (y, x, p, s, context) => y.add(withoutSome(x.matmul(delta(p, s).t()), s, context)),
  fold: (W, p, s) => W.add(delta(p, s)),
  blocks: () => ['in', 'out'],
  peft: lycorisTable,
  lacks: ['bias'],
}

/**
 * LoHa on `base`, a checkpoint or an open model: a model whose parameters are two pairs of factors at every target.
 * Throws UsageError for a target that matches nothing.
 */
export const loha: AdapterMethod<LohaOptions> = adapter(spec)
