/** @file GPT-2: a decoder with learned positions, layer norms before each part, and fused matrices stored [in, out]. */
import { layerNorm, type Tensor } from '../tensor/index.js'
import { WeftError } from '../errors.js'
import type {
  Architecture,
  AxisGroup,
  FusedPart,
  ModelInputs,
  ModelOutputs,
  WeightSpec,
} from './architecture.js'
import { attentionCore, mergeHeads, splitHeads } from './attention.js'
import { reading } from './config.js'
import type { UnreadKeys } from './config-keys.js'
import { logitsBy } from './head.js'
import { type Positions, positionsFrom } from './positions.js'
import type { Weights } from './weights.js'

/** Of one block. */
export interface Gpt2Layer {
  readonly heads: number
  /** Of a head. */
  readonly size: number
  /** Width of the MLP. */
  readonly hidden: number
  /** Multiplies q kᵀ. */
  readonly scale: number
}

export interface Gpt2Config {
  readonly vocabulary: number
  readonly width: number
  readonly positions: number
  readonly layers: readonly Gpt2Layer[]
  readonly epsilon: number
  readonly activation: (x: Tensor) => Tensor
  /** Probabilities of dropout: of embeddings, of attention's probabilities, of what each part adds to the residual. */
  readonly dropout: Readonly<Record<'embedding' | 'attention' | 'residual', number>>
  /** Whether the head is the embedding table. */
  readonly tied: boolean
}

const unread: UnreadKeys = {
  // A head that summarises, which no task of Weft's has; the precision of attention under mixed precision.
  harmless: [
    'summary_type',
    'summary_use_proj',
    'summary_activation',
    'summary_proj_to_labels',
    'summary_first_dropout',
    'reorder_and_upcast_attn',
    'n_ctx',
  ],
  aliases: {
    hidden_size: 'n_embd',
    max_position_embeddings: 'n_positions',
    num_attention_heads: 'n_head',
    num_hidden_layers: 'n_layer',
  },
}

const readConfig = reading('gpt2', unread, (config): Gpt2Config => {
  const width = config.size('n_embd', 768)
  const count = config.count('n_layer', 12)
  const heads = config.perLayer('n_head', count, 12)
  const sizes = config.perLayer('head_dim', count, Math.floor(width / config.size('n_head', 12)))
  const hidden = config.perLayer('n_inner', count, 4 * width)
  const scaled = config.boolean('scale_attn_weights', true)
  const byLayer = config.boolean('scale_attn_by_inverse_layer_idx', false)
  return {
    vocabulary: config.size('vocab_size', 50_257),
    width,
    positions: config.size('n_positions', 1024),
    layers: heads.map((n, i) => ({
      heads: n,
      size: sizes[i],
      hidden: hidden[i],
      scale: (scaled ? sizes[i] ** -0.5 : 1) / (byLayer ? i + 1 : 1),
    })),
    epsilon: config.number('layer_norm_epsilon', 1e-5),
    activation: config.activation('activation_function', 'gelu_new'),
    dropout: {
      embedding: config.number('embd_pdrop', 0.1),
      attention: config.number('attn_pdrop', 0.1),
      residual: config.number('resid_pdrop', 0.1),
    },
    tied: config.boolean('tie_word_embeddings', true),
  }
})

/** The layer norm `name`, over the last axis of x. */
export const norm = (w: Weights, name: string, x: Tensor, c: Gpt2Config, at: Positions): Tensor =>
  w.module(name, x, at, (x) =>
    layerNorm(x, { weight: w.tensor(`${name}.weight`), bias: w.tensor(`${name}.bias`), epsilon: c.epsilon }),
  )

/** Self-attention of one block. x: [batch, time, width] -> the same. */
export const attention = (w: Weights, x: Tensor, c: Gpt2Config, layer: Gpt2Layer, at: Positions): Tensor => {
  const [q, k, v] = w
    .linear('c_attn', x)
    .split(3)
    .map((part) => splitHeads(part, layer.heads))
  const drop = (p: Tensor): Tensor => w.dropout(p, c.dropout.attention)
  const y = w.attend('', { q, k, v, at }, attentionCore({ scale: layer.scale, drop }))
  return w.dropout(w.linear('c_proj', mergeHeads(y)), c.dropout.residual)
}

/** x: [..., width] -> the same. */
export const mlp = (w: Weights, x: Tensor, c: Gpt2Config): Tensor =>
  w.dropout(w.linear('c_proj', c.activation(w.linear('c_fc', x))), c.dropout.residual)

/** One block. x: [batch, time, width] -> the same. */
export const block = (w: Weights, x: Tensor, c: Gpt2Config, layer: Gpt2Layer, at: Positions): Tensor => {
  const attended = w.module('attn', norm(w, 'ln_1', x, c, at), at, (x, at) =>
    attention(w.in('attn'), x, c, layer, at),
  )
  const h = x.add(attended)
  return h.add(w.module('mlp', norm(w, 'ln_2', h, c, at), at, (x) => mlp(w.in('mlp'), x, c)))
}

