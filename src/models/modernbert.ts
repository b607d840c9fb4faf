/**
 * @file ModernBERT: an encoder with rotary positions, layer norms before each part, gated feed-forward parts, and layers most
 * of which see their neighbourhood alone.
 */
import { layerNorm, type Tensor } from '../tensor/index.js'
import type {
  Architecture,
  AxisGroup,
  FusedPart,
  ModelInputs,
  ModelOutputs,
  WeightSpec,
} from './architecture.js'
import { attentionCore, mergeHeads, splitHeads } from './attention.js'
import { ConfigReader, reading } from './config.js'
import type { UnreadKeys } from './config-keys.js'
import type { LayerStack } from './declarations.js'
import { type EncoderTask, firstToken, readEncoderTask, requireEnds, wantedRows } from './encoder-heads.js'
import { logitsBy } from './head.js'
import { type Positions, positionsFrom } from './positions.js'
import { layerKinds, readRopes, type Rope, turned } from './rope.js'
import { embeddingSpec, fusedSpecs, layerNormSpecs, linearSpecs, residual } from './specs.js'
import type { Weights } from './weights.js'
import { encoderSizes } from './widths.js'

/** Sizes of one block. */
export interface ModernBertLayer {
  readonly heads: number
  /** Numbers of a head. */
  readonly size: number
  /** Width of the feed-forward part. */
  readonly hidden: number
  /** Tokens nearer than this are seen, on both sides; undefined for all. */
  readonly window?: number
  readonly rope: Rope
}

export interface ModernBertConfig {
  readonly task: EncoderTask
  readonly vocabulary: number
  readonly width: number
  readonly positions: number
  /** Id of padding, whose row of the table of tokens does not learn. */
  readonly padding?: number
  readonly layers: readonly ModernBertLayer[]
  readonly epsilon: number
  readonly activation: (x: Tensor) => Tensor
  readonly headActivation: (x: Tensor) => Tensor
  /** Which modules have biases. */
  readonly biases: Readonly<Record<'attention' | 'mlp' | 'norm' | 'head' | 'decoder', boolean>>
  /** Probabilities of dropout: of embeddings, of attention's probabilities and output, inside the MLP, before the classifier. */
  readonly dropout: Readonly<Record<'embedding' | 'attention' | 'mlp' | 'classifier', number>>
  /** How the tokens of a text become one, to classify it. */
  readonly pooling: 'cls' | 'mean'
  /** Whether the masked-token head is the embedding table. */
  readonly tied: boolean
  readonly classes: number
}

const unread: UnreadKeys = {
  // By which of equal ways it computes; keys of BERT's that Transformers does not read here.
  harmless: [
    'deterministic_flash_attn',
    'reference_compile',
    'repad_logits_with_grad',
    'sparse_prediction',
    'sparse_pred_ignore_index',
    'initializer_cutoff_factor',
    'position_embedding_type',
    'layer_norm_eps',
  ],
  defaults: { pad_token_id: 50_283 },
}

/** Which layers see their neighbourhood alone: all but every third, where `layer_types` does not say. */
const readSliding = (config: ConfigReader, count: number): boolean[] => {
  const { full, sliding } = layerKinds
  const every = config.count('global_attn_every_n_layers', 3)
  const types = config.list<string>('layer_types', 'string', count)
  const known = types?.every((type) => type === full || type === sliding) ?? true
  config.require(known, 'layer_types', `a list of "${full}" and "${sliding}"`)
  return Array.from({ length: count }, (_, i) => (types ? types[i] === sliding : i % every !== 0))
}

