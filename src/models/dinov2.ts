/**
 * @file DINOv2: an encoder of images as ViT is, whose parts are scaled channel by channel before they join the residual
 * stream; an image is classified by its first token and the mean of its patches.
 */
import { activation, concat, layerNorm, resize, type Tensor, where } from '../tensor/index.js'
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
import { fusedSpecs, layerNormSpecs, linearSpecs, residual } from './specs.js'
import type { Weights } from './weights.js'
import { WeftError } from '../errors.js'

/** Sizes of one block. */
export interface Dinov2Layer {
  readonly heads: number
  /** Numbers of a head. */
  readonly size: number
  /** Width of the MLP. */
  readonly hidden: number
}

export interface Dinov2Config extends PatchGrid {
  readonly task: 'image' | 'features'
  readonly layers: readonly Dinov2Layer[]
  readonly epsilon: number
  readonly activation: (x: Tensor) => Tensor
  /** Whether the MLP is silu(gate) * up. */
  readonly gated: boolean
  /** Whether query, key and value have biases. */
  readonly biases: boolean
  /** Whether it has a token that stands for patches that are masked. */
  readonly masks: boolean
  /** Value of a new model's channel scales. */
  readonly scale: number
  /** Probabilities of dropout: of embeddings, of attention's probabilities. */
  readonly dropout: Readonly<Record<'hidden' | 'attention', number>>
  readonly classes: number
}

const unread: UnreadKeys = {
  // What a backbone gives back beside its tokens; there is no embedding table to tie.
  harmless: [
    'apply_layernorm',
    'reshape_hidden_states',
    'out_features',
    'out_indices',
    'stage_names',
    'tie_word_embeddings',
  ],
  // Stochastic depth, in training alone.
  fixed: { drop_path_rate: [0] },
}

/** Channels of the MLP: a gated one has two thirds, in whole eights. */
const hiddenOf = (width: number, ratio: number, gated: boolean): number => {
  const plain = Math.trunc(width * ratio)
  return gated ? Math.floor((Math.trunc((plain * 2) / 3) + 7) / 8) * 8 : plain
}

const readConfig = reading('dinov2', unread, (config): Dinov2Config => {
  const width = config.size('hidden_size', 768)
  const count = config.count('num_hidden_layers', 12)
  const heads = config.size('num_attention_heads', 12)
  config.require(width % heads === 0, 'num_attention_heads', `a divisor of hidden_size (${width})`)
  const gated = config.boolean('use_swiglu_ffn', false)
  const hidden = hiddenOf(width, config.number('mlp_ratio', 4), gated)
  const name = config.first('architectures') ?? 'Dinov2ForImageClassification'
  const known = ['Dinov2ForImageClassification', 'Dinov2Model']
  config.require(known.includes(name), 'architectures', `one of ${known.join(', ')}`)
  return {
    task: name === 'Dinov2Model' ? 'features' : 'image',
    channels: config.size('num_channels', 3),
    image: config.pair('image_size', 224),
    patch: config.pair('patch_size', 14),
    anySize: true,
    width,
    layers: Array.from({ length: count }, () => ({ heads, size: width / heads, hidden })),
    epsilon: config.number('layer_norm_eps', 1e-6),
    activation: config.activation('hidden_act', 'gelu'),
    gated,
    biases: config.boolean('qkv_bias', true),
    masks: config.boolean('use_mask_token', true),
    scale: config.number('layerscale_value', 1),
    dropout: {
      hidden: config.number('hidden_dropout_prob', 0),
      attention: config.number('attention_probs_dropout_prob', 0),
    },
    classes: config.classes(),
  }
})

/** The layer norm `name`, over the last axis of x. */
export const norm = (w: Weights, name: string, x: Tensor, c: Dinov2Config, at: Positions): Tensor =>
  w.module(name, x, at, (x) =>
    layerNorm(x, { weight: w.tensor(`${name}.weight`), bias: w.tensor(`${name}.bias`), epsilon: c.epsilon }),
  )

/** Self-attention of one block. x: [batch, time, width] -> the same. */
export const attention = (
  w: Weights,
  x: Tensor,
  c: Dinov2Config,
  layer: Dinov2Layer,
  at: Positions,
): Tensor => {
  const heads = (name: string): Tensor => splitHeads(w.linear(`attention.${name}`, x), layer.heads)
  const drop = (p: Tensor): Tensor => w.dropout(p, c.dropout.attention)
  const parts = { q: heads('query'), k: heads('key'), v: heads('value'), at }
  return w.linear('output.dense', mergeHeads(w.attend('attention', parts, attentionCore({ drop }))))
}

