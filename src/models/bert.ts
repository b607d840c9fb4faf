/**
 * @file BERT and RoBERTa (XLM-R too): encoders with learned positions and a layer norm after each part, to fill in masked
 * tokens, to classify texts or tokens, or to find answers. They differ in names, in where positions begin, and in two heads.
 */
import { activation, layerNorm, type Tensor, where, zeros } from '../tensor/index.js'
import type {
  Architecture,
  AxisGroup,
  HeadInside,
  ModelInputs,
  ModelOutputs,
  WeightSpec,
} from './architecture.js'
import { attentionCore, mergeHeads, splitHeads } from './attention.js'
import { reading } from './config.js'
import type { UnreadKeys } from './config-keys.js'
import {
  type EncoderTask,
  firstToken,
  type HeadNames,
  headSpecs,
  readEncoderTask,
  requireEnds,
  requirePositions,
  wantedRows,
} from './encoder-heads.js'
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
  readonly task: EncoderTask
  readonly vocabulary: number
  readonly width: number
  /** Rows of the table of positions. */
  readonly positions: number
  /** Id of padding, whose row of the table of tokens does not learn. */
  readonly padding?: number
  /** Whether positions begin behind the id of padding, and skip padding. */
  readonly skipsPadding: boolean
  /** Number of segments. */
  readonly types: number
  readonly layers: readonly BertLayer[]
  readonly epsilon: number
  readonly activation: (x: Tensor) => Tensor
  /** Activation of the head of masked tokens. */
  readonly headActivation: (x: Tensor) => Tensor
  /** Probabilities of dropout: of embeddings and of what each part adds, of attention's probabilities, before the classifier. */
  readonly dropout: Readonly<Record<'hidden' | 'attention' | 'classifier', number>>
  /** Whether the masked-token head is the embedding table. */
  readonly tied: boolean
  readonly classes: number
}

/** What a member of the family calls its parts, and does otherwise. */
interface Variant {
  readonly name: string
  readonly modelTypes: readonly string[]
  /** Beginnings of the names of Transformers' classes. */
  readonly families: readonly string[]
  /** Module of the body. */
  readonly body: string
  readonly heads: HeadNames
  /** Whether positions begin behind the id of padding, and skip padding. */
  readonly skipsPadding: boolean
  /** Activation of the head of masked tokens, where it is not that of the blocks. */
  readonly headActivation?: string
  /** Whether a classifier drops its input too. */
  readonly dropsFirst: boolean
  readonly unread: UnreadKeys
}

const fixed = { position_embedding_type: ['absolute'] }

const bertVariant: Variant = {
  name: 'bert',
  modelTypes: ['bert'],
  families: ['Bert'],
  body: 'bert',
  heads: {
    masked: {
      dense: 'cls.predictions.transform.dense',
      norm: 'cls.predictions.transform.LayerNorm',
      decoder: 'cls.predictions.decoder',
      bias: 'cls.predictions.bias',
    },
    classify: { dense: 'bert.pooler.dense', out: 'classifier' },
    tokens: 'classifier',
    answer: 'qa_outputs',
  },
  skipsPadding: false,
  dropsFirst: false,
  unread: {
    // What TensorFlow's original code read, and nothing since.
    harmless: [
      'directionality',
      'pooler_fc_size',
      'pooler_num_attention_heads',
      'pooler_num_fc_layers',
      'pooler_size_per_head',
      'pooler_type',
    ],
    fixed,
    defaults: { pad_token_id: 0 },
  },
}

const robertaVariant: Variant = {
  name: 'roberta',
  modelTypes: ['roberta', 'xlm-roberta'],
  families: ['Roberta', 'XLMRoberta'],
  body: 'roberta',
  heads: {
    masked: {
      dense: 'lm_head.dense',
      norm: 'lm_head.layer_norm',
      decoder: 'lm_head.decoder',
      bias: 'lm_head.bias',
    },
    classify: { dense: 'classifier.dense', out: 'classifier.out_proj' },
    tokens: 'classifier',
    answer: 'qa_outputs',
  },
  skipsPadding: true,
  headActivation: 'gelu',
  dropsFirst: true,
  unread: { fixed, defaults: { pad_token_id: 1 } },
}

