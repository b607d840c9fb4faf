/** @file config.json of the llama family: sizes, ropes and windows of each layer, and what llama-variants.ts says of each member. */
import { isJsonObject, type JsonObject, normaliseConfig } from '../checkpoint/web.js'
import { CheckpointError } from '../errors.js'
import type { Tensor } from '../tensor/index.js'
import { ConfigReader, reading } from './config.js'
import type { LayerStack } from './declarations.js'
import { type Multipliers, type Variant, variants } from './llama-variants.js'
import { layerKinds, readRope, readRopes, type Rope } from './rope.js'

/** Sizes of one block. */
export interface LlamaLayer {
  readonly heads: number
  readonly keyHeads: number
  /** Numbers of a head. */
  readonly size: number
  /** Width of the MLP, or of each expert. */
  readonly hidden: number
  /** Whether it has experts in place of the MLP. */
  readonly sparse: boolean
  /** How many tokens a token sees, itself included; undefined for all. */
  readonly window?: number
  /** Rotary positions; undefined where the layer has none. */
  readonly rope?: Rope
}

/** A mixture of experts: `count` MLPs, of which the router gives each token `perToken`. */
export interface LlamaExperts {
  readonly count: number
  readonly perToken: number
  /** The module in each block, and the three matrices of an expert: gate, up, down. */
  readonly module: string
  readonly parts: readonly [gate: string, up: string, down: string]
  /** Whether the chosen experts' probabilities are made to sum to 1. */
  readonly renormalised: boolean
}

/** What a model of the family is made of. */
export interface LlamaConfig extends Required<Pick<Variant, 'norms' | 'shifted' | 'fused'>> {
  /** Kind of the logits: of the next token, or of the classes of a whole text. */
  readonly task: 'causal' | 'classify'
  readonly vocabulary: number
  readonly width: number
  readonly layers: readonly LlamaLayer[]
  readonly positions: number
  readonly epsilon: number
  readonly activation: (x: Tensor) => Tensor
  /** Probabilities of dropout: of attention's probabilities, of what each part adds to the residual. */
  readonly dropout: Readonly<Record<'attention' | 'residual', number>>
  /** Whether the head is the embedding table. */
  readonly tied: boolean
  /** Which linear modules have biases. */
  readonly biases: Readonly<Record<'qkv' | 'output' | 'mlp', boolean>>
  /** RMS norms of queries and keys: of each head, or of all heads as one. */
  readonly headNorms?: 'each' | 'whole'
  readonly multipliers: Multipliers
  /** Multiplies q kᵀ. Default 1 / sqrt(size). */
  readonly scale?: number
  /** c of c tanh(x / c), for attention scores and for logits. */
  readonly scoreCap?: number
  readonly logitCap?: number
  /** In place of the MLP of the sparse layers. */
  readonly experts?: LlamaExperts
  /** How many classes a classifier tells apart. */
  readonly classes: number
  /** Id of padding: its row of the table of tokens does not learn, and a classifier passes over it behind a text. */
  readonly padding?: number
}

/** What a member of the family may find in config.json though only others read it, as Transformers has it. */
const ofOthers = [
  'attention_bias',
  'mlp_bias',
  'sliding_window',
  'use_sliding_window',
  'max_window_layers',
  'original_max_position_embeddings',
  'classifier_dropout',
]

/** Which layers slide: `layer_types` is read where the variant has it; elsewhere it must not contradict what the variant does. */
const readSliding = (
  config: ConfigReader,
  count: number,
  { slides = () => false, typed }: Variant,
): boolean[] => {
  const { full, sliding } = layerKinds
  const windowed = config.optional('size', 'sliding_window') !== undefined
  const usual = Array.from({ length: count }, (_, i) => slides(i, config) && windowed)
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
  return slide
}

/** How many tokens each layer sees: undefined for all. */
const readWindows = (config: ConfigReader, sliding: readonly boolean[], { windowless }: Variant) => {
  const window = windowless?.(config) ? undefined : config.optional('size', 'sliding_window')
  return sliding.map((slides) => (slides ? window : undefined))
}