/** x: [..., width] -> the same. */
export const mlp = (w: Weights, x: Tensor, c: Dinov2Config): Tensor => {
  if (!c.gated) return w.linear('fc2', c.activation(w.linear('fc1', x)))
  const [gate, up] = w.linear('weights_in', x).split(2, -1)
  return w.linear('weights_out', activation('silu')(gate).mul(up))
}

/** One block. x: [batch, time, width] -> the same. */
export const block = (w: Weights, x: Tensor, c: Dinov2Config, layer: Dinov2Layer, at: Positions): Tensor => {
  const attended = w.module('attention', norm(w, 'norm1', x, c, at), at, (x, at) =>
    attention(w.in('attention'), x, c, layer, at),
  )
  const h = x.add(attended.mul(w.tensor('layer_scale1.lambda1')))
  const passed = w.module('mlp', norm(w, 'norm2', h, c, at), at, (x) => mlp(w.in('mlp'), x, c))
  return h.add(passed.mul(w.tensor('layer_scale2.lambda1')))
}

/** Patches of which `mask` has 0 are the mask's token. tokens: [batch, patches, width], mask: [batch, patches] int. */
const masked = (w: Weights, tokens: Tensor, mask: Tensor | undefined): Tensor => {
  // Asked for even where nothing is masked: it belongs to the model.
  const token = w.tensor('mask_token')
  return mask ? where(mask.notEqual(0).unsqueeze(-1), tokens, token.unsqueeze(0)) : tokens
}

/**
 * The tokens' positions for images of height x width pixels: of another size than the model's, those of the patches are a
 * square that is resized, as Transformers has it. -> [1, patches + 1, width]. Throws WeftError where they are no square.
 */
const positionsOf = (table: Tensor, [height, width]: readonly number[], c: Dinov2Config): Tensor => {
  const grid = [Math.floor(height / c.patch[0]), Math.floor(width / c.patch[1])] as const
  const count = table.shape[1] - 1
  if (height === width && grid[0] * grid[1] === count) return table
  const side = Math.floor(Math.sqrt(count))
  if (side * side !== count)
    throw new WeftError(
      'WrongImageSize',
      `images of ${height} x ${width} pixels: this model's ${count} positions are no square that could be resized`,
      { hint: `Resize them to ${c.image[0]} x ${c.image[1]}.` },
    )
  const square = table.slice(1, 1).reshape([1, side, side, c.width]).transpose([0, 3, 1, 2])
  const resized = resize(square, grid, { mode: 'bicubic' }).transpose([0, 2, 3, 1])
  return concat([table.slice(1, 0, 1), resized.reshape([1, grid[0] * grid[1], c.width])], 1)
}

/** What enters the first block: [batch, patches + 1, width]. `embeddings` may stand for the patches. */
export const embed = (w: Weights, { pixels, embeddings, mask }: ModelInputs, c: Dinov2Config): Tensor => {
  const seen = embeddings ?? patchTokens(w, 'patch_embeddings.projection', pixels!, c)
  const tokens = c.masks ? masked(w, seen, mask) : seen
  const first = w.tensor('cls_token').expand([tokens.shape[0], 1, c.width])
  const table = w.tensor('position_embeddings')
  const positions = pixels ? positionsOf(table, pixels.shape.slice(2), c) : table
  return w.dropout(concat([first, tokens], 1).add(positions), c.dropout.hidden)
}

const forward = (w: Weights, inputs: ModelInputs, c: Dinov2Config): ModelOutputs => {
  let x = embed(w.in('dinov2.embeddings'), inputs, c)
  const at = inputs.at ?? positionsFrom(x.shape[1], { causal: false })
  const hidden = [x]
  for (const [i, layer] of c.layers.entries()) {
    const name = `dinov2.encoder.layer.${i}`
    x = w.module(name, x, at, (x, at) => block(w.in(name), x, c, layer, at))
    hidden.push(x)
  }
  const last = (hidden[hidden.length - 1] = norm(w, 'dinov2.layernorm', x, c, at))
  if (c.task === 'features') return { logits: last, hidden }
  const first = last.slice(1, 0, 1).squeeze(1)
  return { logits: w.linear('classifier', concat([first, last.slice(1, 1).mean(1)], -1)), hidden }
}

