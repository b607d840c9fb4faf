/**
 * @file LoRA (Hu et al. 2021, arXiv 2106.09685): W x + (α / r) B A x, with A: [r, in] random and B: [out, r] zero at
 * first. Of rsLoRA (Kalajdzievski 2023, arXiv 2312.03732) the scale α / √r; of DoRA (Liu et al. 2024, arXiv 2402.09353)
 * the magnitude m: [out], by which the rows of the changed weight are scaled: m (W + s B A) / ||W + s B A||. Of QLoRA
 * (Dettmers et al. 2023, arXiv 2305.14314) the base rounded to four bits.
 */
import { z } from 'zod'
import type { JsonObject } from '../../checkpoint/index.js'
import { CheckpointError } from '../../errors.js'
import { embedding, stopGradient, type Tensor } from '../../tensor/index.js'
import { adapter } from '../core/adapter.js'
import { type AdapterMethod, type AdapterSpec, type CommonOptions, commonOptions } from '../core/spec.js'
import { kaimingUniform, rowNorms, standardNormal, zeros } from '../core/initial.js'
import { card } from './card.js'
import { nf4 } from './nf4.js'
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
  /** What the frozen weights are: as they are stored, or rounded to four bits (QLoRA). Default 'stored'. */
  readonly base: 'stored' | 'nf4'
  /** Of four bits: round the blocks' magnitudes too. Default true. */
  readonly doubleQuantization: boolean
  /** Other ranks, by regular expressions for the end of a module's name. */
  readonly rankPattern: Readonly<Record<string, number>>
  readonly alphaPattern: Readonly<Record<string, number>>
}

/** What the options come to at one module. */
interface Settings {
  readonly rank: number
  /** s. */
  readonly scale: number
  readonly dropout: number
  readonly dora: boolean
}

const rank = z.number().int().positive()

const options = commonOptions.extend({
  rank: rank.default(8).describe('rank r of the update'),
  alpha: z.number().positive().default(16).describe('the update is scaled by alpha / rank'),
  dropout: z.number().min(0).lt(1).default(0).describe("dropout on the update's input"),
  rslora: z.boolean().default(false).describe('scale by alpha / sqrt(rank)'),
  dora: z.boolean().default(false).describe("also train the magnitude of the weight's rows"),
  base: z
    .enum(['stored', 'nf4'])
    .default('stored')
    .describe('the frozen weights: as stored, or rounded to 4 bits (QLoRA)'),
  doubleQuantization: z.boolean().default(true).describe("of 4 bits: round the blocks' magnitudes too"),
  ...patterns,
})

const settings = (o: LoraOptions, site: Site): Settings => {
  const { name } = site
  const r = byPattern(o.rankPattern, name) ?? o.rank
  const alpha = byPattern(o.alphaPattern, name) ?? o.alpha
  requireRank('lora', r, site, { hint: 'Other ranks for some modules: rankPattern.' })
  return { rank: r, scale: alpha / (o.rslora ? Math.sqrt(r) : r), dropout: o.dropout, dora: o.dora }
}

type Parameters = Readonly<Record<string, Tensor>>

/** s B A: [out, in]. */
const delta = ({ A, B }: Parameters, { scale }: Settings): Tensor => B.matmul(A).mul(scale)

/** m / ||W + s B A|| of each row; the norm is a constant in the backward pass. */
const magnitudeScale = (W: Tensor, p: Parameters, s: Settings): Tensor =>
  p.magnitude.div(stopGradient(W.add(delta(p, s)).square().sum(1).sqrt()))

/** Ways in which PEFT starts A and B that leave the base as it is. */
const harmlessStarts: readonly string[] = ['gaussian', 'eva', 'orthogonal']

