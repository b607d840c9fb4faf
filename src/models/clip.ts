/**
 * @file CLIP: an encoder of texts and one of images, whose projections are alike where text and image belong together (Radford
 * et al. 2021, arXiv 2103.00020). Logits are the similarities of all images with all texts of a batch.
 */
import { concat, layerNorm, range, type Tensor } from '../tensor/index.js'
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
import { requirePositions } from './encoder-heads.js'
import { type PatchGrid, patches, patchSpecs, patchTokens } from './patches.js'
import { type Positions, positionsFrom } from './positions.js'
import { embeddingSpec, layerNormSpecs, linearSpecs } from './specs.js'
import type { Weights } from './weights.js'

/** What both towers have. */
export interface ClipTower {
  readonly width: number
  readonly heads: number
  /** Numbers of a head. */
  readonly size: number
  /** Width of the MLP. */
  readonly hidden: number
  /** Number of blocks. */
  readonly layers: number
  readonly epsilon: number
  readonly activation: (x: Tensor) => Tensor
  /** Probability of dropping one of attention's probabilities. */
  readonly dropout: number
}

export interface ClipConfig {
  readonly text: ClipTower & {
    readonly vocabulary: number
    readonly positions: number
    /** Id of the token that stands for a text: its first; undefined for the greatest id of each text. */
    readonly end?: number
  }
  readonly vision: ClipTower & PatchGrid
  /** Numbers of what stands for a text or an image in the end. */
  readonly projection: number
  /** Logarithm of what a new model multiplies similarities by. */
  readonly scale: number
}

const unread: UnreadKeys = { harmless: ['projection_dim', 'dropout', 'tie_word_embeddings'] }

const readTower = (
  config: ConfigReader,
  defaults: Readonly<Record<'width' | 'heads' | 'hidden', number>>,
): ClipTower => {
  const width = config.size('hidden_size', defaults.width)
  const heads = config.size('num_attention_heads', defaults.heads)
  config.require(width % heads === 0, 'num_attention_heads', `a divisor of hidden_size (${width})`)
  return {
    width,
    heads,
    size: width / heads,
    hidden: config.size('intermediate_size', defaults.hidden),
    layers: config.count('num_hidden_layers', 12),
    epsilon: config.number('layer_norm_eps', 1e-5),
    activation: config.activation('hidden_act', 'quick_gelu'),
    dropout: config.number('attention_dropout', 0),
  }
}

const readText = (config: ConfigReader): ClipConfig['text'] => {
  const end = config.number('eos_token_id', 49_407)
  const text = {
    ...readTower(config, { width: 512, heads: 8, hidden: 2048 }),
    vocabulary: config.size('vocab_size', 49_408),
    positions: config.size('max_position_embeddings', 77),
    // The first files say 2, which is none of their tokens: the end has the greatest id there.
    end: end === 2 ? undefined : end,
  }
  config.refuseUnread('clip', unread)
  return text
}

const readVision = (config: ConfigReader): ClipConfig['vision'] => {
  const image = config.size('image_size', 224)
  const patch = config.size('patch_size', 32)
  const vision = {
    ...readTower(config, { width: 768, heads: 12, hidden: 3072 }),
    channels: config.size('num_channels', 3),
    image: [image, image] as const,
    patch: [patch, patch] as const,
  }
  config.refuseUnread('clip', unread)
  return vision
}

const readConfig = reading('clip', unread, (config): ClipConfig => {
  const name = config.first('architectures') ?? 'CLIPModel'
  config.require(name === 'CLIPModel', 'architectures', '"CLIPModel", both towers')
  return {
    text: readText(config.part('text_config', 'text_config_dict')),
    vision: readVision(config.part('vision_config', 'vision_config_dict')),
    projection: config.size('projection_dim', 512),
    scale: config.number('logit_scale_init_value', 2.6592),
  }
})

/** The layer norm `name`, over the last axis of x. */
export const norm = (w: Weights, name: string, x: Tensor, c: ClipTower, at: Positions): Tensor =>
  w.module(name, x, at, (x) =>
    layerNorm(x, { weight: w.tensor(`${name}.weight`), bias: w.tensor(`${name}.bias`), epsilon: c.epsilon }),
  )

