/**
 * @file Llama and its family: decoders with rotary positions, RMS norms and gated MLPs. What Qwen 2 and 3, Mistral,
 * Gemma 2 and Mixtral do otherwise is data: a line of `variants`.
 */
import { oneHot, rmsNorm, rotary, softmax, type Tensor } from '../tensor/index.js'
import { type JsonObject, normaliseConfig } from '../checkpoint/web.js'
import type { Architecture, ModelInputs, ModelOutputs } from './architecture.js'
import { attentionCore, mergeHeads, rowsAt, splitHeads } from './attention.js'
import { type ConfigReader, reading } from './config.js'
import type { UnreadKeys } from './config-keys.js'
import { fusedExperts, llamaTable } from './llama-table.js'
import { type Positions, positionsFrom } from './positions.js'
import { readRope, type Rope, rotation } from './rope.js'
import type { Weights } from './weights.js'

/** Of one block. */
export interface LlamaLayer {
  readonly heads: number
  readonly keyHeads: number
  /** Of a head. */
  readonly size: number
  /** Width of the MLP. */
  readonly hidden: number
  /** How many tokens a token sees, itself included; undefined for all. */
  readonly window?: number
}

export interface LlamaConfig {
  readonly vocabulary: number
  readonly width: number
  readonly layers: readonly LlamaLayer[]
  readonly positions: number
  readonly rope: Rope
  readonly epsilon: number
  readonly activation: (x: Tensor) => Tensor
  /** Probability of dropping one of attention's probabilities. */
  readonly dropout: number
  /** Whether the head is the embedding table. */
  readonly tied: boolean
  /** Which linear modules have biases. */
  readonly biases: Readonly<Record<'qkv' | 'output' | 'mlp', boolean>>
  /** RMS norms of each query and key head. */
  readonly headNorms: boolean
  /** Norm weights are 1 + w, each block's parts are normed once more after, embeddings are multiplied by sqrt(width). */
  readonly gemma: boolean
  /** Multiplies q kᵀ. Default 1 / sqrt(size). */
  readonly scale?: number
  /** c of c tanh(x / c), for attention scores and for logits. */
  readonly scoreCap?: number
  readonly logitCap?: number
  /** In place of the MLP: `count` of them, of which the router gives each token `perToken`. */
  readonly experts?: { readonly count: number; readonly perToken: number }
}

/** What a member of the family does otherwise than Llama. A string is the key of config.json that says it. */
interface Variant {
  readonly biases?: Readonly<Partial<Record<'qkv' | 'output' | 'mlp', boolean | string>>>
  readonly headNorms?: boolean
  readonly gemma?: boolean
  readonly experts?: boolean
  /** Which layers slide where `layer_types` does not say. Default: none, whatever `sliding_window` says. */
  readonly slides?: (layer: number, config: ConfigReader) => boolean
  /** Whether `layer_types` says which layers slide. */
  readonly typed?: boolean
  /** The key that names the activation, and the activation where it is absent or null. Default hidden_act, silu. */
  readonly activation?: readonly [key: string, fallback: string]
  /** What config.json means by leaving a key out. */
  readonly defaults?: Readonly<Record<string, unknown>>
  readonly unread?: UnreadKeys
}

/** What a member of the family may find in config.json though only others read it, as Transformers has it. */
const ofOthers = [
  'attention_bias',
  'mlp_bias',
  'sliding_window',
  'use_sliding_window',
  'max_window_layers',
  'original_max_position_embeddings',
]

const always = (): boolean => true
const late = (layer: number, config: ConfigReader): boolean =>
  config.boolean('use_sliding_window', false) && layer >= config.number('max_window_layers', 28)

const [full, sliding] = ['full_attention', 'sliding_attention']

/**
 * How many tokens each layer sees. `layer_types` is read where the variant has it; elsewhere it must not contradict what
 * the variant does. Qwen's `use_sliding_window` switches every window off.
 */
