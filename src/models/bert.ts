/** @file BERT: an encoder with learned positions and a layer norm after each part, to fill in masked tokens or to classify. */
import { layerNorm, type Tensor, zeros } from '../tensor/index.js'
import { WeftError } from '../errors.js'
import type {
  Architecture,
  AxisGroup,
  HeadInside,
  ModelInputs,
  ModelOutputs,
  WeightSpec,
} from './architecture.js'
import { attentionCore, mergeHeads, rowsAt, splitHeads } from './attention.js'
import { type ConfigReader, reading } from './config.js'
import type { UnreadKeys } from './config-keys.js'
import { logitsBy } from './head.js'
import { type Positions, positionsFrom } from './positions.js'
import { embeddingSpec, layerNormSpecs, linearSpecs, residual } from './specs.js'
import type { Weights } from './weights.js'
import { encoderLayerSizes, encoderSizes } from './widths.js'

/** Of one block. */
export interface BertLayer {
  readonly heads: number
  /** Of a head. */
  readonly size: number
  /** Width of the feed-forward part. */
  readonly hidden: number
}

export interface BertConfig {
  readonly task: 'masked' | 'classify' | 'features'
  readonly vocabulary: number
  readonly width: number
  readonly positions: number
  /** Number of segments. */
  readonly types: number
  readonly layers: readonly BertLayer[]
  readonly epsilon: number
  readonly activation: (x: Tensor) => Tensor
  /** Probabilities of dropout: of embeddings and of what each part adds, of attention's probabilities, before the classifier. */
  readonly dropout: Readonly<Record<'hidden' | 'attention' | 'classifier', number>>
  /** Whether the masked-token head is the embedding table. */
  readonly tied: boolean
  readonly classes: number
}

const tasks: Readonly<Record<string, BertConfig['task']>> = {
  BertForMaskedLM: 'masked',
  BertForPreTraining: 'masked',
  BertForSequenceClassification: 'classify',
  BertModel: 'features',
}

const readTask = (config: ConfigReader): BertConfig['task'] => {
  const name = config.first('architectures') ?? 'BertForMaskedLM'
  config.require(Object.hasOwn(tasks, name), 'architectures', `one of ${Object.keys(tasks).join(', ')}`)
  return tasks[name]
}

const unread: UnreadKeys = {
  // What TensorFlow's original code read, and nothing since.
  harmless: [
    'directionality',
    'pooler_fc_size',
    'pooler_num_attention_heads',
    'pooler_num_fc_layers',
    'pooler_size_per_head',
    'pooler_type',
  ],
  fixed: { position_embedding_type: ['absolute'] },
}

const readConfig = reading('bert', unread, (config): BertConfig => {
  const width = config.size('hidden_size', 768)
  const count = config.count('num_hidden_layers', 12)
  const heads = config.perLayer('num_attention_heads', count, 12)
  const sizes = config.perLayer('head_dim', count, Math.floor(width / heads[0]))
  const hidden = config.perLayer('intermediate_size', count, 3072)
  const dropout = config.number('hidden_dropout_prob', 0.1)
  return {
    task: readTask(config),
    vocabulary: config.size('vocab_size', 30_522),
    width,
    positions: config.size('max_position_embeddings', 512),
    types: config.size('type_vocab_size', 2),
    layers: heads.map((n, i) => ({ heads: n, size: sizes[i], hidden: hidden[i] })),
    epsilon: config.number('layer_norm_eps', 1e-12),
    activation: config.activation('hidden_act', 'gelu'),
    dropout: {
      hidden: dropout,
      attention: config.number('attention_probs_dropout_prob', 0.1),
      classifier: config.number('classifier_dropout', dropout),
    },
    tied: config.boolean('tie_word_embeddings', true),
    classes: config.classes(),
  }
})

/** The layer norm `name`, over the last axis of x. */
export const norm = (w: Weights, name: string, x: Tensor, c: BertConfig, at: Positions): Tensor =>
  w.module(name, x, at, (x) =>
    layerNorm(x, { weight: w.tensor(`${name}.weight`), bias: w.tensor(`${name}.bias`), epsilon: c.epsilon }),
  )

