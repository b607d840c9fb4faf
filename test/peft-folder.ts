/** @file Adapter folders made by hand with PEFT's keys, and checkpoints whose tensors are changed by hand: what must come out. */
import { inMemory, tensorsOf } from './in-memory.js'
import { type Checkpoint, encode, type JsonObject, writeAdapter } from '../src/checkpoint/index.js'
import { keyOf, normal } from '../src/random/index.js'
import { type Shape, sizeOf, value, type Value } from '../src/tensor/index.js'

/** Random numbers, the same for the same name. */
export const random = (name: string, shape: Shape, scale = 0.2): Value => {
  const out = new Float32Array(sizeOf(shape))
  normal(out, keyOf(name))
  return value(
    out.map((x) => scale * x),
    shape,
    'float32',
  )
}

/** What PEFT 0.21 writes for LoRA of rank 2 and alpha 4 at `q_proj`, with changes. */
export const loraConfig = (changes: JsonObject = {}): JsonObject & { peft_type: string } => ({
  ...{ alora_invocation_tokens: null, alpha_pattern: {}, arrow_config: null, auto_mapping: null },
  ...{ base_model_name_or_path: 'base', bias: 'none', corda_config: null, ensure_weight_tying: false },
  ...{ eva_config: null, exclude_modules: null, fan_in_fan_out: false, inference_mode: true },
  ...{ init_lora_weights: true, kasa_config: null, layer_replication: null, layers_pattern: null },
  ...{ layers_to_transform: null, loftq_config: {}, lora_alpha: 4, lora_bias: false, lora_dropout: 0 },
  ...{ lora_ga_config: null, megatron_config: null, megatron_core: 'megatron.core' },
  ...{ modules_to_save: null, monteclora_config: null, peft_type: 'LORA', peft_version: '0.21.0' },
  ...{ qalora_group_size: 16, r: 2, rank_pattern: {}, revision: null, target_modules: ['q_proj'] },
  ...{ target_parameters: null, task_type: 'CAUSAL_LM', trainable_token_indices: null },
  ...{ use_bdlora: null, use_dora: false, use_qalora: false, use_rslora: false, velora_config: null },
  ...changes,
})

/** Tensors of an adapter by their names behind `base_model.model.`. */
export type Tensors = Readonly<Record<string, Value>>

/** LoRA's two factors at a module: A [rank, in], B [out, rank], numbers of the module's name. */
export const factors = (module: string, [out, inside]: Shape, rank = 2): Tensors => ({
  [`${module}.lora_A.weight`]: random(`${module} A`, [rank, inside]),
  [`${module}.lora_B.weight`]: random(`${module} B`, [out, rank]),
})

/** The same at an embedding of [rows, width]. */
export const embeddingFactors = (module: string, [rows, width]: Shape, rank = 2): Tensors => ({
  [`${module}.lora_embedding_A`]: random(`${module} A`, [rank, rows]),
  [`${module}.lora_embedding_B`]: random(`${module} B`, [width, rank]),
})

/** Writes an adapter folder as PEFT does. */
export const writePeft = (
  folder: string,
  config: JsonObject & { peft_type: string },
  tensors: Tensors,
): Promise<void> =>
  writeAdapter(
    folder,
    config,
    Object.entries(tensors).map(([name, tensor]) => ({
      name: `base_model.model.${name}`,
      ...encode(tensor),
    })),
  )

/** W + scale B A, with A and B of `factors`; of an embedding's factors W + scale (B A)ᵀ. */
export const updated = (W: Value, module: string, tensors: Tensors, scale: number): Value => {
  const embedding = `${module}.lora_embedding_A` in tensors
  const A = tensors[embedding ? `${module}.lora_embedding_A` : `${module}.lora_A.weight`]
  const B = tensors[embedding ? `${module}.lora_embedding_B` : `${module}.lora_B.weight`]
  const [rank, inside] = A.shape
  const width = W.shape[1]
  const out = Float64Array.from(W.data as Float32Array)
  for (let i = 0; i < W.shape[0]; i++)
    for (let j = 0; j < width; j++)
      for (let k = 0; k < rank; k++) {
        const product = embedding
          ? Number(B.data[j * rank + k]) * Number(A.data[k * inside + i])
          : Number(B.data[i * rank + k]) * Number(A.data[k * inside + j])
        out[i * width + j] += scale * product
      }
  return value(Float32Array.from(out), W.shape, 'float32')
}

/** The checkpoint with other tensors and keys of config.json, in memory; null leaves a tensor out. */
export const changedCheckpoint = async (
  base: Checkpoint,
  tensors: Readonly<Record<string, Value | null>>,
  config: JsonObject = {},
): Promise<Checkpoint> => {
  const all = Object.entries({ ...(await tensorsOf(base)), ...tensors })
  const kept = all.filter((entry): entry is [string, Value] => entry[1] !== null)
  return inMemory({ ...base.config, ...config }, Object.fromEntries(kept))
}
