/**
 * @file T5: an encoder and a decoder with RMS norms before each part, and learned biases of relative positions in place of
 * position embeddings. Version 1.1 gates its feed-forward part and has a head of its own.
 */
import { activations, concat, full, rmsNorm, tensor, type Tensor, where } from '../tensor/index.js'
import type {
  Architecture,
  AxisGroup,
  HeadInside,
  ModelInputs,
  ModelOutputs,
  WeightSpec,
} from './architecture.js'
import { attentionCore, mergeHeads, splitHeads } from './attention.js'
import { type ConfigReader, reading } from './config.js'
import type { UnreadKeys } from './config-keys.js'
import { logitsBy } from './head.js'
import { type Positions, positionsFrom } from './positions.js'
import { embeddingSpec, linearSpecs, residual, spread } from './specs.js'
import type { Weights } from './weights.js'

export interface T5Config {
  readonly vocabulary: number
  readonly width: number
  readonly heads: number
  /** Of a head. */
  readonly size: number
  /** Width of the feed-forward part. */
  readonly hidden: number
  /** Number of blocks. */
  readonly encoder: number
  readonly decoder: number
  /** Number of buckets of relative positions, and the distance from which all share the last. */
  readonly buckets: number
  readonly farthest: number
  readonly epsilon: number
  readonly activation: (x: Tensor) => Tensor
  /** f(wi_0 x) * wi_1 x in place of f(wi x). */
  readonly gated: boolean
  /** Whether the head is the embedding table. */
  readonly tied: boolean
  /** Whether what the head is given is multiplied by width^-0.5. */
  readonly scaled: boolean
  readonly dropout: number
  /** The ids with which decoding starts, and that stand for nothing. */
  readonly start: number
  readonly padding: number
}

/**
 * `feed_forward_proj` ("relu", "gated-gelu", "gated-silu") says both; `dense_act_fn` and `is_gated_act`, which newer files
 * have beside it, win over it.
 */
const readFeedForward = (config: ConfigReader): Pick<T5Config, 'activation' | 'gated'> => {
  const projection = config.string('feed_forward_proj', 'relu')
  const parts = projection.split('-')
  const fits = parts.length === 1 || (parts.length === 2 && parts[0] === 'gated')
  const name = parts[parts.length - 1]
  config.require(
    fits && (config.has('dense_act_fn') || Object.hasOwn(activations, name)),
    'feed_forward_proj',
    'an activation such as "relu", or "gated-gelu"',
  )
  return {
    // The gated one is, and always was, the approximation by tanh.
    activation: config.activation('dense_act_fn', projection === 'gated-gelu' ? 'gelu_new' : name),
    gated: config.boolean('is_gated_act', parts[0] === 'gated'),
  }
}

const unread: UnreadKeys = {
  // The first files say how long the inputs of pre-training were; a classifier's dropout, which no task of Weft's has.
  harmless: ['n_positions', 'classifier_dropout'],
  fixed: { is_encoder_decoder: [true] },
  aliases: {
    hidden_size: 'd_model',
    num_attention_heads: 'num_heads',
    num_hidden_layers: 'num_layers',
    head_dim: 'd_kv',
  },
}

const readConfig = reading('t5', unread, (config): T5Config => {
  const layers = config.count('num_layers', 6)
  const padding = config.number('pad_token_id', 0)
  const tied = config.boolean('tie_word_embeddings', true)
  return {
    vocabulary: config.size('vocab_size', 32_128),
    width: config.size('d_model', 512),
    heads: config.size('num_heads', 8),
    size: config.size('d_kv', 64),
    hidden: config.size('d_ff', 2048),
    encoder: layers,
    decoder: config.count('num_decoder_layers', layers),
    buckets: config.size('relative_attention_num_buckets', 32),
    farthest: config.size('relative_attention_max_distance', 128),
    epsilon: config.number('layer_norm_epsilon', 1e-6),
    ...readFeedForward(config),
    tied,
    // Older files of version 1.1, whose head stands alone and is not scaled, say only that it is not tied.
    scaled: config.boolean('scale_decoder_outputs', tied),
    dropout: config.number('dropout_rate', 0.1),
    start: config.number('decoder_start_token_id', padding),
    padding,
  }
})

/** The RMS norm `name`, over the last axis of x. */
export const norm = (w: Weights, name: string, x: Tensor, c: T5Config, at: Positions): Tensor =>
  w.module(name, x, at, (x) => rmsNorm(x, w.tensor(`${name}.weight`), { epsilon: c.epsilon }))