const readLayers = (config: ConfigReader, width: number, maximum: number): ModernBertLayer[] => {
  const count = config.count('num_hidden_layers', 22)
  const heads = config.perLayer('num_attention_heads', count, 12)
  const sizes = config.perLayer('head_dim', count, Math.floor(width / heads[0]))
  const hidden = config.perLayer('intermediate_size', count, 1152)
  const sliding = readSliding(config, count)
  const window = Math.floor(config.size('local_attention', 128) / 2) + 1
  const even = sizes.every((size) => size % 2 === 0)
  config.require(even, 'head_dim', 'an even size, since rotary positions turn pairs')
  const { full, sliding: local } = layerKinds
  const settings = config.object('rope_parameters')
  const nested = !config.has('rope_parameters') || [full, local].some((key) => settings.has(key))
  config.require(nested, 'rope_parameters', `settings under ${full} and ${local}`)
  const bases = { full: ['global_rope_theta', 160_000], sliding: ['local_rope_theta', 10_000] } as const
  const ropes = readRopes(config, bases, { maximum, sizes })
  return heads.map((n, i) => ({
    heads: n,
    size: sizes[i],
    hidden: hidden[i],
    window: sliding[i] ? window : undefined,
    rope: sliding[i] ? ropes.sliding : ropes.full,
  }))
}

const readConfig = reading('modernbert', unread, (config): ModernBertConfig => {
  const task = readEncoderTask(config, ['ModernBert'])
  requireEnds(config, task)
  const width = config.size('hidden_size', 768)
  const positions = config.size('max_position_embeddings', 8192)
  const pooling = config.string('classifier_pooling', 'cls')
  config.require(pooling === 'cls' || pooling === 'mean', 'classifier_pooling', '"cls" or "mean"')
  return {
    task,
    vocabulary: config.size('vocab_size', 50_368),
    width,
    positions,
    padding: config.optional('number', 'pad_token_id'),
    layers: readLayers(config, width, positions),
    epsilon: config.number('norm_eps', 1e-5),
    activation: config.activation('hidden_activation', 'gelu'),
    headActivation: config.activation('classifier_activation', 'gelu'),
    biases: {
      attention: config.boolean('attention_bias', false),
      mlp: config.boolean('mlp_bias', false),
      norm: config.boolean('norm_bias', false),
      head: config.boolean('classifier_bias', false),
      decoder: config.boolean('decoder_bias', true),
    },
    dropout: {
      embedding: config.number('embedding_dropout', 0),
      attention: config.number('attention_dropout', 0),
      mlp: config.number('mlp_dropout', 0),
      classifier: config.number('classifier_dropout', 0),
    },
    pooling: pooling as ModernBertConfig['pooling'],
    tied: config.boolean('tie_word_embeddings', true),
    classes: config.classes(),
  }
})

/** The layer norm `name`, over the last axis of x. */
export const norm = (w: Weights, name: string, x: Tensor, c: ModernBertConfig, at: Positions): Tensor =>
  w.module(name, x, at, (x) =>
    layerNorm(x, {
      weight: w.tensor(`${name}.weight`),
      bias: c.biases.norm ? w.tensor(`${name}.bias`) : undefined,
      epsilon: c.epsilon,
    }),
  )

/** Self-attention of one block. x: [batch, time, width] -> the same. */
export const attention = (
  w: Weights,
  x: Tensor,
  c: ModernBertConfig,
  { heads, window, rope }: ModernBertLayer,
  at: Positions,
): Tensor => {
  const [q, k, v] = w
    .linear('Wqkv', x)
    .split(3, -1)
    .map((part) => splitHeads(part, heads))
  const drop = (p: Tensor): Tensor => w.dropout(p, c.dropout.attention)
  const parts = { q: turned(q, rope, at), k: turned(k, rope, at), v, at }
  const attended = mergeHeads(w.attend('', parts, attentionCore({ window, drop })))
  return w.dropout(w.linear('Wo', attended), c.dropout.attention)
}

/** The feed-forward part. x: [..., width] -> the same. */
export const mlp = (w: Weights, x: Tensor, c: ModernBertConfig): Tensor => {
  const [input, gate] = w.linear('Wi', x).split(2, -1)
  return w.linear('Wo', w.dropout(c.activation(input).mul(gate), c.dropout.mlp))
}