/** Self-attention of one block, before its output projection. x: [batch, time, width] -> [batch, time, heads * size]. */
export const attention = (w: Weights, x: Tensor, c: BertConfig, layer: BertLayer, at: Positions): Tensor => {
  const heads = (name: string): Tensor => splitHeads(w.linear(name, x), layer.heads)
  const drop = (p: Tensor): Tensor => w.dropout(p, c.dropout.attention)
  const parts = { q: heads('query'), k: heads('key'), v: heads('value'), at }
  return mergeHeads(w.attend('', parts, attentionCore({ drop })))
}

/** norm(x + dense(y)): how each part, whose last linear module `dense` is, joins the residual stream. */
const joined = (w: Weights, name: string, x: Tensor, y: Tensor, c: BertConfig, at: Positions): Tensor =>
  norm(w, `${name}.LayerNorm`, x.add(w.dropout(w.linear(`${name}.dense`, y), c.dropout.hidden)), c, at)

/** One block. x: [batch, time, width] -> the same. */
export const block = (w: Weights, x: Tensor, c: BertConfig, layer: BertLayer, at: Positions): Tensor => {
  const attended = w.module('attention.self', x, at, (x, at) =>
    attention(w.in('attention.self'), x, c, layer, at),
  )
  const h = joined(w, 'attention.output', x, attended, c, at)
  const inner = w.module('intermediate', h, at, (h) => c.activation(w.linear('intermediate.dense', h)))
  return joined(w, 'output', h, inner, c, at)
}

/** What enters the first block: [batch, time, width]. Throws WeftError where positions go beyond the table. */
export const embed = (w: Weights, inputs: ModelInputs, c: BertConfig, at: Positions): Tensor => {
  if (at.limit !== undefined && at.limit > c.positions)
    throw new WeftError('TooManyPositions', `${at.limit} tokens: this model has ${c.positions} positions`, {
      hint: 'Give it shorter sequences.',
    })
  const words = inputs.embeddings ?? w.embedding('word_embeddings', inputs.ids!)
  const types = w.embedding('token_type_embeddings', inputs.types ?? zeros([1, words.shape[1]], 'int32'))
  const sum = words.add(types).add(w.embedding('position_embeddings', at.ids))
  return w.dropout(norm(w, 'LayerNorm', sum, c, at), c.dropout.hidden)
}

/** Logits of the tokens of x. x: [batch, time, width] -> [batch, time, vocabulary]. */
export const maskedHead = (w: Weights, x: Tensor, c: BertConfig, at: Positions): Tensor => {
  const h = c.activation(w.linear('transform.dense', x))
  return w.linear('decoder', norm(w, 'transform.LayerNorm', h, c, at))
}

/** Logits of the classes, read from the first token. x: [batch, time, width] -> [batch, classes]. */
export const classHead = (w: Weights, x: Tensor, c: BertConfig): Tensor => {
  const pooled = w.linear('bert.pooler.dense', x.slice(1, 0, 1).squeeze(1)).tanh()
  return w.linear('classifier', w.dropout(pooled, c.dropout.classifier))
}

const forward = (w: Weights, inputs: ModelInputs, c: BertConfig): ModelOutputs => {
  const time = (inputs.embeddings ?? inputs.ids!).shape[1]
  const at = inputs.at ?? positionsFrom(time, { causal: false, mask: inputs.mask })
  let x = embed(w.in('bert.embeddings'), inputs, c, at)
  const hidden = [x]
  for (const [i, layer] of c.layers.entries()) {
    const name = `bert.encoder.layer.${i}`
    x = w.module(name, x, at, (x, at) => block(w.in(name), x, c, layer, at))
    hidden.push(x)
  }
  if (c.task === 'features') return { logits: inputs.logitsAt ? rowsAt(x, inputs.logitsAt) : x, hidden }
  if (c.task === 'classify') return { logits: classHead(w, x, c), hidden }
  const head = (rows: Tensor): Tensor => maskedHead(w.in('cls.predictions'), rows, c, at)
  return { logits: logitsBy(head, x, inputs.logitsAt), hidden }
}

