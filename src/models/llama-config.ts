/** @file config.json of the llama family: what its members have in common, and what each does otherwise as a line of `variants`. */
import { type JsonObject, normaliseConfig } from '../checkpoint/web.js'
import type { Tensor } from '../tensor/index.js'
import { ConfigReader, reading } from './config.js'
import type { UnreadKeys } from './config-keys.js'
import type { LayerStack } from './declarations.js'
import { readRope, type Rope } from './rope.js'

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

export const variants: Readonly<Record<string, Variant>> = {
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

export const readConfig = (json: Readonly<Record<string, unknown>>): LlamaConfig => {
  const type = String(json.model_type)
  const variant = variants[type]
  const harmless = [...ofOthers, ...(variant.unread?.harmless ?? [])]
  const keys = { ...variant.unread, harmless, defaults: variant.defaults }
  return reading(type, keys, readVariant(variant))(normaliseConfig(json as JsonObject))
}

/** Which layers slide, where config.json may say so a layer. */
export const layerTypes = (json: JsonObject): Readonly<Record<string, readonly string[]>> => {
  const variant = (variants as Partial<typeof variants>)[String(json.model_type)]
  if (!variant?.typed) return {}
  const config = new ConfigReader({ ...variant.defaults, ...json })
  const windows = readWindows(config, config.count('num_hidden_layers'), variant)
  return { layer_types: windows.map((window) => (window === undefined ? full : sliding)) }
}

/** The sizes of a layer, and what leaving one out means. */
export const layerSizes: LayerStack['sizes'] = {
  num_attention_heads: ({ num_attention_heads: heads }) => Number(heads),
  num_key_value_heads: ({ weft, num_attention_heads: heads }, layer) =>
    (weft as { num_attention_heads?: number[] } | undefined)?.num_attention_heads?.[layer] ?? Number(heads),
  head_dim: ({ model_type: type, hidden_size: width, num_attention_heads: heads }) =>
    Number(variants[String(type)].defaults?.head_dim ?? Math.floor(Number(width) / Number(heads))),
  intermediate_size: ({ intermediate_size: size }) => Number(size),
}
