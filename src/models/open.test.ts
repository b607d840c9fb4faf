import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { distance, numbersOf } from '../../test/golden-case.js'
import { inMemory, tensorsOf } from '../../test/in-memory.js'
import {
  type Checkpoint,
  CheckpointWriter,
  convertValue,
  encode,
  type JsonObject,
  open,
  floatCopies,
  listFloatCopies,
} from '../checkpoint/index.js'
import { CheckpointError, UsageError, WeftError } from '../errors.js'
import { compile, type DType, mapTree, type Value, valueOf, zerosValue } from '../tensor/index.js'
import { createModel } from './create.js'
import { decoder, type llama, type Model, openModel } from './index.js'

const opened: Checkpoint[] = []
const folders: string[] = []
const golden = async (name: string): Promise<Checkpoint> => {
  const checkpoint = await open(goldenFolder(name))
  opened.push(checkpoint)
  return checkpoint
}
const newFolder = async (): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'weft-models-'))
  folders.push(folder)
  return join(folder, 'model')
}
afterAll(async () => {
  await Promise.all(opened.map((c) => c.close()))
  await Promise.all(folders.map((folder) => rm(folder, { recursive: true })))
})

const narrowedOf = async (checkpoint: Checkpoint, dtype: DType): Promise<Record<string, Value>> =>
  mapTree<Value, Value, Record<string, Value>>(await tensorsOf(checkpoint), (v) => convertValue(v, dtype))

const onDisk = async (config: JsonObject, tensors: Record<string, Value>): Promise<Checkpoint> => {
  const folder = await newFolder()
  const plans = Object.entries(tensors).map(([name, v]) => ({ name, ...encode(v) }))
  await using writer = await CheckpointWriter.create(folder, plans)
  for (const [name, v] of Object.entries(tensors)) await writer.writeValue(name, v)
  await writer.finish({ 'config.json': config })
  const checkpoint = await open(folder)
  opened.push(checkpoint)
  return checkpoint
}

const ids = valueOf([5, 17, 23, 42, 8, 61], [1, 6], 'int32')
const logitsOf = async (model: Model): Promise<Float64Array> => {
  const program = await compile(
    (given) => model.architecture.forward(model.weights(given.parameters, {}), given, model.config).logits,
    { ids, parameters: model.parameters },
  )
  return numbersOf(await program.run({ ids, parameters: model.parameters }))
}

describe('opening is strict', () => {
  const edited = async (
    name: string,
    edit: (tensors: Record<string, Value>) => void,
    config: JsonObject = {},
  ): Promise<Model> => {
    const checkpoint = await golden(name)
    const tensors = await tensorsOf(checkpoint)
    edit(tensors)
    return openModel(await inMemory({ ...checkpoint.config, ...config }, tensors))
  }

  test('one error names every missing, unexpected and wrongly shaped tensor, and its file', async () => {
    const failed = edited('llama', (t) => {
      delete t['model.layers.1.self_attn.q_proj.weight']
      t['model.layers.1.self_attn.q_prog.weight'] = zerosValue([2, 2])
      t['model.norm.weight'] = zerosValue([3])
    })
    await expect(failed).rejects.toThrow(CheckpointError)
    await expect(failed).rejects.toThrow(
      /layers\.1\.self_attn\.q_proj\.weight[\s\S]*q_prog\.weight in model\.safetensors[\s\S]*model\.norm\.weight in model\.safetensors: \[3\], expected/,
    )
  })

  test('a tied head may be stored or not; stored, it must have its shape', async () => {
    const checkpoint = await golden('qwen2')
    const expected = await logitsOf(await openModel(checkpoint))
    const with_ = await edited('qwen2', (t) => {
      t['lm_head.weight'] = t['model.embed_tokens.weight']
    })
    expect(distance(await logitsOf(with_), expected)).toBeLessThan(1e-6)
    await expect(edited('qwen2', (t) => (t['lm_head.weight'] = zerosValue([1, 1])))).rejects.toThrow(
      /lm_head\.weight/,
    )
    await expect(edited('llama', (t) => delete t['lm_head.weight'])).rejects.toThrow(/lm_head\.weight/)
  })

  test('rotary tables and causal masks that old checkpoints hold do no harm', async () => {
    await edited('llama', (t) => (t['model.layers.0.self_attn.rotary_emb.inv_freq'] = zerosValue([4])))
    await edited('gpt2', (t) => {
      t['transformer.h.0.attn.bias'] = zerosValue([1, 1, 8, 8])
      t['transformer.h.0.attn.masked_bias'] = zerosValue([])
    })
  })

  test("GPT-2's names may lack 'transformer.'", async () => {
    const expected = await logitsOf(await openModel(await golden('gpt2')))
    const bare = await edited('gpt2', (t) => {
      for (const name of Object.keys(t)) {
        t[name.replace('transformer.', '')] = t[name]
        delete t[name]
      }
    })
    expect(distance(await logitsOf(bare), expected)).toBeLessThan(1e-6)
  })

  test.each([
    [{ model_type: 'lama' }, /model_type "lama"[\s\S]*Known: .*llama.*Nearest: llama/],
    [{ hidden_size: 'wide' }, /hidden_size is "wide"; expected a positive integer/],
    [{ hidden_size: null }, /hidden_size/],
    [{ num_hidden_layers: 1e9 }, /num_hidden_layers is 1000000000/],
    [{ num_key_value_heads: 3 }, /num_key_value_heads/],
    [{ head_dim: 7 }, /head_dim/],
    [{ hidden_act: 'sillu' }, /sillu[\s\S]*silu/],
    [{ rope_parameters: { rope_type: 'yarrn', factor: 2 } }, /yarrn[\s\S]*yarn/],
    [{ rope_parameters: { rope_type: 'linear' } }, /rope_parameters\.factor is missing/],
    [{ weft: { intermediate_size: [1, 2] } }, /weft\.intermediate_size/],
  ])('an unusable configuration is refused by its key: %o', async (config, message) => {
    const failed = edited('llama', () => {}, config)
    await expect(failed).rejects.toThrow(WeftError)
    await expect(failed).rejects.toThrow(message)
  })
})