/**
 * The bucket of each distance from 0 to `farthest`: one each for the first half of `count`, then ever wider ones, by logarithm
 * (Raffel et al. 2020). In float32 steps, because that is how the trained models' borders were found.
 */
const bucketsOf = (count: number, farthest: number): number[] => {
  const exact = Math.floor(count / 2)
  const { fround } = Math
  const unit = fround(Math.log(farthest / exact))
  return Array.from({ length: farthest + 1 }, (_, n) => {
    if (n < exact) return n
    const share = fround(fround(Math.log(fround(n / exact))) / unit)
    return Math.min(exact + Math.trunc(fround(share * (count - exact))), count - 1)
  })
}

/**
 * What the relative positions of tokens and keys add to the scores: [1 or batch, heads, time, keys]. An encoder has half its
 * buckets for keys that come later; a decoder sees none.
 */
export const positionBias = (w: Weights, c: T5Config, { ids, keys, causal }: Positions): Tensor => {
  const ahead = keys.unsqueeze(-2).sub(ids.unsqueeze(-1))
  const count = causal ? c.buckets : Math.floor(c.buckets / 2)
  const distance = (causal ? ahead.minimum(0) : ahead).abs().minimum(c.farthest)
  const near = tensor(bucketsOf(count, c.farthest), undefined, 'int32').gather(distance)
  const bucket = causal ? near : near.add(ahead.greater(0).cast('int32').mul(count))
  return w.embedding('relative_attention_bias', bucket).transpose([0, 3, 1, 2])
}

/** Position biases by positions: the same for every block of a stack, and made once. */
export type Bias = (at: Positions) => Tensor

const biasOf = (w: Weights, c: T5Config): Bias => {
  const made = new Map<Positions, Tensor>()
  return (at) => {
    const bias = made.get(at) ?? positionBias(w, c, at)
    made.set(at, bias)
    return bias
  }
}

/** Attention of x to `source`. x: [batch, time, width], source: [batch, keys, width] -> [batch, time, width]. */
export const attention = (
  w: Weights,
  x: Tensor,
  c: T5Config,
  at: Positions,
  { source = x, bias }: { source?: Tensor; bias?: Bias } = {},
): Tensor => {
  const heads = (name: string, from: Tensor): Tensor => splitHeads(w.linear(name, from), c.heads)
  const parts = { q: heads('q', x), k: heads('k', source), v: heads('v', source), bias: bias?.(at), at }
  const drop = (p: Tensor): Tensor => w.dropout(p, c.dropout)
  return w.linear('o', mergeHeads(w.attend('', parts, attentionCore({ scale: 1, drop }))))
}

/** The feed-forward part. x: [..., width] -> the same. */
export const mlp = (w: Weights, x: Tensor, c: T5Config): Tensor => {
  const h = c.gated
    ? c.activation(w.linear('wi_0', x)).mul(w.linear('wi_1', x))
    : c.activation(w.linear('wi', x))
  return w.linear('wo', w.dropout(h, c.dropout))
}

/** What a decoder's block reads of the encoder. */
export interface Encoded {
  /** [batch, keys, width]. */
  readonly x: Tensor
  /** Which of them are there: [batch, keys] int. Default all. */
  readonly mask?: Tensor
}

/** One block; a decoder's has `encoded`. x: [batch, time, width] -> the same. */
export const block = (
  w: Weights,
  x: Tensor,
  c: T5Config,
  at: Positions,
  bias: Bias,
  encoded?: Encoded,
): Tensor => {
  let parts = 0
  const part = (x: Tensor, name: string, body: (w: Weights, x: Tensor, at: Positions) => Tensor): Tensor => {
    const layer = w.in(`layer.${parts++}`)
    const y = layer.module(name, norm(layer, 'layer_norm', x, c, at), at, (x, at) =>
      body(layer.in(name), x, at),
    )
    return x.add(layer.dropout(y, c.dropout))
  }
  let h = part(x, 'SelfAttention', (w, x, at) => attention(w, x, c, at, { bias }))
  if (encoded) {
    const { ids, valid } = positionsFrom(encoded.x.shape[1], { causal: false, mask: encoded.mask })
    h = part(h, 'EncDecAttention', (w, x, at) =>
      attention(w, x, c, { ids: at.ids, keys: ids, valid, causal: false }, { source: encoded.x }),
    )
  }
  return part(h, 'DenseReluDense', (w, x) => mlp(w, x, c))
}