const configReader = ({ name, families, skipsPadding, headActivation, unread }: Variant) =>
  reading(name, unread, (config): BertConfig => {
    const width = config.size('hidden_size', 768)
    const count = config.count('num_hidden_layers', 12)
    const heads = config.perLayer('num_attention_heads', count, 12)
    const sizes = config.perLayer('head_dim', count, Math.floor(width / heads[0]))
    const hidden = config.perLayer('intermediate_size', count, 3072)
    const dropout = config.number('hidden_dropout_prob', 0.1)
    const task = readEncoderTask(config, families)
    requireEnds(config, task)
    const act = config.activation('hidden_act', 'gelu')
    return {
      task,
      vocabulary: config.size('vocab_size', 30_522),
      width,
      positions: config.size('max_position_embeddings', 512),
      padding: skipsPadding ? config.number('pad_token_id') : config.optional('number', 'pad_token_id'),
      skipsPadding,
      types: config.size('type_vocab_size', 2),
      layers: heads.map((n, i) => ({ heads: n, size: sizes[i], hidden: hidden[i] })),
      epsilon: config.number('layer_norm_eps', 1e-12),
      activation: act,
      headActivation: headActivation === undefined ? act : activation(headActivation),
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

/** How many tokens a text may have. */
const tokenLimit = ({ positions, padding, skipsPadding }: BertConfig): number =>
  skipsPadding ? positions - padding! - 1 : positions

/** Rows of the table of positions for the tokens: [batch or 1, time] int32. RoBERTa's begin behind the id of padding, which padding keeps. */
const positionRows = ({ ids, at: placed }: ModelInputs, c: BertConfig, at: Positions): Tensor => {
  if (!c.skipsPadding) return at.ids
  const padding = c.padding!
  if (!ids || placed) return at.ids.add(padding + 1)
  const there = ids.notEqual(padding)
  return where(there, there.cast('int32').cumsum(1), 0).add(padding)
}

/** What enters the first block: [batch, time, width]. Throws WeftError where positions go beyond the table. */
export const embed = (w: Weights, inputs: ModelInputs, c: BertConfig, at: Positions): Tensor => {
  requirePositions(at, tokenLimit(c))
  const words = inputs.embeddings ?? w.embedding('word_embeddings', inputs.ids!, { padding: c.padding })
  const types = w.embedding('token_type_embeddings', inputs.types ?? zeros([1, words.shape[1]], 'int32'))
  const places = w.embedding('position_embeddings', positionRows(inputs, c, at), {
    padding: c.skipsPadding ? c.padding : undefined,
  })
  const sum = words.add(types).add(places)
  return w.dropout(norm(w, 'LayerNorm', sum, c, at), c.dropout.hidden)
}

/** Logits of the tokens of x. x: [batch, time, width] -> [batch, time, vocabulary]. */
const maskedHead = (w: Weights, x: Tensor, c: BertConfig, at: Positions, { masked }: HeadNames): Tensor => {
  // Asked for even where the decoder has a bias of its own: it belongs to the model.
  if (!c.tied) w.tensor(masked.bias!)
  const h = c.headActivation(w.linear(masked.dense, x))
  return w.linear(masked.decoder, norm(w, masked.norm, h, c, at))
}

/** Logits of the classes, read from the first token. x: [batch, time, width] -> [batch, classes]. */
const classHead = (w: Weights, x: Tensor, c: BertConfig, { heads, dropsFirst }: Variant): Tensor => {
  const dropped = (x: Tensor): Tensor => w.dropout(x, c.dropout.classifier)
  const first = dropsFirst ? dropped(firstToken(x)) : firstToken(x)
  return w.linear(heads.classify.out, dropped(w.linear(heads.classify.dense, first).tanh()))
}

const logitsOf = (
  w: Weights,
  x: Tensor,
  inputs: ModelInputs,
  { c, at, variant }: { c: BertConfig; at: Positions; variant: Variant },
): Tensor => {
  const { heads } = variant
  switch (c.task) {
    case 'masked':
      return logitsBy((rows) => maskedHead(w, rows, c, at, heads), x, inputs.logitsAt)
    case 'classify':
      return classHead(w, x, c, variant)
    case 'tokens':
      return w.linear(heads.tokens, w.dropout(wantedRows(x, inputs), c.dropout.classifier))
    case 'answer':
      return w.linear(heads.answer, wantedRows(x, inputs))
    case 'features':
      return wantedRows(x, inputs)
  }
}

const forwardOf =
  (variant: Variant) =>
  (w: Weights, inputs: ModelInputs, c: BertConfig): ModelOutputs => {
    const time = (inputs.embeddings ?? inputs.ids!).shape[1]
    const at = inputs.at ?? positionsFrom(time, { causal: false, mask: inputs.mask })
    let x = embed(w.in(`${variant.body}.embeddings`), inputs, c, at)
    const hidden = [x]
    for (const [i, layer] of c.layers.entries()) {
      const name = `${variant.body}.encoder.layer.${i}`
      x = w.module(name, x, at, (x, at) => block(w.in(name), x, c, layer, at))
      hidden.push(x)
    }
    return { logits: logitsOf(w, x, inputs, { c, at, variant }), hidden }
  }

const blockSpecs = (
  { body }: Variant,
  c: BertConfig,
  { heads: count, size, hidden }: BertLayer,
  i: number,
): WeightSpec[] => {
  const name = `${body}.encoder.layer.${i}`
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

const tableOf =
  (variant: Variant) =>
  (c: BertConfig): readonly WeightSpec[] => {
    const embeddings = `${variant.body}.embeddings`
    const words = embeddingSpec(`${embeddings}.word_embeddings`, c.vocabulary, c.width)
    return [
      words,
      embeddingSpec(`${embeddings}.position_embeddings`, c.positions, c.width),
      embeddingSpec(`${embeddings}.token_type_embeddings`, c.types, c.width),
      ...layerNormSpecs(`${embeddings}.LayerNorm`, c.width, residual),
      ...c.layers.flatMap((layer, i) => blockSpecs(variant, c, layer, i)),
      ...headSpecs(variant.heads, c, words.name),
    ]
  }

const whole = (variant: Variant): Architecture<BertConfig> => ({
  name: variant.name,
  modelTypes: variant.modelTypes,
  readConfig: configReader(variant),
  task: (c) => c.task,
  positions: tokenLimit,
  table: tableOf(variant),
  forward: forwardOf(variant),
  attention: (c) =>
    c.layers.map(({ heads, size }, i) => ({
      module: `${variant.body}.encoder.layer.${i}.attention.self`,
      heads,
      size,
    })),
  renamed: [
    [/\.gamma$/, '.weight'],
    [/\.beta$/, '.bias'],
  ],
  prefix: variant.body,
  heads: [
    variant.heads.masked.decoder,
    ...Object.values(variant.heads.classify),
    variant.heads.answer,
  ].filter((name) => !name.startsWith(`${variant.body}.`)),
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
      path: `${variant.body}.encoder.layer`,
      count: 'num_hidden_layers',
      sizes: encoderLayerSizes,
    },
  ],
  derivesHeadSize: true,
  // Pre-training leaves the next-sentence head in a checkpoint, and the pooler before it.
  harmless: [/^cls\.seq_relationship\./, new RegExp(`^${variant.body}\\.pooler\\.`)],
})

/** An encoder with its head; and without, whichever head a checkpoint has. */
const architectureOf = (variant: Variant): Architecture<BertConfig> => {
  const withHead = whole(variant)
  const body: Architecture<BertConfig> = {
    ...withHead,
    readConfig: (json) => withHead.readConfig({ ...json, architectures: [`${variant.families[0]}Model`] }),
    harmless: [...withHead.harmless!, /^(cls|lm_head|classifier|qa_outputs)\./],
  }
  return { ...withHead, body }
}

export const bert = architectureOf(bertVariant)
export const roberta = architectureOf(robertaVariant)
