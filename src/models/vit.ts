/** @file ViT: an image cut into patches that an encoder reads as tokens, behind one more token that is classified. */
import { concat, layerNorm, type Tensor } from '../tensor/index.js'
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
import { type PatchGrid, patches, patchSpecs, patchTokens } from './patches.js'
import { type Positions, positionsFrom } from './positions.js'
import { layerNormSpecs, linearSpecs, residual } from './specs.js'
import type { Weights } from './weights.js'
import { encoderLayerSizes, encoderSizes } from './widths.js'

/** Of one block. */
export interface VitLayer {
  readonly heads: number
  /** Of a head. */
  readonly size: number
  /** Width of the feed-forward part. */
  readonly hidden: number
}

export interface VitConfig extends PatchGrid {
  readonly layers: readonly VitLayer[]
  readonly epsilon: number
  readonly activation: (x: Tensor) => Tensor
  /** Whether query, key and value have biases. */
  readonly biases: boolean
  /** Probabilities of dropout: of embeddings and of what each part adds, of attention's probabilities. */
  readonly dropout: Readonly<Record<'hidden' | 'attention', number>>
  readonly classes: number
}

const unread: UnreadKeys = {
  // The pooler and the decoder of masked images, which stand beside the classifier; there is no embedding table to tie.
  harmless: ['pooler_act', 'pooler_output_size', 'encoder_stride', 'tie_word_embeddings'],
  fixed: { use_mask_token: [false], interpolate_pos_encoding: [false] },
}

const readConfig = reading('vit', unread, (config): VitConfig => {
  const width = config.size('hidden_size', 768)
  const count = config.count('num_hidden_layers', 12)
  const heads = config.perLayer('num_attention_heads', count, 12)
  const sizes = config.perLayer('head_dim', count, Math.floor(width / heads[0]))
  const hidden = config.perLayer('intermediate_size', count, 3072)
  return {
    channels: config.size('num_channels', 3),
    image: config.pair('image_size', 224),
    patch: config.pair('patch_size', 16),
    width,
    layers: heads.map((n, i) => ({ heads: n, size: sizes[i], hidden: hidden[i] })),
    epsilon: config.number('layer_norm_eps', 1e-12),
    activation: config.activation('hidden_act', 'gelu'),
    biases: config.boolean('qkv_bias', true),
    dropout: {
      hidden: config.number('hidden_dropout_prob', 0),
      attention: config.number('attention_probs_dropout_prob', 0),
    },
    classes: config.classes(),
  }
})

/** The layer norm `name`, over the last axis of x. */
export const norm = (w: Weights, name: string, x: Tensor, c: VitConfig, at: Positions): Tensor =>
  w.module(name, x, at, (x) =>
    layerNorm(x, { weight: w.tensor(`${name}.weight`), bias: w.tensor(`${name}.bias`), epsilon: c.epsilon }),
  )

/** Self-attention of one block. x: [batch, time, width] -> the same. */
export const attention = (w: Weights, x: Tensor, c: VitConfig, layer: VitLayer, at: Positions): Tensor => {
  const heads = (name: string): Tensor => splitHeads(w.linear(`attention.${name}`, x), layer.heads)
  const drop = (p: Tensor): Tensor => w.dropout(p, c.dropout.attention)
  const parts = { q: heads('query'), k: heads('key'), v: heads('value'), at }
  const attended = mergeHeads(w.attend('attention', parts, attentionCore({ drop })))
  return w.dropout(w.linear('output.dense', attended), c.dropout.hidden)
}

/** One block. x: [batch, time, width] -> the same. */
export const block = (w: Weights, x: Tensor, c: VitConfig, layer: VitLayer, at: Positions): Tensor => {
  const attended = w.module('attention', norm(w, 'layernorm_before', x, c, at), at, (x, at) =>
    attention(w.in('attention'), x, c, layer, at),
  )
  const h = x.add(attended)
  const inner = w.module('intermediate', norm(w, 'layernorm_after', h, c, at), at, (x) =>
    c.activation(w.linear('intermediate.dense', x)),
  )
  return h.add(w.dropout(w.linear('output.dense', inner), c.dropout.hidden))
}

