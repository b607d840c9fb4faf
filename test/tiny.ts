/** @file A tiny Llama with a tokenizer of its own, made anew for tests: random weights, the same for the same seed. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CheckpointWriter, encode } from '../src/checkpoint/index.js'
import { architectureFor } from '../src/models/index.js'
import type { WeightSpec } from '../src/models/architecture.js'
import { keyOf, normal } from '../src/random/index.js'
import { sizeOf, value } from '../src/tensor/index.js'
import { saveTokenizer, trainBytePairs } from '../src/text/index.js'

/** A folder that is removed at the end of the tests of a file: `afterAll(scratch.remove)`. */
export const scratchFolder = async (): Promise<{ path: string; remove: () => Promise<void> }> => {
  const path = await mkdtemp(join(tmpdir(), 'weft-'))
  return { path, remove: () => rm(path, { recursive: true, force: true }) }
}

const animals = ['cat', 'dog', 'owl', 'fox', 'bee']
const deeds = ['sleeps', 'runs', 'sings', 'hides']

/** Sentences with a rule that a model can learn: which animal does what. */
export const sentences: readonly string[] = animals.flatMap((animal, i) =>
  ['today', 'at night', 'in the rain'].map((when) => `The ${animal} ${deeds[i % deeds.length]} ${when}.`),
)

/** What config.json of a tiny model says; `model_type` and anything else may be replaced. */
export const tinyConfig = (
  vocabulary: number,
  changes: Record<string, unknown> = {},
): Record<string, unknown> => ({
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: vocabulary,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 8,
  hidden_act: 'silu',
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  tie_word_embeddings: false,
  attention_bias: false,
  mlp_bias: false,
  bos_token_id: 0,
  eos_token_id: 1,
  ...changes,
})

/** Writes a checkpoint for `config` into `folder`, each tensor as `fill` fills it. */
export const writeFilled = async (
  folder: string,
  config: Record<string, unknown>,
  fill: (data: Float32Array, spec: WeightSpec) => void,
): Promise<void> => {
  const architecture = architectureFor(config)
  const table = architecture.table(architecture.readConfig(config)).filter((spec) => spec.tied === undefined)
  const plans = table.map(({ name, shape }) => ({ name, shape, dtype: 'F32' as const }))
  await using writer = await CheckpointWriter.create(folder, plans, { overwrite: true })
  for (const spec of table) {
    const data = new Float32Array(sizeOf(spec.shape))
    fill(data, spec)
    await writer.write(spec.name, encode(value(data, spec.shape, 'float32')).data)
  }
  await writer.finish({ 'config.json': config as never })
}

/** Writes a checkpoint with random weights for `config` into `folder`. */
export const writeRandom = async (
  folder: string,
  config: Record<string, unknown>,
  seed: number | string = 0,
): Promise<void> =>
  writeFilled(folder, config, (data, { name, kind }) => {
    normal(data, keyOf(`${seed}/${name}`))
    const [scale, centre] = kind === 'norm' ? [0.1, 1] : [0.15, 0]
    for (let i = 0; i < data.length; i++) data[i] = centre + scale * data[i]
  })

/**
 * Writes a Llama into `folder` that says `ids` one after the other, whichever of them it is given, and the last one
 * for ever: every token's embedding is an axis, and the head of the next one reads it. `ids` differ, at most 32.
 */
export const writeReciter = async (
  folder: string,
  ids: readonly number[],
  vocabulary: number,
  changes: Record<string, unknown> = {},
): Promise<void> => {
  const config = tinyConfig(vocabulary, { num_hidden_layers: 1, ...changes })
  const width = Number(config.hidden_size)
  await writeFilled(folder, config, (data, { name, kind }) => {
    if (kind === 'norm') data.fill(1)
    if (name === 'model.embed_tokens.weight') ids.forEach((id, axis) => (data[id * width + axis] = 1))
    if (name === 'lm_head.weight')
      ids.forEach((_, axis) => (data[ids[Math.min(axis + 1, ids.length - 1)] * width + axis] = 10))
  })
}

/** Writes a tiny Llama with a tokenizer for `sentences` into `folder`. */
export const writeTinyLlama = async (
  folder: string,
  changes: Record<string, unknown> = {},
): Promise<void> => {
  const json = trainBytePairs(sentences, { vocabularySize: 320, specialTokens: ['<s>', '</s>'] })
  await writeRandom(folder, tinyConfig(320, changes))
  await saveTokenizer(folder, json, { bos: '<s>', eos: '</s>', pad: '</s>' })
}

/** A model written to `folder` whose module 'down_proj' has 262,144 weights: more than a call takes arguments. */
export const writeWideLlama = async (folder: string): Promise<void> => {
  const sizes = { hidden_size: 256, intermediate_size: 1024, num_hidden_layers: 1, head_dim: 64 }
  await writeRandom(folder, tinyConfig(8, sizes))
}