/** Block number `i`, of which the first has no norm before attention. x: [batch, time, width] -> the same. */
export const block = (w: Weights, x: Tensor, c: ModernBertConfig, i: number, at: Positions): Tensor => {
  const before = i === 0 ? x : norm(w, 'attn_norm', x, c, at)
  const attended = w.module('attn', before, at, (x, at) => attention(w.in('attn'), x, c, c.layers[i], at))
  const h = x.add(attended)
  return h.add(w.module('mlp', norm(w, 'mlp_norm', h, c, at), at, (x) => mlp(w.in('mlp'), x, c)))
}

/** What enters the first block: [batch, time, width]. */
export const embed = (w: Weights, inputs: ModelInputs, c: ModernBertConfig, at: Positions): Tensor => {
  const tokens = inputs.embeddings ?? w.embedding('tok_embeddings', inputs.ids!, { padding: c.padding })
  return w.dropout(norm(w, 'norm', tokens, c, at), c.dropout.embedding)
}

/** What every head begins with. x: [..., width] -> the same. */
const headed = (w: Weights, x: Tensor, c: ModernBertConfig, at: Positions): Tensor =>
  norm(w, 'head.norm', c.headActivation(w.linear('head.dense', x)), c, at)

/** One row for each text. x: [batch, time, width] -> [batch, width]. */
const pooled = (x: Tensor, { mask }: ModelInputs, { pooling }: ModernBertConfig): Tensor => {
  if (pooling === 'cls') return firstToken(x)
  if (!mask) return x.mean(1)
  const there = mask.cast(x.dtype).unsqueeze(-1)
  return x.mul(there).sum(1).div(there.sum(1))
}

const logitsOf = (w: Weights, x: Tensor, inputs: ModelInputs, c: ModernBertConfig, at: Positions): Tensor => {
  const classified = (x: Tensor): Tensor =>
    w.linear('classifier', w.dropout(headed(w, x, c, at), c.dropout.classifier))
  switch (c.task) {
    case 'masked':
      return logitsBy((rows) => w.linear('decoder', headed(w, rows, c, at)), x, inputs.logitsAt)
    case 'classify':
      return classified(pooled(x, inputs, c))
    case 'tokens':
    case 'answer':
      return classified(wantedRows(x, inputs))
    case 'features':
      return wantedRows(x, inputs)
  }
}

const forward = (w: Weights, inputs: ModelInputs, c: ModernBertConfig): ModelOutputs => {
  const time = (inputs.embeddings ?? inputs.ids!).shape[1]
  const at = inputs.at ?? positionsFrom(time, { causal: false, mask: inputs.mask })
  let x = embed(w.in('model.embeddings'), inputs, c, at)
  const hidden = [x]
  for (const i of c.layers.keys()) {
    const name = `model.layers.${i}`
    x = w.module(name, x, at, (x, at) => block(w.in(name), x, c, i, at))
    hidden.push(x)
  }
  const last = (hidden[hidden.length - 1] = norm(w, 'model.final_norm', x, c, at))
  return { logits: logitsOf(w, last, inputs, c, at), hidden }
}

const normSpecs = (name: string, { width, biases }: ModernBertConfig): WeightSpec[] =>
  layerNormSpecs(name, width, residual).slice(0, biases.norm ? 2 : 1)

const blockSpecs = (c: ModernBertConfig, i: number): WeightSpec[] => {
  const { heads, size, hidden } = c.layers[i]
  const name = `model.layers.${i}`
  const axis: AxisGroup = { group: `layers.${i}.heads`, unit: size }
  const units: AxisGroup = { group: `layers.${i}.hidden`, unit: 1 }
  const inner = heads * size
  const qkv: FusedPart[] = [
    { name: 'q', size: inner, inside: 'queries' },
    { name: 'k', size: inner, inside: 'queries' },
    { name: 'v', size: inner, inside: 'values' },
  ]
  const gated = ['input', 'gate'].map((part) => ({ name: part, size: hidden }))
  const outputs: AxisGroup = { ...axis, inside: 'values' }
  const { attention: attends, mlp } = c.biases
  return [
    ...(i === 0 ? [] : normSpecs(`${name}.attn_norm`, c)),
    ...fusedSpecs(`${name}.attn.Wqkv`, [3 * inner, c.width], [axis, residual], qkv, attends),
    ...linearSpecs(`${name}.attn.Wo`, [c.width, inner], [residual, outputs], attends),
    ...normSpecs(`${name}.mlp_norm`, c),
    ...fusedSpecs(`${name}.mlp.Wi`, [2 * hidden, c.width], [units, residual], gated, mlp),
    ...linearSpecs(`${name}.mlp.Wo`, [c.width, hidden], [residual, units], mlp),
  ]
}

