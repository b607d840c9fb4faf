/** @file The members of the llama family: what each does otherwise than Llama, as a line of a table. */
import type { ConfigReader } from './config.js'
import type { UnreadKeys } from './config-keys.js'
import type { KindBases } from './rope.js'

/** Factors of the residual stream: of what enters it, of what each part adds, of the logits. */
export type Multipliers = Readonly<Record<'embedding' | 'residual' | 'logits', number>>

/** A mixture of experts, as a member has it. */
export interface ExpertsVariant {
  /** The module in each block, and the three matrices of an expert: gate, up, down. */
  readonly module: string
  readonly parts: readonly [gate: string, up: string, down: string]
  /** The key of an expert's hidden channels. */
  readonly hidden: string
  /** Whether the chosen experts' probabilities are made to sum to 1. */
  renormalised(config: ConfigReader): boolean
  /** Whether the layer has experts, in place of an MLP. Default: every layer. */
  sparse?(layer: number, config: ConfigReader): boolean
}

/** What a member of the family does otherwise than Llama. A string is the key of config.json that says it. */
export interface Variant {
  readonly biases?: Readonly<Partial<Record<'qkv' | 'output' | 'mlp', boolean | string>>>
  /** RMS norms of queries and keys: of each head, or of all heads as one. Default none. */
  readonly headNorms?: 'each' | 'whole'
  /** Where the norms of a block stand: before its parts (the default), after them, or both. */
  readonly norms?: 'before' | 'after' | 'both'
  /** Whether norms multiply by 1 + w. */
  readonly shifted?: boolean
  /** Whether queries, keys and values are one matrix, and gate and up another. */
  readonly fused?: boolean
  readonly experts?: ExpertsVariant
  /** Factors other than 1. */
  readonly multipliers?: (config: ConfigReader) => Partial<Multipliers>
  /** What multiplies q kᵀ. Default 1 / sqrt(size). */
  readonly scale?: (config: ConfigReader) => number
  /** Keys of c of c tanh(x / c), for attention scores and for logits. */
  readonly caps?: Readonly<Partial<Record<'score' | 'logit', string>>>
  /** Which layers slide where `layer_types` does not say. Default: none, whatever `sliding_window` says. */
  readonly slides?: (layer: number, config: ConfigReader) => boolean
  /** Whether no layer slides, whatever `layer_types` says. */
  readonly windowless?: (config: ConfigReader) => boolean
  /** Whether `layer_types` says which layers slide. */
  readonly typed?: boolean
  /** Whether layers that slide have a rope of their own, and the bases of both. */
  readonly ropes?: KindBases
  /** The key of the part of a head that turns, and its default. Default: all of it does. */
  readonly partial?: readonly [key: string, fallback: number]
  /** Older names of types of rope, and today's. */
  readonly ropeTypes?: Readonly<Record<string, string>>
  /** Whether a layer has rotary positions. Default: every layer. */
  readonly turns?: (layer: number, config: ConfigReader) => boolean
  /** The key that names the activation, and the activation where it is absent or null. Default hidden_act, silu. */
  readonly activation?: readonly [key: string, fallback: string]
  /** Keys of the probabilities of dropout. Default: attention's alone. */
  readonly dropout?: Readonly<Partial<Record<'residual', string>>>
  /** What config.json means by leaving a key out. */
  readonly defaults?: Readonly<Record<string, unknown>>
  /** What Transformers calls its classifier's family, where it is not the causal model's; false where it has none. */
  readonly classifierFamily?: string | false
  readonly unread?: UnreadKeys
}

const always = (): boolean => true

/** Whether Qwen's `use_sliding_window` is off: it switches every window off. */
const unused = (config: ConfigReader): boolean => !config.boolean('use_sliding_window', false)

/** Qwen's layers from `max_window_layers` on. */
const late = (layer: number, config: ConfigReader): boolean =>
  !unused(config) && layer >= config.number('max_window_layers', 28)

/** The layers whose numbers, from 1, `every` divides. */
const each = (every: number, layer: number): boolean => (layer + 1) % every === 0

const ofAttention = { qkv: 'attention_bias', output: 'attention_bias' } as const

/** Gemma's: embeddings times the root of their width, norms of 1 + w around each part. */
const gemma = {
  biases: ofAttention,
  norms: 'both',
  shifted: true,
  typed: true,
  activation: ['hidden_activation', 'gelu_pytorch_tanh'],
  multipliers: (config) => ({ embedding: Math.sqrt(config.size('hidden_size')) }),
  scale: (config) => config.number('query_pre_attn_scalar') ** -0.5,
} satisfies Variant

const gemmaDefaults = {
  pad_token_id: 0,
  sliding_window: 4096,
  head_dim: 256,
  query_pre_attn_scalar: 256,
  tie_word_embeddings: true,
}

