/**
 * @file GPT-NeoX (Pythia): a decoder whose two parts read the same residual stream side by side, with rotary positions for a
 * share of each head, and queries, keys and values of a head next to each other in one matrix.
 */
import { layerNorm, type Tensor } from '../tensor/index.js'
import { type JsonObject, normaliseConfig } from '../checkpoint/web.js'
import type { Architecture, AxisGroup, ModelInputs, ModelOutputs, WeightSpec } from './architecture.js'
import { attentionCore, lastOf, mergeHeads, rowsAt } from './attention.js'
import { reading } from './config.js'
import type { UnreadKeys } from './config-keys.js'
import { logitsBy } from './head.js'
import { type Positions, positionsFrom } from './positions.js'
import { readRope, type Rope, turned, turningPointOf } from './rope.js'
import { embeddingSpec, layerNormSpecs, linearSpecs, residual } from './specs.js'
import type { Weights } from './weights.js'

/** Sizes of one block. */
export interface GptNeoxLayer {
  readonly heads: number
  /** Numbers of a head. */
  readonly size: number
  /** Width of the MLP. */
  readonly hidden: number
}

export interface GptNeoxConfig {
  /** Kind of the logits: of the next token, or of the classes of a whole text. */
  readonly task: 'causal' | 'classify'
  readonly vocabulary: number
  readonly width: number
  readonly positions: number
  readonly layers: readonly GptNeoxLayer[]
  readonly rope: Rope
  readonly epsilon: number
  readonly activation: (x: Tensor) => Tensor
  /** Whether attention and the MLP read the same input, and are added together. */
  readonly parallel: boolean
  /** Whether attention's matrices have biases. */
  readonly biases: boolean
  /** Probabilities of dropout: of embeddings and of what each part adds, of attention's probabilities. */
  readonly dropout: Readonly<Record<'hidden' | 'attention', number>>
  /** Whether the head is the embedding table. */
  readonly tied: boolean
  readonly classes: number
  /** Id of the tokens behind a text that a classifier passes over. */
  readonly padding?: number
}

const unread: UnreadKeys = {
  // A classifier of tokens has the dropout, which no task of Weft's has.
  harmless: ['classifier_dropout', 'sliding_window'],
  defaults: { vocab_size: 50_432, hidden_size: 6144, num_hidden_layers: 44, num_attention_heads: 64 },
}

const read = reading('gpt_neox', unread, (config): GptNeoxConfig => {
  const width = config.size('hidden_size')
  const count = config.count('num_hidden_layers')
  const heads = config.perLayer('num_attention_heads', count)
  const sizes = config.perLayer(
    'head_dim',
    count,
    Math.floor(width / config.size('num_attention_heads', heads[0])),
  )
  const hidden = config.perLayer('intermediate_size', count, 24_576)
  const positions = config.size('max_position_embeddings', 2048)
  const theta = config.number('rotary_emb_base', 10_000)
  const classifies = config.first('architectures')?.endsWith('ForSequenceClassification') ?? false
  return {
    task: classifies ? 'classify' : 'causal',
    vocabulary: config.size('vocab_size'),
    width,
    positions,
    layers: heads.map((n, i) => ({ heads: n, size: sizes[i], hidden: hidden[i] })),
    rope: readRope(config, { maximum: positions, theta, sizes, partial: ['rotary_pct', 0.25] }),
    epsilon: config.number('layer_norm_eps', 1e-5),
    activation: config.activation('hidden_act', 'gelu'),
    parallel: config.boolean('use_parallel_residual', true),
    biases: config.boolean('attention_bias', true),
    dropout: {
      hidden: config.number('hidden_dropout', 0),
      attention: config.number('attention_dropout', 0),
    },
    tied: config.boolean('tie_word_embeddings', false),
    classes: config.classes(),
    padding: config.optional('number', 'pad_token_id'),
  }
})

/** The layer norm `name`, over the last axis of x. */
export const norm = (w: Weights, name: string, x: Tensor, c: GptNeoxConfig, at: Positions): Tensor =>
  w.module(name, x, at, (x) =>
    layerNorm(x, { weight: w.tensor(`${name}.weight`), bias: w.tensor(`${name}.bias`), epsilon: c.epsilon }),
  )

/** Self-attention of one block. x: [batch, time, width] -> the same. */
export const attention = (
  w: Weights,
  x: Tensor,
  c: GptNeoxConfig,
  { heads, size }: GptNeoxLayer,
  at: Positions,
): Tensor => {
  const [batch, time] = x.shape
  const fused = w.linear('query_key_value', x).reshape([batch, time, heads, 3 * size])
  const [q, k, v] = fused.transpose([0, 2, 1, 3]).split(3, -1)
  const drop = c.dropout.attention ? (p: Tensor): Tensor => w.dropout(p, c.dropout.attention) : undefined
  const parts = { q: turned(q, c.rope, at), k: turned(k, c.rope, at), v, at }
  return w.linear('dense', mergeHeads(w.attend('', parts, attentionCore({ drop }))))
}

/** x: [..., width] -> the same. */
export const mlp = (w: Weights, x: Tensor, c: GptNeoxConfig): Tensor =>
  w.linear('dense_4h_to_h', c.activation(w.linear('dense_h_to_4h', x)))

/** One block. x: [batch, time, width] -> the same. */
export const block = (
  w: Weights,
  x: Tensor,
  c: GptNeoxConfig,
  layer: GptNeoxLayer,
  at: Positions,
): Tensor => {
  const dropped = (y: Tensor): Tensor => w.dropout(y, c.dropout.hidden)
  const attended = w.module('attention', norm(w, 'input_layernorm', x, c, at), at, (x, at) =>
    attention(w.in('attention'), x, c, layer, at),
  )
  const h = x.add(dropped(attended))
  const before = norm(w, 'post_attention_layernorm', c.parallel ? x : h, c, at)
  return h.add(dropped(w.module('mlp', before, at, (x) => mlp(w.in('mlp'), x, c))))
}