/** The rope of each layer. maximum: the model's positions; sizes: of every layer's heads. */
const readLayerRopes = (
  config: ConfigReader,
  { ropes, partial, turns }: Variant,
  { sliding, ...context }: { sliding: readonly boolean[]; maximum: number; sizes: readonly number[] },
): (Rope | undefined)[] => {
  if (ropes) {
    const { full, sliding: local } = readRopes(config, ropes, context)
    return sliding.map((slides) => (slides ? local : full))
  }
  const theta = config.number('rope_theta', 10_000)
  const rope = readRope(config, { ...context, theta, partial })
  return sliding.map((_, i) => ((turns?.(i, config) ?? true) ? rope : undefined))
}

/** Width of the MLP, or of an expert, in each layer; and which layers have experts. */
const readHidden = (
  config: ConfigReader,
  count: number,
  { experts }: Variant,
): { hidden: readonly number[]; sparse: readonly boolean[] } => {
  const sparse = Array.from({ length: count }, (_, i) => !!experts && (experts.sparse?.(i, config) ?? true))
  const both = sparse.some((it) => !it) || experts?.hidden === 'intermediate_size'
  // A model of experts alone may say nothing of an MLP that it has nowhere.
  const dense = both ? config.perLayer('intermediate_size', count) : []
  config.has('intermediate_size')
  const each = experts ? config.perLayer(experts.hidden, count) : []
  return { sparse, hidden: sparse.map((it, i) => (it ? each[i] : dense[i])) }
}

const readLayers = (config: ConfigReader, variant: Variant, maximum: number): LlamaLayer[] => {
  const count = config.count('num_hidden_layers')
  const width = config.size('hidden_size')
  const heads = config.perLayer('num_attention_heads', count)
  const keyHeads = config.perLayer('num_key_value_heads', count, heads)
  const whole = config.optional('size', 'num_attention_heads') ?? heads[0]
  const sizes = config.perLayer('head_dim', count, Math.floor(width / whole))
  const { hidden, sparse } = readHidden(config, count, variant)
  const sliding = readSliding(config, count, variant)
  const windows = readWindows(config, sliding, variant)
  const even = sizes.every((size) => size % 2 === 0)
  config.require(even, 'head_dim', 'an even size, since rotary positions turn pairs')
  const divide = heads.every((n, i) => n % keyHeads[i] === 0)
  config.require(divide, 'num_key_value_heads', 'a divisor of num_attention_heads')
  const ropes = readLayerRopes(config, variant, { sliding, maximum, sizes })
  return heads.map((n, i) => ({
    heads: n,
    keyHeads: keyHeads[i],
    size: sizes[i],
    hidden: hidden[i],
    sparse: sparse[i],
    window: windows[i],
    rope: ropes[i],
  }))
}

const readExperts = (config: ConfigReader, { experts }: Variant): LlamaExperts | undefined => {
  if (!experts) return undefined
  const count = config.count('num_local_experts')
  const perToken = config.count('num_experts_per_tok')
  config.require(perToken <= count, 'num_experts_per_tok', `at most num_local_experts (${count})`)
  const { module, parts, renormalised } = experts
  return { count, perToken, module, parts, renormalised: renormalised(config) }
}

/** Heads of Transformers' that stand on these bodies, by the end of the class's name; any other name is of a causal model. */
const readTask = (config: ConfigReader): LlamaConfig['task'] => {
  const name = config.first('architectures') ?? ''
  const other = /For(TokenClassification|QuestionAnswering)$/.test(name)
  config.require(!other, 'architectures', 'a model for the next token, or for classes of sequences')
  return name.endsWith('ForSequenceClassification') ? 'classify' : 'causal'
}

