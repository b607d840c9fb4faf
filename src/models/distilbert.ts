/** @file DistilBERT: BERT at half its depth, without segments and pooler, and with names of its own. */
import { activation, layerNorm, type Tensor } from '../tensor/index.js'
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

/** Sizes of one block. */
export interface DistilBertLayer {
  readonly heads: number
  /** Numbers of a head. */
  readonly size: number
  /** Width of the feed-forward part. */
  readonly hidden: number
}

export interface DistilBertConfig {
  readonly task: EncoderTask
  readonly vocabulary: number
  readonly width: number
  readonly positions: number
  /** Id of padding, whose row of the table of tokens does not learn. */
  readonly padding?: number
  readonly layers: readonly DistilBertLayer[]
  readonly activation: (x: Tensor) => Tensor
  /** Probabilities of dropout: of embeddings and of what the feed-forward part adds, of attention's probabilities, before the heads. */
  readonly dropout: Readonly<Record<'hidden' | 'attention' | 'classify' | 'answer', number>>
  /** Whether the masked-token head is the embedding table. */
  readonly tied: boolean
  readonly classes: number
}

/** Epsilon of every norm: config.json does not say it. */
const epsilon = 1e-12

const unread: UnreadKeys = {
  // The table is stored, whether it began as sines or not.
  harmless: ['sinusoidal_pos_embds', 'tie_weights_'],
  aliases: {
    hidden_size: 'dim',
    num_attention_heads: 'n_heads',
    num_hidden_layers: 'n_layers',
  },
  defaults: { pad_token_id: 0 },
}

const readConfig = reading('distilbert', unread, (config): DistilBertConfig => {
  const width = config.size('dim', 768)
  const count = config.count('n_layers', 6)
  const heads = config.perLayer('n_heads', count, 12)
  const sizes = config.perLayer('head_dim', count, Math.floor(width / heads[0]))
  const hidden = config.perLayer('hidden_dim', count, 3072)
  const task = readEncoderTask(config, ['DistilBert'])
  requireEnds(config, task)
  return {
    task,
    vocabulary: config.size('vocab_size', 30_522),
    width,
    positions: config.size('max_position_embeddings', 512),
    padding: config.optional('number', 'pad_token_id'),
    layers: heads.map((n, i) => ({ heads: n, size: sizes[i], hidden: hidden[i] })),
    activation: config.activation('activation', 'gelu'),
    dropout: {
      hidden: config.number('dropout', 0.1),
      attention: config.number('attention_dropout', 0.1),
      classify: config.number('seq_classif_dropout', 0.2),
      answer: config.number('qa_dropout', 0.1),
    },
    tied: config.boolean('tie_word_embeddings', true),
    classes: config.classes(),
  }
})

const heads: HeadNames = {
  masked: { dense: 'vocab_transform', norm: 'vocab_layer_norm', decoder: 'vocab_projector' },
  classify: { dense: 'pre_classifier', out: 'classifier' },
  tokens: 'classifier',
  answer: 'qa_outputs',
}

/** The layer norm `name`, over the last axis of x. */
export const norm = (w: Weights, name: string, x: Tensor, at: Positions): Tensor =>
  w.module(name, x, at, (x) =>
    layerNorm(x, { weight: w.tensor(`${name}.weight`), bias: w.tensor(`${name}.bias`), epsilon }),
  )

/** Self-attention of one block. x: [batch, time, width] -> the same. */
export const attention = (
  w: Weights,
  x: Tensor,
  c: DistilBertConfig,
  layer: DistilBertLayer,
  at: Positions,
): Tensor => {
  const split = (name: string): Tensor => splitHeads(w.linear(name, x), layer.heads)
  const drop = (p: Tensor): Tensor => w.dropout(p, c.dropout.attention)
  const parts = { q: split('q_lin'), k: split('k_lin'), v: split('v_lin'), at }
  return w.linear('out_lin', mergeHeads(w.attend('', parts, attentionCore({ drop }))))
}

/** The feed-forward part. x: [..., width] -> the same. */
export const mlp = (w: Weights, x: Tensor, c: DistilBertConfig): Tensor =>
  w.dropout(w.linear('lin2', c.activation(w.linear('lin1', x))), c.dropout.hidden)

/** One block. x: [batch, time, width] -> the same. */
export const block = (
  w: Weights,
  x: Tensor,
  c: DistilBertConfig,
  layer: DistilBertLayer,
  at: Positions,
): Tensor => {
  const attended = w.module('attention', x, at, (x, at) => attention(w.in('attention'), x, c, layer, at))
  const h = norm(w, 'sa_layer_norm', x.add(attended), at)
  const passed = w.module('ffn', h, at, (x) => mlp(w.in('ffn'), x, c))
  return norm(w, 'output_layer_norm', h.add(passed), at)
}

/** What enters the first block: [batch, time, width]. Throws WeftError where positions go beyond the table. */
export const embed = (w: Weights, inputs: ModelInputs, c: DistilBertConfig, at: Positions): Tensor => {
  requirePositions(at, c.positions)
  const words = inputs.embeddings ?? w.embedding('word_embeddings', inputs.ids!, { padding: c.padding })
  const sum = words.add(w.embedding('position_embeddings', at.ids))
  return w.dropout(norm(w, 'LayerNorm', sum, at), c.dropout.hidden)
}

/** Logits of the tokens of x. x: [batch, time, width] -> [batch, time, vocabulary]. */
const maskedHead = (w: Weights, x: Tensor, c: DistilBertConfig, at: Positions): Tensor => {
  const h = c.activation(w.linear(heads.masked.dense, x))
  return w.linear(heads.masked.decoder, norm(w, heads.masked.norm, h, at))
}