describe('what trains, and what stays in its file', () => {
  test('the logits are the same whichever tensors train, on disk and in memory', async () => {
    const checkpoint = await golden('llama')
    const expected = await logitsOf(await openModel(checkpoint, { trainable: true }))
    const memory = await inMemory(checkpoint.config, await tensorsOf(checkpoint))
    for (const model of [
      await openModel(checkpoint),
      await openModel(checkpoint, { trainable: (name) => name.includes('mlp') }),
      await openModel(memory),
    ])
      expect(distance(await logitsOf(model), expected)).toBeLessThan(1e-6)
  })

  test('parameters are those asked for, once each, in float32', async () => {
    const some = await openModel(await golden('qwen2'), { trainable: (name) => name.endsWith('norm.weight') })
    expect(Object.keys(some.parameters)).toContain('model.layers.0.input_layernorm.weight')
    expect(Object.keys(some.parameters)).not.toContain('model.layers.0.self_attn.q_proj.weight')
    const all = await openModel(await golden('qwen2'), { trainable: true })
    expect(Object.keys(all.parameters)).not.toContain('lm_head.weight')
  })

  test.each(['bfloat16', 'float16'] as const)('%s is widened where it is used', async (dtype) => {
    const checkpoint = await golden('llama')
    const narrow = await narrowedOf(checkpoint, dtype)
    const wide = Object.fromEntries(
      Object.entries(narrow).map(([name, v]) => [name, convertValue(v, 'float32')]),
    )
    const expected = await logitsOf(await openModel(await inMemory(checkpoint.config, wide)))
    for (const stored of [
      await onDisk(checkpoint.config, narrow),
      await inMemory(checkpoint.config, narrow),
    ]) {
      expect(distance(await logitsOf(await openModel(stored)), expected)).toBeLessThan(1e-6)
      const trains = await openModel(stored, { trainable: true })
      expect(distance(await logitsOf(trains), expected)).toBeLessThan(1e-6)
    }
  })

  test.each(['bfloat16', 'float16'] as const)(
    '%s with copies in float32: programs map these, and nothing is widened',
    async (dtype) => {
      const checkpoint = await golden('llama')
      const stored = await onDisk(checkpoint.config, await narrowedOf(checkpoint, dtype))
      const expected = await logitsOf(await openModel(stored))
      const folder = await newFolder()
      const model = await openModel(stored.withCopies(floatCopies(stored, { folder, least: 1 })))
      expect(await listFloatCopies(folder)).toEqual([])
      expect(distance(await logitsOf(model), expected)).toBeLessThan(1e-6)
      expect(await listFloatCopies(folder)).toHaveLength(1)
      const tensor = model.weights({}, {}).tensor('model.norm.weight')
      expect(tensor.node.op).toBe('bound')
      const again = await newFolder()
      await model.save(again)
      await using saved = await open(again)
      expect(saved.info('model.norm.weight').dtype).toBe(stored.info('model.norm.weight').dtype)
    },
  )

  test('other values of the parameters are another model; unlike ones are refused', async () => {
    const model = await openModel(await golden('llama'), {
      trainable: (name) => name === 'model.norm.weight',
    })
    const [name] = Object.keys(model.parameters)
    const zero = model.with({ [name]: zerosValue(model.parameters[name].shape) })
    expect(new Set(await logitsOf(zero))).toEqual(new Set([0]))
    expect(new Set(await logitsOf(model)).size).toBeGreaterThan(1)
    expect(() => model.with({})).toThrow(/model\.norm\.weight/)
    expect(() => model.with({ [name]: zerosValue([1]) })).toThrow(/expected float32/)
  })
})