/** The blocks of one side (`w` is within 'encoder' or 'decoder') and its final norm: all hidden states, the last normed. */
const stack = (
  w: Weights,
  x: Tensor,
  c: T5Config,
  count: number,
  at: Positions,
  encoded?: Encoded,
): readonly Tensor[] => {
  const bias = biasOf(w.in('block.0.layer.0.SelfAttention'), c)
  const hidden = [w.dropout(x, c.dropout)]
  for (let i = 0; i < count; i++) {
    const name = `block.${i}`
    hidden.push(w.module(name, hidden[i], at, (x, at) => block(w.in(name), x, c, at, bias, encoded)))
  }
  hidden[count] = w.dropout(norm(w, 'final_layer_norm', hidden[count], c, at), c.dropout)
  return hidden
}

/** What the decoder reads: [batch, time, width] of ids (or embeddings) [batch, time, ...]. */
export const encode = (w: Weights, { ids, embeddings, mask }: ModelInputs, c: T5Config): Tensor => {
  const x = embeddings ?? w.embedding('shared', ids!)
  const at = positionsFrom(x.shape[1], { causal: false, mask })
  return stack(w.in('encoder'), x, c, c.encoder, at)[c.encoder]
}

/** Logits of what left the decoder's final norm. x: [..., width] -> [..., vocabulary]. */
export const head = (w: Weights, x: Tensor, c: T5Config): Tensor =>
  w.linear('lm_head', c.scaled ? x.mul(c.width ** -0.5) : x)

/** Logits of the decoder's tokens after `ids`: [batch, time] int -> [batch, time, vocabulary]; `at` as in `ModelInputs`. */
export const decode = (
  w: Weights,
  encoded: Encoded,
  { decoderIds, at, logitsAt }: Pick<ModelInputs, 'decoderIds' | 'at' | 'logitsAt'>,
  c: T5Config,
): ModelOutputs => {
  const x = w.embedding('shared', decoderIds!)
  const decoderPositions = at ?? positionsFrom(x.shape[1], { causal: true })
  const hidden = stack(w.in('decoder'), x, c, c.decoder, decoderPositions, encoded)
  return { logits: logitsBy((rows) => head(w, rows, c), hidden[c.decoder], logitsAt), hidden }
}

const forward = (w: Weights, inputs: ModelInputs, c: T5Config): ModelOutputs =>
  decode(w, { x: encode(w, inputs, c), mask: inputs.mask }, inputs, c)

/** What the decoder is given to predict `labels` ([batch, time] int, -100 where ignored): they, one later, behind the start. */
export const shiftRight = (labels: Tensor, c: T5Config): Tensor => {
  const [batch, time] = labels.shape
  const known = where(labels.equal(-100), c.padding, labels)
  return concat([full([batch, 1], c.start, labels.dtype), known.slice(1, 0, time - 1)], 1)
}

const normSpec = (name: string, width: number): WeightSpec => ({
  name: `${name}.weight`,
  shape: [width],
  kind: 'norm',
  axes: [residual],
})

/** New weights are as small as their inputs are many, and queries smaller still in place of scaling the scores. */
const attentionSpecs = (name: string, group: string, c: T5Config): WeightSpec[] => {
  const heads = (inside: HeadInside): AxisGroup => ({ group, unit: c.size, inside })
  const inner = c.heads * c.size
  const inward = (part: string): WeightSpec[] =>
    linearSpecs(
      `${name}.${part}`,
      [inner, c.width],
      [heads(part === 'v' ? 'values' : 'queries'), residual],
      false,
    )
  return [
    ...spread((c.width * c.size) ** -0.5, inward('q')),
    ...spread(c.width ** -0.5, [...inward('k'), ...inward('v')]),
    ...spread(inner ** -0.5, linearSpecs(`${name}.o`, [c.width, inner], [residual, heads('values')], false)),
  ]
}

const mlpSpecs = (name: string, group: string, c: T5Config): WeightSpec[] => {
  const units: AxisGroup = { group, unit: 1 }
  const inward = (part: string): WeightSpec[] =>
    linearSpecs(`${name}.${part}`, [c.hidden, c.width], [units, residual], false)
  return [
    ...spread(c.width ** -0.5, c.gated ? [...inward('wi_0'), ...inward('wi_1')] : inward('wi')),
    ...spread(c.hidden ** -0.5, linearSpecs(`${name}.wo`, [c.width, c.hidden], [residual, units], false)),
  ]
}

