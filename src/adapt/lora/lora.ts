/**
 * @file LoRA (Hu et al. 2021, arXiv 2106.09685): W x + (α / r) B A x, with A: [r, in] random and B: [out, r] zero at
 * first. Of rsLoRA (Kalajdzievski 2023, arXiv 2312.03732) the scale α / √r; of DoRA (Liu et al. 2024, arXiv 2402.09353)
 * the magnitude m: [out], by which the rows of the changed weight are scaled: m (W + s B A) / ||W + s B A||. Of QLoRA
 * (Dettmers et al. 2023, arXiv 2305.14314) the base rounded to four bits.
 */
import type { Parameters } from '../../models/index.js'
import { requireRank } from '../../models/sites.js'
import { embedding, stopGradient, type Tensor } from '../../tensor/index.js'
import { adapter } from '../core/adapter.js'
import { kaimingUniform, rowNorms, standardNormal, zeros } from '../core/initial.js'
import type { AdapterMethod, AdapterSpec } from '../core/spec.js'
import { card } from './card.js'
import { atExperts } from './experts.js'
import { nf4 } from './nf4.js'
import { type LoraOptions, loraOptions, type LoraSettings, loraSettings, rankAt } from './options.js'
import { loraTable } from './peft.js'
import { withoutStart } from './starts.js'

/** s B A: [out, in]. */
const delta = ({ A, B }: Parameters<Tensor>, { scale }: LoraSettings): Tensor => B.matmul(A).mul(scale)

/** m / ||W + s B A|| of each row; the norm is a constant in the backward pass. */
const magnitudeScale = (W: Tensor, p: Parameters<Tensor>, s: LoraSettings): Tensor =>
  p.magnitude.div(stopGradient(W.add(delta(p, s)).square().sum(1).sqrt()))

const spec: AdapterSpec<LoraOptions, LoraSettings> = {
  paper: card,
  peftType: 'LORA',
  options: loraOptions,
  size: { option: 'rank', kind: 'count' },
  kinds: ['linear', 'embedding'],
  fits: (o, site) =>
    requireRank('lora', rankAt(o, site), site, { hint: 'Other ranks for some modules: rankPattern.' }),
  settings: loraSettings,
  tokens: ({ trainableTokens }) => trainableTokens,
  parameters: ({ kind, in: width, out }, { rank: r, dora, updateBias }) => {
    const start =
      kind === 'embedding'
        ? { keyA: 'lora_embedding_A', keyB: 'lora_embedding_B', A: zeros, B: standardNormal }
        : { keyA: 'lora_A.weight', keyB: 'lora_B.weight', A: kaimingUniform, B: zeros }
    return {
      A: { key: start.keyA, shape: [r, width], initial: start.A, axes: [undefined, 'in'] },
      B: { key: start.keyB, shape: [out, r], initial: start.B, axes: ['out', undefined] },
      ...(updateBias && { b: { key: 'lora_B.bias', shape: [out], initial: zeros, axes: ['out'] } }),
      ...(dora && {
        magnitude: { key: 'lora_magnitude_vector', shape: [out], initial: rowNorms, axes: ['out'] },
      }),
    }
  },
  linear(y, x, p, s, { weight, bias, dropout }) {
    const dropped = dropout(x, s.dropout)
    // Scaled where it is narrow.
    const product = dropped.matmul(p.A.t()).mul(s.scale).matmul(p.B.t())
    const update = s.updateBias ? product.add(p.b.mul(s.scale)) : product
    if (!s.dora) return y.add(update)
    const b = bias()
    const m = magnitudeScale(weight(), p, s)
    const same = dropped === x
    const plain = same ? (b ? y.sub(b) : y) : dropped.matmul(weight().t())
    const changed = plain.add(update).mul(m)
    if (!same) return y.sub(plain).add(changed)
    return b ? changed.add(b) : changed
  },
  embedding(y, ids, p, s, { weight, lookup }) {
    const update = embedding(p.A.t(), ids, lookup).matmul(p.B.t()).mul(s.scale)
    return s.dora ? y.add(update).mul(magnitudeScale(weight(), p, s)) : y.add(update)
  },
  fold(W, p, s) {
    const changed = W.add(delta(p, s))
    return s.dora ? changed.mul(magnitudeScale(W, p, s).unsqueeze(1)) : changed
  },
  foldBias: (b, p, s) => (s.updateBias ? b.add(p.b.mul(s.scale)) : b),
  obstacle: ({ name, bias }, { updateBias }) =>
    updateBias && !bias ? `the update has a bias, and ${name} has none` : undefined,
  blocks: ({ dora }) => (dora ? ['out'] : ['in', 'out']),
  rewrite: async (model, { base, doubleQuantization }) =>
    base === 'nf4' ? nf4(model, { double: doubleQuantization }) : undefined,
  read: atExperts,
  loaded: withoutStart,
  peft: loraTable,
}

/**
 * LoRA on `base`, a checkpoint or an open model: a model whose parameters are A and B (and m) at every target.
 * Throws UsageError for a target that matches nothing and a rank that a matrix cannot have.
 */
export const lora: AdapterMethod<LoraOptions> = adapter(spec)