const blockSpecs = (c: BertConfig, { heads: count, size, hidden }: BertLayer, i: number): WeightSpec[] => {
  const name = `bert.encoder.layer.${i}`
  const heads = (inside: HeadInside): AxisGroup => ({ group: `layers.${i}.heads`, unit: size, inside })
  const inner = count * size
  const units = { group: `layers.${i}.hidden`, unit: 1 }
  return [
    ...['query', 'key', 'value'].flatMap((part) =>
      linearSpecs(
        `${name}.attention.self.${part}`,
        [inner, c.width],
        [heads(part === 'value' ? 'values' : 'queries'), residual],
      ),
    ),
    ...linearSpecs(`${name}.attention.output.dense`, [c.width, inner], [residual, heads('values')]),
    ...layerNormSpecs(`${name}.attention.output.LayerNorm`, c.width, residual),
    ...linearSpecs(`${name}.intermediate.dense`, [hidden, c.width], [units, residual]),
    ...linearSpecs(`${name}.output.dense`, [c.width, hidden], [residual, units]),
    ...layerNormSpecs(`${name}.output.LayerNorm`, c.width, residual),
  ]
}

const maskedSpecs = (c: BertConfig): WeightSpec[] => {
  const name = 'cls.predictions'
  const units = c.tied ? residual : { group: 'head', unit: 1 }
  const [weight, bias] = linearSpecs(`${name}.decoder`, [c.vocabulary, c.width], [undefined, units])
  const tied = 'bert.embeddings.word_embeddings.weight'
  return [
    ...linearSpecs(`${name}.transform.dense`, [c.width, c.width], [units, residual]),
    ...layerNormSpecs(`${name}.transform.LayerNorm`, c.width, units),
    ...(c.tied
      ? [
          { ...weight, tied },
          { ...bias, name: `${name}.bias` },
          { ...bias, tied: `${name}.bias` },
        ]
      : [weight, bias]),
  ]
}

const classSpecs = (c: BertConfig): WeightSpec[] => {
  const units = { group: 'pooler', unit: 1 }
  return [
    ...linearSpecs('bert.pooler.dense', [c.width, c.width], [units, residual]),
    ...linearSpecs('classifier', [c.classes, c.width], [undefined, units]),
  ]
}

const headSpecs: Readonly<Record<BertConfig['task'], (c: BertConfig) => WeightSpec[]>> = {
  masked: maskedSpecs,
  classify: classSpecs,
  features: () => [],
}

const table = (c: BertConfig): readonly WeightSpec[] => [
  embeddingSpec('bert.embeddings.word_embeddings', c.vocabulary, c.width),
  embeddingSpec('bert.embeddings.position_embeddings', c.positions, c.width),
  embeddingSpec('bert.embeddings.token_type_embeddings', c.types, c.width),
  ...layerNormSpecs('bert.embeddings.LayerNorm', c.width, residual),
  ...c.layers.flatMap((layer, i) => blockSpecs(c, layer, i)),
  ...headSpecs[c.task](c),
]

const whole: Architecture<BertConfig> = {
  name: 'bert',
  modelTypes: ['bert'],
  readConfig,
  task: (c) => c.task,
  positions: (c) => c.positions,
  table,
  forward,
  attention: (c) =>
    c.layers.map(({ heads, size }, i) => ({
      module: `bert.encoder.layer.${i}.attention.self`,
      heads,
      size,
    })),
  renamed: [
    [/\.gamma$/, '.weight'],
    [/\.beta$/, '.bias'],
  ],
  // Pre-training leaves the next-sentence head in a checkpoint, and the pooler before it; an untied head has its own bias.
  prefix: 'bert',
  heads: ['cls.predictions.decoder', 'classifier'],
  targets: {
    usual: ['query', 'value'],
    keysAndValues: ['key', 'value'],
    hiddenInputs: ['output.dense'],
  },
  sublayers: [
    { part: 'attention', first: ['attention.self.query'], last: 'attention.output.dense' },
    { part: 'feed-forward', first: ['intermediate.dense'], last: 'output.dense' },
  ],
  sizeKeys: encoderSizes,
  stacks: [
    {
      name: '',
      path: 'bert.encoder.layer',
      count: 'num_hidden_layers',
      sizes: encoderLayerSizes,
    },
  ],
  derivesHeadSize: true,
  harmless: [/^cls\.seq_relationship\./, /^bert\.pooler\./, /^cls\.predictions\.bias$/],
}

/** BERT without a head, whichever a checkpoint has. */
const body: Architecture<BertConfig> = {
  ...whole,
  readConfig: (json) => readConfig({ ...json, architectures: ['BertModel'] }),
  harmless: [...whole.harmless!, /^cls\./, /^classifier\./],
}

export const bert: Architecture<BertConfig> = { ...whole, body }