const readWindows = (
  config: ConfigReader,
  count: number,
  { slides = () => false, typed }: Variant,
): (number | undefined)[] => {
  const window = config.optional('size', 'sliding_window')
  const usual = Array.from({ length: count }, (_, i) => slides(i, config) && window !== undefined)
  const types = config.list<string>('layer_types', 'string', count)
  const known = types?.every((type) => type === full || type === sliding) ?? true
  config.require(known, 'layer_types', `a list of "${full}" and "${sliding}"`)
  const slide = types?.map((type) => type === sliding) ?? usual
  const agrees = typed || slide.every((it, i) => it === usual[i])
  config.require(
    agrees,
    'layer_types',
    usual.some(Boolean) ? `"${sliding}" everywhere` : `"${full}" everywhere`,
  )
  const off = slides === late && !config.boolean('use_sliding_window', false)
  return slide.map((it) => (it && !off ? window : undefined))
}

const variants: Readonly<Record<string, Variant>> = {
  llama: { biases: { qkv: 'attention_bias', output: 'attention_bias', mlp: 'mlp_bias' } },
  qwen2: {
    biases: { qkv: true },
    slides: late,
    typed: true,
    defaults: { sliding_window: 4096, max_position_embeddings: 32_768 },
  },
  qwen3: {
    biases: { qkv: 'attention_bias', output: 'attention_bias' },
    headNorms: true,
    slides: late,
    typed: true,
    defaults: { sliding_window: 4096, max_position_embeddings: 32_768, head_dim: 128 },
  },
  mistral: { slides: always, defaults: { sliding_window: 4096, max_position_embeddings: 131_072 } },
  gemma2: {
    biases: { qkv: 'attention_bias', output: 'attention_bias' },
    gemma: true,
    slides: (layer) => layer % 2 === 0,
    typed: true,
    activation: ['hidden_activation', 'gelu_pytorch_tanh'],
    unread: {
      // Transformers reads hidden_activation alone.
      harmless: ['hidden_act', 'sliding_window_size'],
      fixed: { use_bidirectional_attention: [false] },
    },
    defaults: {
      sliding_window: 4096,
      max_position_embeddings: 8192,
      head_dim: 256,
      query_pre_attn_scalar: 256,
      attn_logit_softcapping: 50,
      final_logit_softcapping: 30,
      tie_word_embeddings: true,
    },
  },
  mixtral: {
    experts: true,
    slides: always,
    unread: { aliases: { num_experts: 'num_local_experts' } },
    defaults: {
      max_position_embeddings: 131_072,
      rope_theta: 1e6,
      rms_norm_eps: 1e-5,
      num_local_experts: 8,
      num_experts_per_tok: 2,
    },
  },
}

const readLayers = (config: ConfigReader, variant: Variant): LlamaLayer[] => {
  const count = config.count('num_hidden_layers')
  const width = config.size('hidden_size')
  const heads = config.perLayer('num_attention_heads', count)
  const keyHeads = config.perLayer('num_key_value_heads', count, heads)
  const whole = config.optional('size', 'num_attention_heads') ?? heads[0]
  const sizes = config.perLayer('head_dim', count, Math.floor(width / whole))
  const hidden = config.perLayer('intermediate_size', count)
  const windows = readWindows(config, count, variant)
  const even = sizes.every((size) => size % 2 === 0)
  config.require(even, 'head_dim', 'an even size, since rotary positions turn pairs')
  const divide = heads.every((n, i) => n % keyHeads[i] === 0)
  config.require(divide, 'num_key_value_heads', 'a divisor of num_attention_heads')
  return heads.map((n, i) => ({
    heads: n,
    keyHeads: keyHeads[i],
    size: sizes[i],
    hidden: hidden[i],
    window: windows[i],
  }))
}

const readExperts = (config: ConfigReader): LlamaConfig['experts'] => {
  const count = config.count('num_local_experts')
  const perToken = config.count('num_experts_per_tok')
  config.require(perToken <= count, 'num_experts_per_tok', `at most num_local_experts (${count})`)
  return { count, perToken }
}