/** What enters the first block: [batch, time, width]. Throws WeftError where positions go beyond the table. */
export const embed = (w: Weights, { ids, embeddings }: ModelInputs, c: Gpt2Config, at: Positions): Tensor => {
  if (at.limit !== undefined && at.limit > c.positions)
    throw new WeftError('TooManyPositions', `${at.limit} tokens: this model has ${c.positions} positions`, {
      hint: 'Give it shorter sequences.',
    })
  const tokens = embeddings ?? w.embedding('transformer.wte', ids!)
  return w.dropout(tokens.add(w.embedding('transformer.wpe', at.ids)), c.dropout.embedding)
}

const forward = (w: Weights, inputs: ModelInputs, c: Gpt2Config): ModelOutputs => {
  const time = (inputs.embeddings ?? inputs.ids!).shape[1]
  const at = inputs.at ?? positionsFrom(time, { causal: true, mask: inputs.mask })
  let x = embed(w, inputs, c, at)
  const hidden = [x]
  for (const [i, layer] of c.layers.entries()) {
    const name = `transformer.h.${i}`
    x = w.module(name, x, at, (x, at) => block(w.in(name), x, c, layer, at))
    hidden.push(x)
  }
  const last = (hidden[hidden.length - 1] = norm(w, 'transformer.ln_f', x, c, at))
  return { logits: logitsBy((rows) => w.linear('lm_head', rows), last, inputs.logitsAt), hidden }
}

const residual: AxisGroup = { group: 'residual', unit: 1 }

const normSpecs = (name: string, width: number): WeightSpec[] => [
  { name: `${name}.weight`, shape: [width], kind: 'norm', axes: [residual] },
  { name: `${name}.bias`, shape: [width], kind: 'norm', axes: [residual] },
]

/** A linear module stored [in, out]. */
const conv1d = (
  name: string,
  [inside, out]: readonly [number, number],
  [inAxis, outAxis]: readonly [AxisGroup, AxisGroup],
  parts?: WeightSpec['parts'],
): WeightSpec[] => [
  {
    name: `${name}.weight`,
    shape: [inside, out],
    kind: 'linear',
    layout: 'in-out',
    axes: [inAxis, outAxis],
    parts,
  },
  { name: `${name}.bias`, shape: [out], kind: 'bias', axes: [outAxis], parts },
]

const blockSpecs = (c: Gpt2Config, { heads, size, hidden }: Gpt2Layer, i: number): WeightSpec[] => {
  const name = `transformer.h.${i}`
  const headAxis = { group: `layers.${i}.heads`, unit: size }
  const units = { group: `layers.${i}.hidden`, unit: 1 }
  const inner = heads * size
  const parts = ['q', 'k', 'v'].map((part): FusedPart => ({
    name: part,
    size: inner,
    inside: part === 'v' ? 'values' : 'queries',
  }))
  return [
    ...normSpecs(`${name}.ln_1`, c.width),
    ...conv1d(`${name}.attn.c_attn`, [c.width, 3 * inner], [residual, headAxis], parts),
    ...conv1d(`${name}.attn.c_proj`, [inner, c.width], [{ ...headAxis, inside: 'values' }, residual]),
    ...normSpecs(`${name}.ln_2`, c.width),
    ...conv1d(`${name}.mlp.c_fc`, [c.width, hidden], [residual, units]),
    ...conv1d(`${name}.mlp.c_proj`, [hidden, c.width], [units, residual]),
  ]
}

const table = (c: Gpt2Config): readonly WeightSpec[] => {
  const tokens = 'transformer.wte.weight'
  const axes = [undefined, residual]
  return [
    { name: tokens, shape: [c.vocabulary, c.width], kind: 'embedding', axes },
    { name: 'transformer.wpe.weight', shape: [c.positions, c.width], kind: 'embedding', axes },
    ...c.layers.flatMap((layer, i) => blockSpecs(c, layer, i)),
    ...normSpecs('transformer.ln_f', c.width),
    {
      name: 'lm_head.weight',
      shape: [c.vocabulary, c.width],
      kind: 'linear',
      axes,
      tied: c.tied ? tokens : undefined,
    },
  ]
}

export const gpt2: Architecture<Gpt2Config> = {
  name: 'gpt2',
  modelTypes: ['gpt2'],
  readConfig,
  task: () => 'causal',
  positions: (c) => c.positions,
  table,
  forward,
  prefix: 'transformer',
  heads: ['lm_head'],
  targets: { usual: ['c_attn'], keysAndValues: ['c_attn'], hiddenInputs: ['mlp.c_proj'] },
  sublayers: [
    { part: 'attention', first: ['attn.c_attn'], last: 'attn.c_proj' },
    { part: 'feed-forward', first: ['mlp.c_fc'], last: 'mlp.c_proj' },
  ],
  sizeKeys: {
    heads: { all: 'n_head', size: 'head_dim' },
    hidden: 'n_inner',
    width: 'n_embd',
    perLayer: true,
  },
  derivesHeadSize: true,
  stacks: [
    {
      name: '',
      path: 'transformer.h',
      count: 'n_layer',
      sizes: {
        n_head: () => 12,
        head_dim: ({ n_embd = 768, n_head = 12 }) => Math.floor(Number(n_embd) / Number(n_head)),
        n_inner: ({ n_embd = 768 }) => 4 * Number(n_embd),
      },
      byNumber: { scale_attn_by_inverse_layer_idx: false },
    },
  ],
  harmless: [/\.attn\.(masked_)?bias$/],
  cache: (c) => c.layers.map(({ heads, size }, i) => ({ module: `transformer.h.${i}.attn`, heads, size })),
}