/** Self-attention of one block. x: [batch, time, width] -> the same. */
export const attention = (w: Weights, x: Tensor, c: ClipTower, at: Positions): Tensor => {
  const heads = (name: string): Tensor => splitHeads(w.linear(name, x), c.heads)
  const drop = c.dropout ? (p: Tensor): Tensor => w.dropout(p, c.dropout) : undefined
  const parts = { q: heads('q_proj'), k: heads('k_proj'), v: heads('v_proj'), at }
  return w.linear('out_proj', mergeHeads(w.attend('', parts, attentionCore({ drop }))))
}

/** One block of either tower. x: [batch, time, width] -> the same. */
export const block = (w: Weights, x: Tensor, c: ClipTower, at: Positions): Tensor => {
  const attended = w.module('self_attn', norm(w, 'layer_norm1', x, c, at), at, (x, at) =>
    attention(w.in('self_attn'), x, c, at),
  )
  const h = x.add(attended)
  const passed = w.module('mlp', norm(w, 'layer_norm2', h, c, at), at, (x) =>
    w.linear('mlp.fc2', c.activation(w.linear('mlp.fc1', x))),
  )
  return h.add(passed)
}

/** The blocks of a tower (`w` is within it): what enters each, and what leaves the last. x: [batch, time, width]. */
const blocks = (w: Weights, x: Tensor, c: ClipTower, at: Positions): Tensor[] => {
  const hidden = [x]
  for (let i = 0; i < c.layers; i++) {
    const name = `encoder.layers.${i}`
    hidden.push(w.module(name, hidden[i], at, (x, at) => block(w.in(name), x, c, at)))
  }
  return hidden
}

/** What a tower makes of its inputs. */
export interface Encoded {
  /** One row for each text or image: [batch, width]. */
  readonly pooled: Tensor
  readonly hidden: readonly Tensor[]
}

/** Where each text ends: the first token `end`, or the token of greatest id. ids: [batch, time] -> [batch, 1]. */
const endsOf = (ids: Tensor, end: number | undefined): Tensor =>
  (end === undefined ? ids : ids.equal(end).cast('int32')).argMax(-1).cast('int32').unsqueeze(1)

/** Texts (`w` is within their tower). Throws WeftError where positions go beyond the table. */
export const encodeText = (w: Weights, inputs: ModelInputs, c: ClipConfig['text']): Encoded => {
  const { ids, embeddings, mask } = inputs
  const tokens = embeddings ?? w.embedding('embeddings.token_embedding', ids!)
  const [batch, time] = tokens.shape
  const at = inputs.at ?? positionsFrom(time, { causal: true, mask })
  requirePositions(at, c.positions)
  const hidden = blocks(w, tokens.add(w.embedding('embeddings.position_embedding', at.ids)), c, at)
  const last = (hidden[c.layers] = norm(w, 'final_layer_norm', hidden[c.layers], c, at))
  const ends = ids ? endsOf(ids, c.end) : range(time - 1, time).expand([batch, 1])
  return { pooled: rowsAt(last, ends).squeeze(1), hidden }
}

/** Images (`w` is within their tower). */
export const encodeImage = (w: Weights, pixels: Tensor, c: ClipConfig['vision']): Encoded => {
  const tokens = patchTokens(w, 'embeddings.patch_embedding', pixels, c)
  const first = w.tensor('embeddings.class_embedding').expand([tokens.shape[0], 1, c.width])
  const at = positionsFrom(tokens.shape[1] + 1, { causal: false })
  const x = concat([first, tokens], 1).add(w.embedding('embeddings.position_embedding', at.ids))
  const hidden = blocks(w, norm(w, 'pre_layrnorm', x, c, at), c, at)
  const token = hidden[c.layers].slice(1, 0, 1)
  return { pooled: norm(w, 'post_layernorm', token, c, at).squeeze(1), hidden }
}

/** x / |x| along the last axis. x: [..., width] -> the same. */
const unit = (x: Tensor): Tensor => x.div(x.square().sum(-1, { keep: true }).sqrt())

const forward = (w: Weights, inputs: ModelInputs, c: ClipConfig): ModelOutputs => {
  const texts = encodeText(w.in('text_model'), inputs, c.text)
  const images = encodeImage(w.in('vision_model'), inputs.pixels!, c.vision)
  const text = unit(w.linear('text_projection', texts.pooled))
  const image = unit(w.linear('visual_projection', images.pooled))
  const logits = image.matmul(text.t()).mul(w.tensor('logit_scale').exp())
  return { logits, hidden: [...texts.hidden, ...images.hidden], embeddings: { text, image } }
}

