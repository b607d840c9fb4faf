/**
 * @file The plain Llama as GGUF: llama.cpp's names, and its rotary pairs, which lie side by side where Hugging Face's are
 * the halves of a head.
 */
import { type GgufTensor, type GgufValue, writeGguf } from '../checkpoint/formats/gguf.js'
import { UsageError } from '../errors.js'
import type { LlamaConfig, LlamaLayer } from './llama-config.js'
import type { Model } from './model.js'
import { baseTensor } from './stored.js'

const blockNames: Readonly<Record<string, string>> = {
  input_layernorm: 'attn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  post_attention_layernorm: 'ffn_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
}

const outerNames: Readonly<Record<string, string>> = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  lm_head: 'output',
}

const blockOf = (module: string): readonly [number: string, part: string] | undefined => {
  const match = /^model\.layers\.(\d+)\.(.+)$/.exec(module)
  return match ? [match[1], match[2]] : undefined
}

/** A byte-level BPE, as GPT-2's. */
export interface GgufVocabulary {
  /** Tokens by id, in the alphabet of byte-level BPE: [vocabulary]. */
  readonly tokens: readonly string[]
  /** Merges, likeliest first: two parts with a space between. */
  readonly merges: readonly string[]
}

const vocabularySettings = (v: GgufVocabulary | undefined): Record<string, GgufValue> =>
  v
    ? {
        'tokenizer.ggml.model': { string: 'gpt2' },
        'tokenizer.ggml.pre': { string: 'gpt-2' },
        'tokenizer.ggml.tokens': { strings: v.tokens },
        'tokenizer.ggml.merges': { strings: v.merges },
      }
    : { 'tokenizer.ggml.model': { string: 'no_vocab' } }

/** llama.cpp's name of a parameter; undefined for one that it has no place for. */
const ggufName = (parameter: string): string | undefined => {
  const module = parameter.slice(0, parameter.lastIndexOf('.'))
  const kind = parameter.slice(module.length)
  const [number, part] = blockOf(module) ?? []
  if (part === undefined) return outerNames[module] && `${outerNames[module]}${kind}`
  return blockNames[part] && `blk.${number}.${blockNames[part]}${kind}`
}

/** Rows [heads * size, ...] whose rotary pairs were halves of each head, put side by side. */
const paired = (data: Float32Array, heads: number, size: number): Float32Array => {
  const width = data.length / (heads * size)
  const out = new Float32Array(data.length)
  for (let row = 0; row < heads * size; row++) {
    const within = row % size
    const place = row - within + 2 * (within % (size / 2)) + Math.floor((2 * within) / size)
    out.set(data.subarray(row * width, (row + 1) * width), place * width)
  }
  return out
}

const layerOf = ({ layers }: LlamaConfig, parameter: string): LlamaLayer | undefined => {
  const [number] = blockOf(parameter) ?? []
  return number === undefined ? undefined : layers[Number(number)]
}

const numbersOf = async (model: Model, c: LlamaConfig, parameter: string): Promise<Float32Array> => {
  const { data } = await baseTensor(model, parameter)
  const layer = layerOf(c, parameter)
  const part = /\.([qk])_proj\./.exec(parameter)?.[1]
  if (!layer || !part) return data as Float32Array
  return paired(data as Float32Array, part === 'q' ? layer.heads : layer.keyHeads, layer.size)
}

/** Why a model is not what llama.cpp calls a Llama; undefined where it is. */
const foreign = (model: Model): string | undefined => {
  const { model_type: type } = model.checkpoint.config
  if (type !== 'llama') return `model_type is ${JSON.stringify(type)}`
  const c = model.config as LlamaConfig
  const [first] = c.layers
  if (c.task !== 'causal') return 'it has no head over a vocabulary'
  if (c.layers.some(({ rope }) => rope?.type !== 'default')) return 'its rotary positions are scaled'
  const alike = (l: LlamaLayer): boolean =>
    l.heads === first.heads &&
    l.keyHeads === first.keyHeads &&
    l.size === first.size &&
    l.hidden === first.hidden
  return c.layers.every(alike) ? undefined : 'its layers differ in size'
}

const settingsOf = ({
  width,
  positions,
  vocabulary,
  epsilon,
  layers,
}: LlamaConfig): Record<string, GgufValue> => {
  const [{ heads, keyHeads, size, hidden, rope }] = layers
  const sizes = {
    vocab_size: vocabulary,
    context_length: positions,
    embedding_length: width,
    block_count: layers.length,
    feed_forward_length: hidden,
    'attention.head_count': heads,
    'attention.head_count_kv': keyHeads,
    'attention.key_length': size,
    'attention.value_length': size,
    'rope.dimension_count': size,
  }
  return {
    'general.architecture': { string: 'llama' },
    'general.file_type': { uint32: 0 },
    ...Object.fromEntries(Object.entries(sizes).map(([key, n]) => [`llama.${key}`, { uint32: n }])),
    'llama.attention.layer_norm_rms_epsilon': { float32: epsilon },
    'llama.rope.freq_base': { float32: rope!.theta },
  }
}

/**
 * Writes a Llama (`model_type` llama, rotary positions unscaled, layers of one size) to `path` as a GGUF of float32.
 * Without a `vocabulary` llama.cpp takes and gives ids alone. Throws UsageError (NoGguf) for any other model, and where
 * the vocabulary has not a token for each row of the embedding.
 */
export const saveGguf = async (model: Model, path: string, vocabulary?: GgufVocabulary): Promise<void> => {
  const { folder } = model.checkpoint
  const refuse = (reason: string): never => {
    const hint = 'Weft writes GGUF of plain Llamas alone.'
    throw new UsageError('NoGguf', `${folder}: no GGUF of this model: ${reason}.`, { hint })
  }
  const reason = foreign(model)
  if (reason !== undefined) refuse(reason)
  const c = model.config as LlamaConfig
  if (vocabulary && vocabulary.tokens.length !== c.vocabulary)
    refuse(`its vocabulary has ${c.vocabulary} tokens; ${vocabulary.tokens.length} were given`)
  const specs = model.architecture.table(c).filter(({ tied }) => tied === undefined)
  const tensors = specs.map(({ name: parameter, shape }): GgufTensor => {
    const name = ggufName(parameter) ?? refuse(`GGUF has no name for '${parameter}'`)
    return { name, shape, read: () => numbersOf(model, c, parameter) }
  })
  await writeGguf(path, { ...settingsOf(c), ...vocabularySettings(vocabulary) }, tensors)
}