const readVariant =
  (variant: Variant) =>
  (config: ConfigReader): LlamaConfig => {
    const bias = (part: 'qkv' | 'output' | 'mlp'): boolean => {
      const given = variant.biases?.[part] ?? false
      return typeof given === 'string' ? config.boolean(given, false) : given
    }
    const positions = config.size('max_position_embeddings', 2048)
    const query = config.optional('number', 'query_pre_attn_scalar')
    const layers = readLayers(config, variant)
    const sizes = layers.map(({ size }) => size)
    return {
      vocabulary: config.size('vocab_size'),
      width: config.size('hidden_size'),
      layers,
      positions,
      rope: readRope(config, { maximum: positions, theta: config.number('rope_theta', 10_000), sizes }),
      epsilon: config.number('rms_norm_eps', 1e-6),
      activation: config.activation(...(variant.activation ?? (['hidden_act', 'silu'] as const))),
      dropout: config.number('attention_dropout', 0),
      tied: config.boolean('tie_word_embeddings', false),
      biases: { qkv: bias('qkv'), output: bias('output'), mlp: bias('mlp') },
      headNorms: variant.headNorms ?? false,
      gemma: variant.gemma ?? false,
      scale: query === undefined ? undefined : query ** -0.5,
      scoreCap: config.optional('number', 'attn_logit_softcapping'),
      logitCap: config.optional('number', 'final_logit_softcapping'),
      experts: variant.experts ? readExperts(config) : undefined,
    }
  }

const readConfig = (json: Readonly<Record<string, unknown>>): LlamaConfig => {
  const type = String(json.model_type)
  const variant = variants[type]
  const harmless = [...ofOthers, ...(variant.unread?.harmless ?? [])]
  const keys = { ...variant.unread, harmless, defaults: variant.defaults }
  return reading(type, keys, readVariant(variant))(normaliseConfig(json as JsonObject))
}

/** The RMS norm `name`, over the last axis of x. */
export const norm = (w: Weights, name: string, x: Tensor, c: LlamaConfig, at: Positions): Tensor =>
  w.module(name, x, at, (x) => {
    const weight = w.tensor(`${name}.weight`)
    return rmsNorm(x, c.gemma ? weight.add(1) : weight, { epsilon: c.epsilon })
  })

/** Self-attention of one block. x: [batch, time, width] -> the same. */
export const attention = (
  w: Weights,
  x: Tensor,
  c: LlamaConfig,
  layer: LlamaLayer,
  at: Positions,
): Tensor => {
  const { cos, sin } = rotation(c.rope, layer.size, at)
  const heads = (name: string, count: number): Tensor => splitHeads(w.linear(`${name}_proj`, x), count)
  const turned = (name: string, count: number): Tensor => {
    const h = heads(name, count)
    return rotary(c.headNorms ? norm(w, `${name}_norm`, h, c, at) : h, cos, sin)
  }
  const q = turned('q', layer.heads)
  const k = turned('k', layer.keyHeads)
  const v = heads('v', layer.keyHeads)
  const drop = c.dropout ? (p: Tensor): Tensor => w.dropout(p, c.dropout) : undefined
  const core = attentionCore({ scale: c.scale, softcap: c.scoreCap, window: layer.window, drop })
  return w.linear('o_proj', mergeHeads(w.attend('', { q, k, v, at }, core)))
}

/** down(f(gate(x)) * up(x)). x: [..., width] -> the same. */
export const mlp = (
  w: Weights,
  x: Tensor,
  c: LlamaConfig,
  names: readonly string[] = ['gate_proj', 'up_proj', 'down_proj'],
): Tensor => w.linear(names[2], c.activation(w.linear(names[0], x)).mul(w.linear(names[1], x)))

/**
 * A mixture of experts (Jiang et al. 2024, arXiv 2401.04088): each token's `perToken` likeliest experts, weighted by
 * their renormalised probabilities. Every expert runs on every token, since a graph is static. x: [batch, time, width]
 * -> the same. Reports the share of tokens that each expert gets (`router`) and its mean probability.
 */