describe('saving', () => {
  test('an unchanged model is written back: the same tensors, bit for bit, the same configuration', async () => {
    for (const name of ['llama', 'qwen2', 'gpt2']) {
      const checkpoint = await golden(name)
      const folder = await newFolder()
      await (await openModel(checkpoint, { trainable: (n) => n.includes('0') })).save(folder)
      const again = await open(folder)
      opened.push(again)
      expect(again.names()).toEqual(checkpoint.names())
      for (const tensor of again.names())
        expect(await again.readRaw(tensor), tensor).toEqual(await checkpoint.readRaw(tensor))
      expect(again.config).toEqual(checkpoint.config)
      expect(again.generationConfig).toEqual(checkpoint.generationConfig)
      await openModel(again)
    }
  })

  test('what trained is rounded to the dtype it came in; what did not keeps its bytes', async () => {
    const checkpoint = await golden('llama')
    const narrow = await onDisk(checkpoint.config, await narrowedOf(checkpoint, 'bfloat16'))
    const model = await openModel(narrow, { trainable: (name) => name === 'lm_head.weight' })
    const { shape } = model.parameters['lm_head.weight']
    const third = valueOf(new Float32Array(shape[0] * shape[1]).fill(1 / 3), shape)
    const folder = await newFolder()
    await model.with({ 'lm_head.weight': third }).save(folder)
    const again = await open(folder)
    opened.push(again)
    expect(again.info('lm_head.weight').dtype).toBe('BF16')
    expect((await numbersOf(await again.read('lm_head.weight', 'float32')))[0]).toBe(0.333984375)
    expect(await again.readRaw('model.norm.weight')).toEqual(await narrow.readRaw('model.norm.weight'))
  })

  test('weights that are there already are not replaced', async () => {
    const folder = await newFolder()
    const model = await createModel({
      model_type: 'llama',
      vocab_size: 10,
      hidden_size: 8,
      intermediate_size: 8,
      num_attention_heads: 2,
      num_hidden_layers: 1,
    })
    await model.save(folder)
    const before = await readFile(join(folder, 'model.safetensors'))
    await expect(model.save(folder)).rejects.toThrow(UsageError)
    expect(await readFile(join(folder, 'model.safetensors'))).toEqual(before)
  })
})

test.each([
  {
    model_type: 'qwen3',
    hidden_size: 16,
    intermediate_size: 8,
    num_attention_heads: 4,
    num_hidden_layers: 2,
    weft: {
      num_attention_heads: [4, 2],
      num_key_value_heads: [2, 2],
      head_dim: [8, 4],
      intermediate_size: [24, 10],
    },
  },
  {
    model_type: 'gpt2',
    n_embd: 16,
    n_head: 4,
    n_layer: 2,
    n_positions: 32,
    weft: { n_head: [4, 3], n_inner: [24, 10] },
  },
])('every layer may have sizes of its own: $model_type', async (config) => {
  const model = await createModel({ ...config, vocab_size: 70, initializer_range: 0.5 } as never)
  const last = (await logitsOf(model)).slice(-70)
  const cached = decoder(model, { capacity: 8 })
  await cached.prefill([[5, 17, 23]])
  expect(distance(await numbersOf(await cached.extend([[42, 8, 61]])), last)).toBeLessThan(2e-5)
})

test('layers of other numbers of heads keep the size of a head', async () => {
  const small = { hidden_size: 16, intermediate_size: 8, num_hidden_layers: 2, vocab_size: 70 }
  const json = {
    ...small,
    model_type: 'llama',
    num_attention_heads: 4,
    weft: { num_attention_heads: [2, 3] },
  }
  const { layers } = (await createModel(json)).config as llama.LlamaConfig
  expect(layers.map(({ heads, keyHeads, size }) => [heads, keyHeads, size])).toEqual([
    [2, 2, 4],
    [3, 3, 4],
  ])
})

test('biases are where config.json says', async () => {
  const small = {
    hidden_size: 16,
    intermediate_size: 8,
    num_attention_heads: 4,
    num_hidden_layers: 1,
    vocab_size: 70,
  }
  const biased = await createModel({ model_type: 'llama', ...small, attention_bias: true, mlp_bias: true })
  const biases = Object.keys(biased.parameters).filter((name) => name.endsWith('.bias'))
  expect(biases.map((name) => name.split('.').at(-2)).sort()).toEqual([
    'down_proj',
    'gate_proj',
    'k_proj',
    'o_proj',
    'q_proj',
    'up_proj',
    'v_proj',
  ])
})