/** Logits of the classes, read from the last token of each text. x: [batch, time, width] -> [batch, classes]. */
const classHead = (w: Weights, x: Tensor, inputs: ModelInputs, c: GptNeoxConfig): Tensor =>
  w.linear('score', rowsAt(x, lastOf(inputs, x.shape, c.padding)).squeeze(1))

const forward = (w: Weights, inputs: ModelInputs, c: GptNeoxConfig): ModelOutputs => {
  const embedded = inputs.embeddings ?? w.embedding('gpt_neox.embed_in', inputs.ids!)
  const at = inputs.at ?? positionsFrom(embedded.shape[1], { causal: true, mask: inputs.mask })
  let x = w.dropout(embedded, c.dropout.hidden)
  const hidden = [x]
  for (const [i, layer] of c.layers.entries()) {
    const name = `gpt_neox.layers.${i}`
    x = w.module(name, x, at, (x, at) => block(w.in(name), x, c, layer, at))
    hidden.push(x)
  }
  const last = (hidden[hidden.length - 1] = norm(w, 'gpt_neox.final_layer_norm', x, c, at))
  if (c.task === 'classify') return { logits: classHead(w, last, inputs, c), hidden }
  return { logits: logitsBy((rows) => w.linear('embed_out', rows), last, inputs.logitsAt), hidden }
}

/** A head's queries, keys and values are neighbours, so a unit is all three, and nothing moves inside it. */
const blockSpecs = (c: GptNeoxConfig, { heads, size, hidden }: GptNeoxLayer, i: number): WeightSpec[] => {
  const name = `gpt_neox.layers.${i}`
  const group = `layers.${i}.heads`
  const inward: AxisGroup = { group, unit: 3 * size }
  const outward: AxisGroup = { group, unit: size }
  const units = { group: `layers.${i}.hidden`, unit: 1 }
  const inner = heads * size
  return [
    ...layerNormSpecs(`${name}.input_layernorm`, c.width, residual),
    ...linearSpecs(`${name}.attention.query_key_value`, [3 * inner, c.width], [inward, residual], c.biases),
    ...linearSpecs(`${name}.attention.dense`, [c.width, inner], [residual, outward], c.biases),
    ...layerNormSpecs(`${name}.post_attention_layernorm`, c.width, residual),
    ...linearSpecs(`${name}.mlp.dense_h_to_4h`, [hidden, c.width], [units, residual]),
    ...linearSpecs(`${name}.mlp.dense_4h_to_h`, [c.width, hidden], [residual, units]),
  ]
}

const headSpec = (c: GptNeoxConfig, embedding: string): WeightSpec => {
  const classifies = c.task === 'classify'
  const rows = classifies ? c.classes : c.vocabulary
  const name = classifies ? 'score' : 'embed_out'
  const [head] = linearSpecs(name, [rows, c.width], [undefined, residual], false)
  return c.tied && !classifies ? { ...head, tied: embedding } : head
}

const table = (c: GptNeoxConfig): readonly WeightSpec[] => {
  const embedding = embeddingSpec('gpt_neox.embed_in', c.vocabulary, c.width)
  return [
    embedding,
    ...c.layers.flatMap((layer, i) => blockSpecs(c, layer, i)),
    ...layerNormSpecs('gpt_neox.final_layer_norm', c.width, residual),
    headSpec(c, embedding.name),
  ]
}

export const gptNeox: Architecture<GptNeoxConfig> = {
  name: 'gpt_neox',
  modelTypes: ['gpt_neox'],
  readConfig: (json) => read(normaliseConfig(json as JsonObject)),
  task: (c) => c.task,
  positions: (c) => c.positions,
  table,
  forward,
  turningPoint: ({ rope }) => turningPointOf([rope]),
  rotary: () => true,
  prefix: 'gpt_neox',
  // Transformers has called the head by another name since its fifth version.
  renamed: [[/^lm_head\./, 'embed_out.']],
  heads: ['embed_out', 'score'],
  targets: {
    usual: ['query_key_value'],
    keysAndValues: ['query_key_value'],
    hiddenInputs: ['dense_4h_to_h'],
  },
  sublayers: [
    { part: 'attention', first: ['attention.query_key_value'], last: 'attention.dense' },
    { part: 'feed-forward', first: ['mlp.dense_h_to_4h'], last: 'mlp.dense_4h_to_h' },
  ],
  sizeKeys: {
    heads: { all: 'num_attention_heads', size: 'head_dim' },
    hidden: 'intermediate_size',
    width: 'hidden_size',
    perLayer: true,
  },
  derivesHeadSize: true,
  stacks: [
    {
      name: '',
      path: 'gpt_neox.layers',
      count: 'num_hidden_layers',
      sizes: {
        num_attention_heads: () => 64,
        head_dim: ({ hidden_size: width = 6144, num_attention_heads: heads = 64 }) =>
          Math.floor(Number(width) / Number(heads)),
        intermediate_size: () => 24_576,
      },
    },
  ],
  withBiases: (json) => ({ ...json, attention_bias: true }),
  harmless: [/\.attention\.(masked_)?bias$/],
  cache: (c) =>
    c.layers.map(({ heads, size }, i) => ({ module: `gpt_neox.layers.${i}.attention`, heads, size })),
}