const fromPeft = (json: JsonObject): Omit<LoraOptions, keyof CommonOptions> => {
  const unsupported = ['lora_bias', 'use_qalora', 'use_bdlora', 'alora_invocation_tokens', 'arrow_config']
    .concat('layer_replication', 'target_parameters', 'trainable_token_indices', 'megatron_config')
    .concat('kasa_config', 'monteclora_config', 'velora_config')
    .find((key) => json[key])
  if (unsupported !== undefined)
    throw new CheckpointError(
      'UnsupportedAdapter',
      `adapter_config.json: ${unsupported} is ${JSON.stringify(json[unsupported])}, which Weft's LoRA has not.`,
    )
  const { init_lora_weights: initial = true } = json
  if (typeof initial === 'string' && !harmlessStarts.includes(initial))
    throw new CheckpointError(
      'UnsupportedAdapter',
      `adapter_config.json: init_lora_weights is '${initial}', which changed the base's weights too.`,
      { hint: 'Convert it with PEFT to plain LoRA first (path_initial_model_for_weight_conversion).' },
    )
  const given = {
    rank: json.r,
    alpha: json.lora_alpha,
    dropout: json.lora_dropout,
    rslora: json.use_rslora,
    dora: json.use_dora,
    rankPattern: json.rank_pattern,
    alphaPattern: json.alpha_pattern,
    base: json.weft_base,
    doubleQuantization: json.weft_base_double,
  }
  const defaults = { rank: 8, alpha: 8, dropout: 0, rslora: false, dora: false }
  const rounded = { base: 'stored', doubleQuantization: true } as const
  const present = Object.entries(given).filter(([, x]) => x !== undefined && x !== null)
  return { ...defaults, ...rounded, rankPattern: {}, alphaPattern: {}, ...Object.fromEntries(present) }
}

const spec: AdapterSpec<LoraOptions, Settings> = {
  paper: card,
  peftType: 'LORA',
  options,
  size: { option: 'rank', kind: 'count' },
  kinds: ['linear', 'embedding'],
  settings,
  parameters: ({ kind, in: width, out }, { rank: r, dora }) => {
    const [A, B] =
      kind === 'embedding' ? ['lora_embedding_A', 'lora_embedding_B'] : ['lora_A.weight', 'lora_B.weight']
    const [first, second] = kind === 'embedding' ? [zeros, standardNormal] : [kaimingUniform, zeros]
    return {
      A: { key: A, shape: [r, width], initial: first, axes: [undefined, 'in'] },
      B: { key: B, shape: [out, r], initial: second, axes: ['out', undefined] },
      ...(dora && {
        magnitude: { key: 'lora_magnitude_vector', shape: [out], initial: rowNorms, axes: ['out'] },
      }),
    }
  },
  linear(y, x, p, s, { weight, bias, dropout }) {
    const dropped = dropout(x, s.dropout)
    const update = dropped.matmul(p.A.t()).matmul(p.B.t()).mul(s.scale)
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
  blocks: ({ dora }) => (dora ? ['out'] : ['in', 'out']),
  rewrite: async (model, { base, doubleQuantization }) =>
    base === 'nf4' ? nf4(model, { double: doubleQuantization }) : undefined,
  toPeft: ({ rank: r, alpha, dropout, rslora, dora, rankPattern, alphaPattern, ...o }, sites) => ({
    // PEFT leaves the base's rounding to who loads the base; it passes over these two keys.
    ...(o.base === 'nf4' && { weft_base: o.base, weft_base_double: o.doubleQuantization }),
    alpha_pattern: { ...alphaPattern },
    fan_in_fan_out: sites.some(({ kind, transposed }) => kind === 'linear' && transposed),
    init_lora_weights: true,
    lora_alpha: alpha,
    lora_bias: false,
    lora_dropout: dropout,
    r,
    rank_pattern: { ...rankPattern },
    use_dora: dora,
    use_rslora: rslora,
    ...unused,
  }),
  fromPeft,
  ignoredKeys: ['runtime_config', 'megatron_core', 'qalora_group_size', 'weft_base', 'weft_base_double'],
}

/** Keys that PEFT writes for variants that are not in use. */
const unused: JsonObject = {
  alora_invocation_tokens: null,
  arrow_config: null,
  corda_config: null,
  ensure_weight_tying: false,
  eva_config: null,
  kasa_config: null,
  layer_replication: null,
  loftq_config: {},
  lora_ga_config: null,
  megatron_config: null,
  megatron_core: 'megatron.core',
  monteclora_config: null,
  qalora_group_size: 16,
  target_parameters: null,
  trainable_token_indices: null,
  use_bdlora: null,
  use_qalora: false,
  velora_config: null,
}

/**
 * LoRA on `base`, a checkpoint or an open model: a model whose parameters are A and B (and m) at every target.
 * Throws UsageError for a target that matches nothing and a rank that a matrix cannot have.
 */
export const lora: AdapterMethod<LoraOptions> = adapter(spec)
