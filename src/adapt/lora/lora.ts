/**
 * @file LoRA (Hu et al. 2021, arXiv 2106.09685): W x + (α / r) B A x, with A: [r, in] random and B: [out, r] zero at
 * first. Of rsLoRA (Kalajdzievski 2023, arXiv 2312.03732) the scale α / √r; of DoRA (Liu et al. 2024, arXiv 2402.09353)
 * the magnitude m: [out], by which the rows of the changed weight are scaled: m (W + s B A) / ||W + s B A||. Of QLoRA
 * (Dettmers et al. 2023, arXiv 2305.14314) the base rounded to four bits.
 */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import { embedding, stopGradient, type Tensor } from '../../tensor/index.js'
import { adapter } from '../core/adapter.js'
import { type AdapterMethod, type AdapterSpec, type CommonOptions, commonOptions } from '../core/spec.js'
import { kaimingUniform, rowNorms, standardNormal, zeros } from '../core/initial.js'
import { card } from './card.js'
import { atExperts } from './experts.js'
import { nf4 } from './nf4.js'
import { loraTable } from './peft.js'
import { withoutStart } from './starts.js'
import { byPattern, patterns } from '../core/patterns.js'
import { requireRank, type Site } from '../../models/sites.js'

export interface LoraOptions extends CommonOptions {
  /** r. Default 8. */
  readonly rank: number
  /** α. Default 16. */
  readonly alpha: number
  /** Of x on its way through A, in training. Default 0. */
  readonly dropout: number
  /** Scale by α / √r. Default false. */
  readonly rslora: boolean
  /** Train the rows' magnitudes. Default false. */
  readonly dora: boolean
  /** Train a bias of the update too: s (B A x + b). Default false. */
  readonly updateBias: boolean
  /** Single tokens that train, by the ends of the names of embeddings: their rows stand in the base's place. */
  readonly trainableTokens: Readonly<Record<string, readonly number[]>>
  /** What the frozen weights are: as they are stored, or rounded to four bits (QLoRA). Default 'stored'. */
  readonly base: 'stored' | 'nf4'
  /** Of four bits: round the blocks' magnitudes too. Default true. */
  readonly doubleQuantization: boolean
  /** Other ranks, by regular expressions for the end of a module's name. */
  readonly rankPattern: Readonly<Record<string, number>>
  readonly alphaPattern: Readonly<Record<string, number>>
}

/** What the options come to at one module. */
export interface LoraSettings {
  readonly rank: number
  /** s. */
  readonly scale: number
  readonly dropout: number
  readonly dora: boolean
  readonly updateBias: boolean
}

const rank = z.number().int().positive()

const options = commonOptions.extend({
  rank: rank.default(8).describe('rank r of the update'),
  alpha: z.number().default(16).describe('the update is scaled by alpha / rank'),
  dropout: z.number().min(0).lt(1).default(0).describe("dropout on the update's input"),
  rslora: z.boolean().default(false).describe('scale by alpha / sqrt(rank)'),
  dora: z.boolean().default(false).describe("also train the magnitude of the weight's rows"),
  updateBias: z.boolean().default(false).describe('also train a bias of the update'),
  trainableTokens: z
    .record(z.string(), z.array(z.number().int().nonnegative()))
    .default({})
    .describe('single tokens to train: embedding=token'),
  base: z
    .enum(['stored', 'nf4'])
    .default('stored')
    .describe('the frozen weights: as stored, or rounded to 4 bits (QLoRA)'),
  doubleQuantization: z.boolean().default(true).describe("of 4 bits: round the blocks' magnitudes too"),
  ...patterns,
})

const rankAt = ({ rank, rankPattern }: LoraOptions, { name }: Site): number =>
  byPattern(rankPattern, name) ?? rank

const settings = (options: LoraOptions, site: Site): LoraSettings => {
  const { dropout, dora, updateBias, rslora } = options
  if (updateBias && (dora || site.kind === 'embedding'))
    throw new UsageError(
      'BadOption',
      `lora: updateBias with ${dora ? 'dora' : `an embedding, ${site.name}`}`,
      {
        hint: 'An update has a bias at linear modules, without dora.',
      },
    )
  const rank = rankAt(options, site)
  const alpha = byPattern(options.alphaPattern, site.name) ?? options.alpha
  return { rank, scale: alpha / (rslora ? Math.sqrt(rank) : rank), dropout, dora, updateBias }
}

type Parameters = Readonly<Record<string, Tensor>>

/** s B A: [out, in]. */
const delta = ({ A, B }: Parameters, { scale }: LoraSettings): Tensor => B.matmul(A).mul(scale)

/** m / ||W + s B A|| of each row; the norm is a constant in the backward pass. */
const magnitudeScale = (W: Tensor, p: Parameters, s: LoraSettings): Tensor =>
  p.magnitude.div(stopGradient(W.add(delta(p, s)).square().sum(1).sqrt()))

const spec: AdapterSpec<LoraOptions, LoraSettings> = {
  paper: card,
  peftType: 'LORA',
  options,
  size: { option: 'rank', kind: 'count' },
  kinds: ['linear', 'embedding'],
  fits: (o, site) =>
    requireRank('lora', rankAt(o, site), site, { hint: 'Other ranks for some modules: rankPattern.' }),
  settings,
  tokens: ({ trainableTokens }) => trainableTokens,
  parameters: ({ kind, in: width, out }, { rank: r, dora, updateBias }) => {
    const [A, B] =
      kind === 'embedding' ? ['lora_embedding_A', 'lora_embedding_B'] : ['lora_A.weight', 'lora_B.weight']
    const [first, second] = kind === 'embedding' ? [zeros, standardNormal] : [kaimingUniform, zeros]
    return {
      A: { key: A, shape: [r, width], initial: first, axes: [undefined, 'in'] },
      B: { key: B, shape: [out, r], initial: second, axes: ['out', undefined] },
      ...(updateBias && { b: { key: 'lora_B.bias', shape: [out], initial: zeros, axes: ['out'] } }),
      ...(dora && {
        magnitude: { key: 'lora_magnitude_vector', shape: [out], initial: rowNorms, axes: ['out'] },
      }),
    }
  },
  linear(y, x, p, s, { weight, bias, dropout }) {
    const dropped = dropout(x, s.dropout)
    const product = dropped.matmul(p.A.t()).matmul(p.B.t())
    const update = (s.updateBias ? product.add(p.b) : product).mul(s.scale)
    if (!s.dora) return y.add(update)
    const [b, m] = [bias(), magnitudeScale(weight(), p, s)]
    const same = dropped === x
    const plain = same ? (b ? y.sub(b) : y) : dropped.matmul(weight().t())
    const changed = plain.add(update).mul(m)
    if (!same) return y.sub(plain).add(changed)
    return b ? changed.add(b) : changed
  },
  embedding(y, ids, p, s, { weight }) {
    const update = embedding(p.A.t(), ids).matmul(p.B.t()).mul(s.scale)
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