const readVariant =
  (variant: Variant) =>
  (config: ConfigReader): LlamaConfig => {
    const bias = (part: 'qkv' | 'output' | 'mlp'): boolean => {
      const declared = variant.biases?.[part] ?? false
      return typeof declared === 'string' ? config.boolean(declared, false) : declared
    }
    const cap = (key?: string): number | undefined => (key ? config.optional('number', key) : undefined)
    const positions = config.size('max_position_embeddings', 2048)
    const { residual } = variant.dropout ?? {}
    return {
      task: readTask(config),
      vocabulary: config.size('vocab_size'),
      width: config.size('hidden_size'),
      layers: readLayers(config, variant, positions),
      positions,
      epsilon: config.number('rms_norm_eps', 1e-6),
      activation: config.activation(...(variant.activation ?? (['hidden_act', 'silu'] as const))),
      dropout: {
        attention: config.number('attention_dropout', 0),
        residual: residual === undefined ? 0 : config.number(residual, 0),
      },
      tied: config.boolean('tie_word_embeddings', false),
      biases: { qkv: bias('qkv'), output: bias('output'), mlp: bias('mlp') },
      headNorms: variant.headNorms,
      norms: variant.norms ?? 'before',
      shifted: variant.shifted ?? false,
      fused: variant.fused ?? false,
      multipliers: { embedding: 1, residual: 1, logits: 1, ...variant.multipliers?.(config) },
      scale: variant.scale?.(config),
      scoreCap: cap(variant.caps?.score),
      logitCap: cap(variant.caps?.logit),
      experts: readExperts(config, variant),
      classes: config.classes(),
      padding: config.optional('number', 'pad_token_id'),
    }
  }

/** Throws CheckpointError where two ropes are spelt as one: Transformers would pass over what it says. */
const refuseFlatRopes = ({ rope_parameters: ropes, rope_scaling: scaling }: JsonObject): void => {
  if (!isJsonObject(ropes) || Object.keys(ropes).length === 0) return
  const nested = Object.values(layerKinds).some((key) => key in ropes)
  const scaled = isJsonObject(scaling) && Object.keys(scaling).length > 0
  if (nested && !scaled) return
  throw new CheckpointError(
    'InvalidConfig',
    `config.json: rope_parameters says ${nested ? `something beside rope_scaling` : 'nothing of the types of layers'}; expected settings under ${Object.values(layerKinds).join(' and ')}.`,
  )
}

/** `json` with one spelling of its rope. */
const normalised = (json: JsonObject, { ropes, ropeTypes = {} }: Variant): JsonObject => {
  if (ropes) refuseFlatRopes(json)
  const config = normaliseConfig(json)
  const rope = config.rope_parameters
  if (!isJsonObject(rope) || !Object.hasOwn(ropeTypes, String(rope.rope_type))) return config
  return { ...config, rope_parameters: { ...rope, rope_type: ropeTypes[String(rope.rope_type)] } }
}

/** What the config.json `json` says, by its `model_type`. Throws CheckpointError as `reading` does. */
export const readConfig = (json: Readonly<Record<string, unknown>>): LlamaConfig => {
  const type = String(json.model_type)
  const variant = variants[type]
  const harmless = [...ofOthers, ...(variant.unread?.harmless ?? [])]
  const keys = { ...variant.unread, harmless, defaults: variant.defaults }
  return reading(type, keys, readVariant(variant))(normalised(json as JsonObject, variant))
}

/** Lists of each layer, where config.json may say something a layer that it otherwise leaves to a rule. */
export const layerRules: NonNullable<LayerStack['lists']> = (json) => {
  const variant = (variants as Partial<typeof variants>)[String(json.model_type)]
  if (!variant) return {}
  const config = new ConfigReader({ ...variant.defaults, ...json })
  const count = config.count('num_hidden_layers')
  const kindOf = (slides: boolean): string => (slides ? layerKinds.sliding : layerKinds.full)
  return {
    ...(variant.typed && { layer_types: readSliding(config, count, variant).map(kindOf) }),
    ...(variant.turns && {
      no_rope_layers: Array.from({ length: count }, (_, i) => Number(variant.turns!(i, config))),
    }),
  }
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