const embeddingSpecs = (c: Dinov2Config): WeightSpec[] => {
  const name = 'dinov2.embeddings'
  const tokens = (part: string, count: number): WeightSpec => ({
    name: `${name}.${part}`,
    shape: [1, count, c.width],
    kind: 'parameter',
    axes: [undefined, undefined, residual],
  })
  const mask: WeightSpec = {
    name: `${name}.mask_token`,
    shape: [1, c.width],
    kind: 'parameter',
    initial: 0,
    axes: [undefined, residual],
  }
  return [
    tokens('cls_token', 1),
    ...(c.masks ? [mask] : []),
    tokens('position_embeddings', patches(c) + 1),
    ...patchSpecs(`${name}.patch_embeddings.projection`, c),
  ]
}

const mlpSpecs = (name: string, c: Dinov2Config, hidden: number, units: AxisGroup): WeightSpec[] => {
  if (!c.gated)
    return [
      ...linearSpecs(`${name}.fc1`, [hidden, c.width], [units, residual]),
      ...linearSpecs(`${name}.fc2`, [c.width, hidden], [residual, units]),
    ]
  const parts = ['gate', 'up'].map((part) => ({ name: part, size: hidden }))
  return [
    ...fusedSpecs(`${name}.weights_in`, [2 * hidden, c.width], [units, residual], parts),
    ...linearSpecs(`${name}.weights_out`, [c.width, hidden], [residual, units]),
  ]
}

const blockSpecs = (
  c: Dinov2Config,
  { heads: count, size, hidden }: Dinov2Layer,
  i: number,
): WeightSpec[] => {
  const name = `dinov2.encoder.layer.${i}`
  const heads = (inside: HeadInside): AxisGroup => ({ group: `layers.${i}.heads`, unit: size, inside })
  const inner = count * size
  const inward = (part: string, inside: HeadInside): WeightSpec[] =>
    linearSpecs(`${name}.attention.attention.${part}`, [inner, c.width], [heads(inside), residual], c.biases)
  const scale = (part: string): WeightSpec => ({
    name: `${name}.${part}.lambda1`,
    shape: [c.width],
    kind: 'parameter',
    initial: c.scale,
    axes: [residual],
  })
  return [
    ...layerNormSpecs(`${name}.norm1`, c.width, residual),
    ...inward('query', 'queries'),
    ...inward('key', 'queries'),
    ...inward('value', 'values'),
    ...linearSpecs(`${name}.attention.output.dense`, [c.width, inner], [residual, heads('values')]),
    scale('layer_scale1'),
    ...layerNormSpecs(`${name}.norm2`, c.width, residual),
    ...mlpSpecs(`${name}.mlp`, c, hidden, { group: `layers.${i}.hidden`, unit: 1 }),
    scale('layer_scale2'),
  ]
}

/** The classifier reads the residual stream twice: of the first token, and the mean of the patches. */
const headSpecs = (c: Dinov2Config): WeightSpec[] =>
  c.task === 'features'
    ? []
    : linearSpecs('classifier', [c.classes, 2 * c.width], [undefined, { ...residual, repeated: 2 }])

const table = (c: Dinov2Config): readonly WeightSpec[] => [
  ...embeddingSpecs(c),
  ...c.layers.flatMap((layer, i) => blockSpecs(c, layer, i)),
  ...layerNormSpecs('dinov2.layernorm', c.width, residual),
  ...headSpecs(c),
]

export const dinov2: Architecture<Dinov2Config> = {
  name: 'dinov2',
  modelTypes: ['dinov2'],
  readConfig,
  task: (c) => c.task,
  table,
  forward,
  attention: (c) =>
    c.layers.map(({ heads, size }, i) => ({
      module: `dinov2.encoder.layer.${i}.attention.attention`,
      heads,
      size,
    })),
  prefix: 'dinov2',
  heads: ['classifier'],
  targets: {
    usual: ['query', 'value'],
    keysAndValues: ['key', 'value'],
    hiddenInputs: ['mlp.fc2', 'mlp.weights_out'],
  },
  sublayers: [
    { part: 'attention', first: ['attention.attention.query'], last: 'attention.output.dense' },
    { part: 'feed-forward', first: ['mlp.fc1'], last: 'mlp.fc2' },
    { part: 'feed-forward', first: ['mlp.weights_in'], last: 'mlp.weights_out' },
  ],
  stacks: [{ name: '', path: 'dinov2.encoder.layer', count: 'num_hidden_layers', sizes: {} }],
}