const smolRopes = (layer: number, config: ConfigReader): boolean => {
  const listed = config.list<number>('no_rope_layers', 'number', config.count('num_hidden_layers'))
  const every = config.count('no_rope_layer_interval', 4)
  return listed ? listed[layer] !== 0 : !each(every, layer)
}

const isSparse = (layer: number, config: ConfigReader): boolean =>
  each(config.count('decoder_sparse_step', 1), layer) && !config.layers('mlp_only_layers').includes(layer)

/** The members by `model_type`. */
export const variants: Readonly<Record<string, Variant>> = {
  llama: { biases: { ...ofAttention, mlp: 'mlp_bias' } },
  qwen2: {
    biases: { qkv: true },
    slides: late,
    windowless: unused,
    typed: true,
    defaults: { sliding_window: 4096, max_position_embeddings: 32_768 },
  },
  qwen3: {
    biases: ofAttention,
    headNorms: 'each',
    slides: late,
    windowless: unused,
    typed: true,
    defaults: { sliding_window: 4096, max_position_embeddings: 32_768, head_dim: 128 },
  },
  mistral: { slides: always, defaults: { sliding_window: 4096, max_position_embeddings: 131_072 } },
  gemma2: {
    ...gemma,
    caps: { score: 'attn_logit_softcapping', logit: 'final_logit_softcapping' },
    slides: (layer) => layer % 2 === 0,
    unread: {
      // Transformers reads hidden_activation alone.
      harmless: ['hidden_act', 'sliding_window_size'],
      fixed: { use_bidirectional_attention: [false] },
    },
    defaults: {
      ...gemmaDefaults,
      max_position_embeddings: 8192,
      attn_logit_softcapping: 50,
      final_logit_softcapping: 30,
    },
  },
  gemma3_text: {
    ...gemma,
    headNorms: 'each',
    classifierFamily: 'Gemma3Text',
    caps: { logit: 'final_logit_softcapping' },
    slides: (layer, config) => !each(config.count('sliding_window_pattern', 6), layer),
    ropes: { full: ['rope_theta', 1e6], sliding: ['rope_local_base_freq', 1e4] },
    unread: {
      // Transformers gives attention no cap, whatever the file says.
      harmless: ['hidden_act', 'attn_logit_softcapping'],
      fixed: { use_bidirectional_attention: [false] },
    },
    defaults: { ...gemmaDefaults, max_position_embeddings: 131_072 },
  },
  mixtral: {
    experts: {
      module: 'block_sparse_moe',
      parts: ['w1', 'w3', 'w2'],
      hidden: 'intermediate_size',
      renormalised: () => true,
    },
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
  qwen3_moe: {
    biases: ofAttention,
    headNorms: 'each',
    experts: {
      module: 'mlp',
      parts: ['gate_proj', 'up_proj', 'down_proj'],
      hidden: 'moe_intermediate_size',
      renormalised: (config) => config.boolean('norm_topk_prob', false),
      sparse: isSparse,
    },
    slides: (_, config) => !unused(config),
    unread: { aliases: { num_experts: 'num_local_experts' } },
    defaults: {
      sliding_window: 4096,
      max_position_embeddings: 32_768,
      num_local_experts: 128,
      num_experts_per_tok: 8,
      moe_intermediate_size: 768,
    },
  },
  phi3: {
    fused: true,
    slides: always,
    partial: ['partial_rotary_factor', 1],
    ropeTypes: { su: 'longrope', yarn: 'longrope' },
    dropout: { residual: 'resid_pdrop' },
    // Transformers has a dropout of embeddings in the configuration alone; the rest only the models' own code reads.
    unread: {
      harmless: ['embd_pdrop', 'full_attn_mod', 'interpolate_factor'],
      fixed: { lm_head_bias: [false] },
    },
    defaults: {
      pad_token_id: 32_000,
      rms_norm_eps: 1e-5,
      max_position_embeddings: 4096,
      original_max_position_embeddings: 4096,
    },
  },
  smollm3: {
    biases: { ...ofAttention, mlp: 'mlp_bias' },
    typed: true,
    turns: smolRopes,
    slides: (layer, config) => !unused(config) && !smolRopes(layer, config),
    defaults: {
      pad_token_id: 128_004,
      rope_theta: 2e6,
      max_position_embeddings: 32_768,
      tie_word_embeddings: true,
    },
  },
  olmo2: {
    biases: ofAttention,
    headNorms: 'whole',
    norms: 'after',
    defaults: { pad_token_id: 1, rms_norm_eps: 1e-5 },
  },
  granite: {
    classifierFamily: false,
    biases: { ...ofAttention, mlp: 'mlp_bias' },
    scale: (config) => config.number('attention_multiplier', 1),
    multipliers: (config) => ({
      embedding: config.number('embedding_multiplier', 1),
      residual: config.number('residual_multiplier', 1),
      logits: 1 / config.number('logits_scaling', 1),
    }),
  },
}
