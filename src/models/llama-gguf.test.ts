import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readGguf } from '../../test/gguf.js'
import { createModel } from './create.js'
import { saveGguf } from './llama-gguf.js'

const config = {
  model_type: 'llama',
  num_hidden_layers: 2,
  hidden_size: 16,
  intermediate_size: 24,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 40,
  max_position_embeddings: 64,
  rope_theta: 5000,
}

let folder: string
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'weft-gguf-'))))
afterAll(() => rm(folder, { recursive: true }))

test('a Llama as GGUF has every parameter under llama.cpp’s name, its sizes as settings, and its pairs side by side', async () => {
  const model = await createModel(config)
  const path = join(folder, 'model.gguf')
  await saveGguf(model, path)
  const { settings, tensors } = readGguf(await readFile(path))
  expect(settings).toMatchObject({
    'general.architecture': 'llama',
    'llama.block_count': 2,
    'llama.embedding_length': 16,
    'llama.feed_forward_length': 24,
    'llama.attention.head_count': 4,
    'llama.attention.head_count_kv': 2,
    'llama.rope.dimension_count': 4,
    'llama.rope.freq_base': 5000,
    'llama.vocab_size': 40,
    'tokenizer.ggml.model': 'no_vocab',
  })
  expect(tensors.size).toBe(Object.keys(model.parameters).length)
  const same = [
    ['token_embd.weight', 'model.embed_tokens.weight'],
    ['output_norm.weight', 'model.norm.weight'],
    ['blk.1.ffn_down.weight', 'model.layers.1.mlp.down_proj.weight'],
    ['blk.0.attn_v.weight', 'model.layers.0.self_attn.v_proj.weight'],
  ] as const
  for (const [theirs, ours] of same)
    expect([...tensors.get(theirs)!.data]).toEqual([...model.parameters[ours].data])
  // Rows 0 to 3 of a head are the pairs (0, 2) and (1, 3).
  for (const [part, heads] of [
    ['q', 4],
    ['k', 2],
  ] as const) {
    const ours = model.parameters[`model.layers.1.self_attn.${part}_proj.weight`].data
    const theirs = tensors.get(`blk.1.attn_${part}.weight`)!.data
    const order = Array.from({ length: heads }, (_, h) => [0, 2, 1, 3].map((row) => 4 * h + row)).flat()
    expect([...theirs]).toEqual(order.flatMap((row) => [...ours.slice(16 * row, 16 * row + 16)]))
  }
})

test('what llama.cpp would compute otherwise is refused, and says why', async () => {
  const path = join(folder, 'other.gguf')
  const scaled = { rope_type: 'linear', factor: 2, rope_theta: 10_000 }
  for (const [changed, reason] of [
    [{ model_type: 'qwen2' }, /model_type is "qwen2"/],
    [{ rope_parameters: scaled }, /rotary positions are scaled/],
  ] as const)
    await expect(saveGguf(await createModel({ ...config, ...changed }), path)).rejects.toThrow(reason)
  const tokens = ['one']
  await expect(saveGguf(await createModel(config), path, { tokens, merges: [] })).rejects.toThrow(
    /40 tokens; 1 were given/,
  )
})