/** The heads of self-attention share their stack's table of position biases, so they are one group. */
const biasSpec = (side: string, c: T5Config): WeightSpec => ({
  name: `${side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight`,
  shape: [c.buckets, c.heads],
  kind: 'embedding',
  axes: [undefined, { group: `${side}.heads`, unit: 1 }],
  deviation: c.width ** -0.5,
})

const blockSpecs = (c: T5Config, side: 'encoder' | 'decoder', i: number): WeightSpec[] => {
  const name = `${side}.block.${i}`
  const group = `${side}.layers.${i}`
  const cross = `${name}.layer.1.EncDecAttention`
  const last = side === 'decoder' ? 2 : 1
  return [
    ...attentionSpecs(`${name}.layer.0.SelfAttention`, `${side}.heads`, c),
    ...(side === 'decoder' ? attentionSpecs(cross, `${group}.crossHeads`, c) : []),
    ...mlpSpecs(`${name}.layer.${last}.DenseReluDense`, `${group}.hidden`, c),
    ...Array.from({ length: last + 1 }, (_, part) => normSpec(`${name}.layer.${part}.layer_norm`, c.width)),
  ]
}

const table = (c: T5Config): readonly WeightSpec[] => {
  const shared = { ...embeddingSpec('shared', c.vocabulary, c.width), deviation: 1 }
  const [head] = spread(1, linearSpecs('lm_head', [c.vocabulary, c.width], [undefined, residual], false))
  const side = (name: 'encoder' | 'decoder'): WeightSpec[] => [
    { ...shared, name: `${name}.embed_tokens.weight`, tied: shared.name },
    biasSpec(name, c),
    ...Array.from({ length: c[name] }, (_, i) => blockSpecs(c, name, i)).flat(),
    normSpec(`${name}.final_layer_norm`, c.width),
  ]
  return [shared, ...side('encoder'), ...side('decoder'), c.tied ? { ...head, tied: shared.name } : head]
}

export const t5: Architecture<T5Config> = {
  name: 't5',
  modelTypes: ['t5'],
  kin: ['mt5', 'umt5'],
  readConfig,
  task: () => 'sequence',
  table,
  forward,
  attention: ({ encoder, decoder, heads, size }) => {
    const encoderNames = Array.from({ length: encoder }, (_, i) => `encoder.block.${i}.layer.0.SelfAttention`)
    const both = Array.from({ length: decoder }, (_, i) => [
      `decoder.block.${i}.layer.0.SelfAttention`,
      `decoder.block.${i}.layer.1.EncDecAttention`,
    ])
    return [...encoderNames, ...both.flat()].map((module) => ({ module, heads, size }))
  },
  cache: ({ decoder, heads, size }) =>
    Array.from({ length: decoder }, (_, i) => [
      { module: `decoder.block.${i}.layer.0.SelfAttention`, heads, size },
      { module: `decoder.block.${i}.layer.1.EncDecAttention`, heads, size, crossed: true },
    ]).flat(),
  start: (c) => c.start,
  heads: ['lm_head'],
  targets: { usual: ['q', 'v'], keysAndValues: ['k', 'v'], hiddenInputs: ['wo'] },
  sublayers: [
    { part: 'attention', first: ['layer.*.SelfAttention.q'], last: 'layer.*.SelfAttention.o' },
    { part: 'attention', first: ['layer.*.EncDecAttention.q'], last: 'layer.*.EncDecAttention.o' },
    {
      part: 'feed-forward',
      first: ['layer.*.DenseReluDense.wi', 'layer.*.DenseReluDense.wi_0'],
      last: 'layer.*.DenseReluDense.wo',
    },
  ],
  sizeKeys: {
    heads: { all: 'num_heads', size: 'd_kv' },
    hidden: 'd_ff',
    width: 'd_model',
    perLayer: false,
  },
  stacks: [
    { name: 'encoder', path: 'encoder.block', count: 'num_layers', sizes: {} },
    { name: 'decoder', path: 'decoder.block', count: 'num_decoder_layers', sizes: {} },
  ],
  // Version 1.1 says that its head is not tied, by which Transformers means that it is not scaled.
  tiesAbsentHead: true,
  retied: (json, tied) => ({
    ...json,
    tie_word_embeddings: tied,
    scale_decoder_outputs: json.scale_decoder_outputs ?? json.tie_word_embeddings !== false,
  }),
  // The first files have position biases of cross-attention, which nothing reads.
  harmless: [/\.EncDecAttention\.relative_attention_bias\.weight$/],
}