const blockSpecs = (name: string, at: string, c: ClipTower, stream: AxisGroup): WeightSpec[] => {
  const heads = (inside: HeadInside): AxisGroup => ({ group: `${at}.heads`, unit: c.size, inside })
  const units: AxisGroup = { group: `${at}.hidden`, unit: 1 }
  const inward = (part: string, inside: HeadInside): WeightSpec[] =>
    linearSpecs(`${name}.self_attn.${part}`, [c.width, c.width], [heads(inside), stream])
  return [
    ...inward('q_proj', 'queries'),
    ...inward('k_proj', 'queries'),
    ...inward('v_proj', 'values'),
    ...linearSpecs(`${name}.self_attn.out_proj`, [c.width, c.width], [stream, heads('values')]),
    ...layerNormSpecs(`${name}.layer_norm1`, c.width, stream),
    ...linearSpecs(`${name}.mlp.fc1`, [c.hidden, c.width], [units, stream]),
    ...linearSpecs(`${name}.mlp.fc2`, [c.width, c.hidden], [stream, units]),
    ...layerNormSpecs(`${name}.layer_norm2`, c.width, stream),
  ]
}

const towerSpecs = (tower: 'text' | 'vision', c: ClipTower, stream: AxisGroup): WeightSpec[] =>
  Array.from({ length: c.layers }, (_, i) =>
    blockSpecs(`${tower}_model.encoder.layers.${i}`, `${tower}.layers.${i}`, c, stream),
  ).flat()

const textSpecs = (c: ClipConfig['text'], stream: AxisGroup): WeightSpec[] => [
  embeddingSpec('text_model.embeddings.token_embedding', c.vocabulary, c.width, stream),
  embeddingSpec('text_model.embeddings.position_embedding', c.positions, c.width, stream),
  ...towerSpecs('text', c, stream),
  ...layerNormSpecs('text_model.final_layer_norm', c.width, stream),
]

const visionSpecs = (c: ClipConfig['vision'], stream: AxisGroup): WeightSpec[] => [
  {
    name: 'vision_model.embeddings.class_embedding',
    shape: [c.width],
    kind: 'parameter',
    axes: [stream],
  },
  ...patchSpecs('vision_model.embeddings.patch_embedding', c, stream, false),
  embeddingSpec('vision_model.embeddings.position_embedding', patches(c) + 1, c.width, stream),
  ...layerNormSpecs('vision_model.pre_layrnorm', c.width, stream),
  ...towerSpecs('vision', c, stream),
  ...layerNormSpecs('vision_model.post_layernorm', c.width, stream),
]

const table = (c: ClipConfig): readonly WeightSpec[] => {
  const streams = {
    text: { group: 'text.residual', unit: 1 },
    vision: { group: 'vision.residual', unit: 1 },
  }
  const shared: AxisGroup = { group: 'projection', unit: 1 }
  const projection = (name: string, width: number, stream: AxisGroup): WeightSpec[] =>
    linearSpecs(name, [c.projection, width], [shared, stream], false)
  return [
    { name: 'logit_scale', shape: [], kind: 'parameter', initial: c.scale, axes: [] },
    ...textSpecs(c.text, streams.text),
    ...visionSpecs(c.vision, streams.vision),
    ...projection('text_projection', c.text.width, streams.text),
    ...projection('visual_projection', c.vision.width, streams.vision),
  ]
}

export const clip: Architecture<ClipConfig> = {
  name: 'clip',
  modelTypes: ['clip'],
  readConfig,
  task: () => 'contrastive',
  positions: ({ text }) => text.positions,
  table,
  forward,
  attention: (c) =>
    (['text', 'vision'] as const).flatMap((tower) =>
      Array.from({ length: c[tower].layers }, (_, i) => ({
        module: `${tower}_model.encoder.layers.${i}.self_attn`,
        heads: c[tower].heads,
        size: c[tower].size,
      })),
    ),
  heads: ['text_projection', 'visual_projection'],
  targets: {
    usual: ['q_proj', 'v_proj'],
    keysAndValues: ['k_proj', 'v_proj'],
    hiddenInputs: ['mlp.fc2'],
  },
  sublayers: [
    { part: 'attention', first: ['self_attn.q_proj'], last: 'self_attn.out_proj' },
    { part: 'feed-forward', first: ['mlp.fc1'], last: 'mlp.fc2' },
  ],
}