/** What enters the first block: [batch, patches + 1, width]. `embeddings` may stand for the patches. */
export const embed = (w: Weights, { pixels, embeddings }: ModelInputs, c: VitConfig): Tensor => {
  const tokens = embeddings ?? patchTokens(w, 'patch_embeddings.projection', pixels!, c)
  const first = w.tensor('cls_token').expand([tokens.shape[0], 1, c.width])
  return w.dropout(concat([first, tokens], 1).add(w.tensor('position_embeddings')), c.dropout.hidden)
}

const forward = (w: Weights, inputs: ModelInputs, c: VitConfig): ModelOutputs => {
  let x = embed(w.in('vit.embeddings'), inputs, c)
  const at = inputs.at ?? positionsFrom(x.shape[1], { causal: false })
  const hidden = [x]
  for (const [i, layer] of c.layers.entries()) {
    const name = `vit.encoder.layer.${i}`
    x = w.module(name, x, at, (x, at) => block(w.in(name), x, c, layer, at))
    hidden.push(x)
  }
  const last = (hidden[hidden.length - 1] = norm(w, 'vit.layernorm', x, c, at))
  return { logits: w.linear('classifier', last.slice(1, 0, 1).squeeze(1)), hidden }
}

const embeddingSpecs = (c: VitConfig): WeightSpec[] => {
  const name = 'vit.embeddings'
  const tokens = (part: string, count: number): WeightSpec => ({
    name: `${name}.${part}`,
    shape: [1, count, c.width],
    kind: 'parameter',
    axes: [undefined, undefined, residual],
  })
  return [
    tokens('cls_token', 1),
    tokens('position_embeddings', patches(c) + 1),
    ...patchSpecs(`${name}.patch_embeddings.projection`, c),
  ]
}

const blockSpecs = (c: VitConfig, { heads: count, size, hidden }: VitLayer, i: number): WeightSpec[] => {
  const name = `vit.encoder.layer.${i}`
  const heads = (inside: HeadInside): AxisGroup => ({ group: `layers.${i}.heads`, unit: size, inside })
  const inner = count * size
  const units = { group: `layers.${i}.hidden`, unit: 1 }
  return [
    ...['query', 'key', 'value'].flatMap((part) =>
      linearSpecs(
        `${name}.attention.attention.${part}`,
        [inner, c.width],
        [heads(part === 'value' ? 'values' : 'queries'), residual],
        c.biases,
      ),
    ),
    ...linearSpecs(`${name}.attention.output.dense`, [c.width, inner], [residual, heads('values')]),
    ...linearSpecs(`${name}.intermediate.dense`, [hidden, c.width], [units, residual]),
    ...linearSpecs(`${name}.output.dense`, [c.width, hidden], [residual, units]),
    ...layerNormSpecs(`${name}.layernorm_before`, c.width, residual),
    ...layerNormSpecs(`${name}.layernorm_after`, c.width, residual),
  ]
}

const table = (c: VitConfig): readonly WeightSpec[] => [
  ...embeddingSpecs(c),
  ...c.layers.flatMap((layer, i) => blockSpecs(c, layer, i)),
  ...layerNormSpecs('vit.layernorm', c.width, residual),
  ...linearSpecs('classifier', [c.classes, c.width], [undefined, residual]),
]

export const vit: Architecture<VitConfig> = {
  name: 'vit',
  modelTypes: ['vit'],
  readConfig,
  task: () => 'image',
  table,
  forward,
  attention: (c) =>
    c.layers.map(({ heads, size }, i) => ({
      module: `vit.encoder.layer.${i}.attention.attention`,
      heads,
      size,
    })),
  prefix: 'vit',
  heads: ['classifier'],
  targets: {
    usual: ['query', 'value'],
    keysAndValues: ['key', 'value'],
    hiddenInputs: ['output.dense'],
  },
  sublayers: [
    { part: 'attention', first: ['attention.attention.query'], last: 'attention.output.dense' },
    { part: 'feed-forward', first: ['intermediate.dense'], last: 'output.dense' },
  ],
  sizeKeys: encoderSizes,
  stacks: [
    {
      name: '',
      path: 'vit.encoder.layer',
      count: 'num_hidden_layers',
      sizes: encoderLayerSizes,
    },
  ],
  derivesHeadSize: true,
  harmless: [/^vit\.pooler\./],
}