export const experts = (w: Weights, x: Tensor, c: LlamaConfig): Tensor => {
  const { count, perToken } = c.experts!
  const probabilities = softmax(w.linear('gate', x))
  const { values, indices } = probabilities.topK(perToken)
  const chosen = oneHot(indices, count)
  const share = values.div(values.sum(-1, { keep: true }))
  const weights = share.unsqueeze(-1).mul(chosen).sum(-2)
  w.report('router', chosen.sum(-2).mean([0, 1]))
  w.report('router_probabilities', probabilities.mean([0, 1]))
  const outputs = Array.from({ length: count }, (_, i) =>
    mlp(w.in(`experts.${i}`), x, c, ['w1', 'w3', 'w2']).mul(weights.slice(-1, i, i + 1)),
  )
  return outputs.reduce((sum, y) => sum.add(y))
}

/** One decoder block. x: [batch, time, width] -> the same. */
export const block = (w: Weights, x: Tensor, c: LlamaConfig, layer: LlamaLayer, at: Positions): Tensor => {
  const attended = (x: Tensor): Tensor =>
    w.module('self_attn', x, at, (x, at) => attention(w.in('self_attn'), x, c, layer, at))
  const name = c.experts ? 'block_sparse_moe' : 'mlp'
  const passed = (x: Tensor): Tensor =>
    w.module(name, x, at, (x) => (c.experts ? experts : mlp)(w.in(name), x, c))
  const normed = (name: string, x: Tensor): Tensor => norm(w, name, x, c, at)
  if (!c.gemma) {
    const h = x.add(attended(normed('input_layernorm', x)))
    return h.add(passed(normed('post_attention_layernorm', h)))
  }
  const h = x.add(normed('post_attention_layernorm', attended(normed('input_layernorm', x))))
  return h.add(normed('post_feedforward_layernorm', passed(normed('pre_feedforward_layernorm', h))))
}

/** What enters the first block: [batch, time, width]. */
export const embed = (w: Weights, { ids, embeddings }: ModelInputs, c: LlamaConfig): Tensor => {
  const x = embeddings ?? w.embedding('model.embed_tokens', ids!)
  return c.gemma ? x.mul(Math.sqrt(c.width)) : x
}

/** Logits of what left the final norm. x: [..., width] -> [..., vocabulary]. */
export const head = (w: Weights, x: Tensor, c: LlamaConfig): Tensor => {
  const logits = w.linear('lm_head', x)
  return c.logitCap
    ? logits
        .mul(1 / c.logitCap)
        .tanh()
        .mul(c.logitCap)
    : logits
}

const forward = (w: Weights, inputs: ModelInputs, c: LlamaConfig): ModelOutputs => {
  let x = embed(w, inputs, c)
  const at = inputs.at ?? positionsFrom(x.shape[1], { causal: true, mask: inputs.mask })
  const hidden = [x]
  for (const [i, layer] of c.layers.entries()) {
    const name = `model.layers.${i}`
    x = w.module(name, x, at, (x, at) => block(w.in(name), x, c, layer, at))
    hidden.push(x)
  }
  const last = (hidden[hidden.length - 1] = norm(w, 'model.norm', x, c, at))
  return { logits: head(w, inputs.logitsAt ? rowsAt(last, inputs.logitsAt) : last, c), hidden }
}

export const llama: Architecture<LlamaConfig> = {
  name: 'llama',
  modelTypes: Object.keys(variants),
  readConfig,
  task: () => 'causal',
  positions: (c) => c.positions,
  table: llamaTable,
  forward,
  fused: fusedExperts,
  withBiases: (json) => ({ ...json, attention_bias: true, mlp_bias: true }),
  prefix: 'model',
  cache: (c) =>
    c.layers.map(({ keyHeads, size }, i) => ({
      module: `model.layers.${i}.self_attn`,
      heads: keyHeads,
      size,
    })),
}