/** Logits of the classes, read from the first token. x: [batch, time, width] -> [batch, classes]. */
const classHead = (w: Weights, x: Tensor, c: DistilBertConfig): Tensor => {
  const h = activation('relu')(w.linear(heads.classify.dense, firstToken(x)))
  return w.linear(heads.classify.out, w.dropout(h, c.dropout.classify))
}

const logitsOf = (w: Weights, x: Tensor, inputs: ModelInputs, c: DistilBertConfig, at: Positions): Tensor => {
  switch (c.task) {
    case 'masked':
      return logitsBy((rows) => maskedHead(w, rows, c, at), x, inputs.logitsAt)
    case 'classify':
      return classHead(w, x, c)
    case 'tokens':
      return w.linear(heads.tokens, w.dropout(wantedRows(x, inputs), c.dropout.hidden))
    case 'answer':
      return w.linear(heads.answer, w.dropout(wantedRows(x, inputs), c.dropout.answer))
    case 'features':
      return wantedRows(x, inputs)
  }
}

const forward = (w: Weights, inputs: ModelInputs, c: DistilBertConfig): ModelOutputs => {
  const time = (inputs.embeddings ?? inputs.ids!).shape[1]
  const at = inputs.at ?? positionsFrom(time, { causal: false, mask: inputs.mask })
  let x = embed(w.in('distilbert.embeddings'), inputs, c, at)
  const hidden = [x]
  for (const [i, layer] of c.layers.entries()) {
    const name = `distilbert.transformer.layer.${i}`
    x = w.module(name, x, at, (x, at) => block(w.in(name), x, c, layer, at))
    hidden.push(x)
  }
  return { logits: logitsOf(w, x, inputs, c, at), hidden }
}

const blockSpecs = (
  c: DistilBertConfig,
  { heads: count, size, hidden }: DistilBertLayer,
  i: number,
): WeightSpec[] => {
  const name = `distilbert.transformer.layer.${i}`
  const along = (inside: HeadInside): AxisGroup => ({ group: `layers.${i}.heads`, unit: size, inside })
  const inner = count * size
  const units = { group: `layers.${i}.hidden`, unit: 1 }
  const inward = (part: string, inside: HeadInside): WeightSpec[] =>
    linearSpecs(`${name}.attention.${part}`, [inner, c.width], [along(inside), residual])
  return [
    ...inward('q_lin', 'queries'),
    ...inward('k_lin', 'queries'),
    ...inward('v_lin', 'values'),
    ...linearSpecs(`${name}.attention.out_lin`, [c.width, inner], [residual, along('values')]),
    ...layerNormSpecs(`${name}.sa_layer_norm`, c.width, residual),
    ...linearSpecs(`${name}.ffn.lin1`, [hidden, c.width], [units, residual]),
    ...linearSpecs(`${name}.ffn.lin2`, [c.width, hidden], [residual, units]),
    ...layerNormSpecs(`${name}.output_layer_norm`, c.width, residual),
  ]
}

const table = (c: DistilBertConfig): readonly WeightSpec[] => {
  const words = embeddingSpec('distilbert.embeddings.word_embeddings', c.vocabulary, c.width)
  return [
    words,
    embeddingSpec('distilbert.embeddings.position_embeddings', c.positions, c.width),
    ...layerNormSpecs('distilbert.embeddings.LayerNorm', c.width, residual),
    ...c.layers.flatMap((layer, i) => blockSpecs(c, layer, i)),
    ...headSpecs(heads, c, words.name),
  ]
}

const whole: Architecture<DistilBertConfig> = {
  name: 'distilbert',
  modelTypes: ['distilbert'],
  readConfig,
  task: (c) => c.task,
  positions: (c) => c.positions,
  table,
  forward,
  attention: (c) =>
    c.layers.map(({ heads, size }, i) => ({
      module: `distilbert.transformer.layer.${i}.attention`,
      heads,
      size,
    })),
  prefix: 'distilbert',
  heads: ['vocab_projector', 'classifier', 'qa_outputs'],
  targets: { usual: ['q_lin', 'v_lin'], keysAndValues: ['k_lin', 'v_lin'], hiddenInputs: ['lin2'] },
  sublayers: [
    { part: 'attention', first: ['attention.q_lin'], last: 'attention.out_lin' },
    { part: 'feed-forward', first: ['ffn.lin1'], last: 'ffn.lin2' },
  ],
  sizeKeys: {
    heads: { all: 'n_heads', size: 'head_dim' },
    hidden: 'hidden_dim',
    width: 'dim',
    perLayer: true,
  },
  stacks: [
    {
      name: '',
      path: 'distilbert.transformer.layer',
      count: 'n_layers',
      sizes: {
        n_heads: () => 12,
        head_dim: ({ dim = 768, n_heads: count = 12 }) => Math.floor(Number(dim) / Number(count)),
        hidden_dim: () => 3072,
      },
    },
  ],
  derivesHeadSize: true,
}

/** DistilBERT without a head, whichever a checkpoint has. */
const body: Architecture<DistilBertConfig> = {
  ...whole,
  readConfig: (json) => readConfig({ ...json, architectures: ['DistilBertModel'] }),
  harmless: [/^(vocab_transform|vocab_layer_norm|vocab_projector|pre_classifier|classifier|qa_outputs)\./],
}

export const distilbert: Architecture<DistilBertConfig> = { ...whole, body }