const headSpecs = (c: ModernBertConfig, embedding: string): WeightSpec[] => {
  if (c.task === 'features') return []
  const masked = c.task === 'masked'
  // A head that is the embedding table reads the residual stream's order.
  const units: AxisGroup = masked && c.tied ? residual : { group: 'head', unit: 1 }
  const shared = [
    ...linearSpecs('head.dense', [c.width, c.width], [units, residual], c.biases.head),
    ...normSpecs('head.norm', c).map((spec) => ({ ...spec, axes: [units] })),
  ]
  if (!masked) return [...shared, ...linearSpecs('classifier', [c.classes, c.width], [undefined, units])]
  const size = [c.vocabulary, c.width] as const
  const [weight, ...bias] = linearSpecs('decoder', size, [undefined, units], c.biases.decoder)
  return [...shared, c.tied ? { ...weight, tied: embedding } : weight, ...bias]
}

const table = (c: ModernBertConfig): readonly WeightSpec[] => {
  const tokens = embeddingSpec('model.embeddings.tok_embeddings', c.vocabulary, c.width)
  return [
    tokens,
    ...normSpecs('model.embeddings.norm', c),
    ...c.layers.flatMap((_, i) => blockSpecs(c, i)),
    ...normSpecs('model.final_norm', c),
    ...headSpecs(c, tokens.name),
  ]
}

/** Which layers see everything, where config.json leaves it to a rule. */
const lists: LayerStack['lists'] = (json) => {
  const config = new ConfigReader(json)
  const sliding = readSliding(config, config.count('num_hidden_layers', 22))
  return { layer_types: sliding.map((it) => (it ? layerKinds.sliding : layerKinds.full)) }
}

const whole: Architecture<ModernBertConfig> = {
  name: 'modernbert',
  modelTypes: ['modernbert'],
  readConfig,
  task: (c) => c.task,
  positions: (c) => c.positions,
  table,
  forward,
  rotary: () => true,
  attention: (c) => c.layers.map(({ heads, size }, i) => ({ module: `model.layers.${i}.attn`, heads, size })),
  prefix: 'model',
  heads: ['decoder', 'classifier'],
  targets: { usual: ['Wqkv'], keysAndValues: ['Wqkv'], hiddenInputs: ['mlp.Wo'] },
  sublayers: [
    { part: 'attention', first: ['attn.Wqkv'], last: 'attn.Wo' },
    { part: 'feed-forward', first: ['mlp.Wi'], last: 'mlp.Wo' },
  ],
  sizeKeys: encoderSizes,
  withBiases: (json) => ({ ...json, attention_bias: true, mlp_bias: true }),
  stacks: [
    {
      name: '',
      path: 'model.layers',
      count: 'num_hidden_layers',
      sizes: {
        num_attention_heads: () => 12,
        head_dim: ({ hidden_size: width = 768, num_attention_heads: heads = 12 }) =>
          Math.floor(Number(width) / Number(heads)),
        intermediate_size: () => 1152,
      },
      lists,
    },
  ],
  derivesHeadSize: true,
}

/** ModernBERT without a head, whichever a checkpoint has. */
const body: Architecture<ModernBertConfig> = {
  ...whole,
  readConfig: (json) => readConfig({ ...json, architectures: ['ModernBertModel'] }),
  harmless: [/^(head|decoder|classifier)\./],
}

export const modernbert: Architecture<ModernBertConfig> = { ...whole, body }
