/** @file Merging in threads: the bytes are those of one thread, and so are the errors. */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder } from '../../../test/tiny.js'
import {
  CheckpointWriter,
  encode,
  open,
  type SafetensorsDType,
  type TensorPlan,
} from '../../checkpoint/index.js'
import { convertValue, valueDType } from '../../checkpoint/convert.js'
import { CheckpointError } from '../../errors.js'
import { keyOf, normal } from '../../random/index.js'
import { value } from '../../tensor/index.js'
import { explainMerge, type MergeOptions, mergeRecipe, type Recipe } from '../index.js'
import { sizeOf } from '../../tensor/shape.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)

/** The largest is more than one task, and not a multiple of what a kernel steps by. */
const plans: readonly TensorPlan[] = [
  { name: 'model.embed_tokens.weight', dtype: 'BF16', shape: [8837, 1001] },
  ...Array.from({ length: 6 }, (_, i): TensorPlan => {
    const dtype = (['BF16', 'F16', 'F32'] as const)[i % 3]
    return { name: `model.layers.${i}.mlp.up_proj.weight`, dtype, shape: [301, 1003] }
  }),
  { name: 'model.norm.weight', dtype: 'F32', shape: [1003] },
]

const write = async (name: string, seed: number, broken = false): Promise<void> => {
  const own = plans.map((plan) => ({ ...plan }))
  await using writer = await CheckpointWriter.create(at(name), own)
  for (const { name: tensor, dtype, shape } of own) {
    const numbers = new Float32Array(sizeOf(shape))
    normal(numbers, keyOf(`${tensor} ${seed}`))
    if (broken && tensor.includes('embed')) numbers[8_500_000] = Infinity
    await writer.write(tensor, stored(numbers, dtype))
  }
  await writer.finish({ 'config.json': { model_type: 'none', num_hidden_layers: 6 } })
}

const stored = (numbers: Float32Array, dtype: SafetensorsDType): Uint8Array =>
  encode(convertValue(value(numbers, [numbers.length], 'float32'), valueDType[dtype])).data

beforeAll(async () => {
  scratch = await scratchFolder()
  await Promise.all(['base', 'a', 'b'].map((name, i) => write(name, i)))
})
afterAll(() => scratch.remove())

const recipe = (method: string, last = 'b'): Recipe => ({
  merge_method: method,
  ...(method === 'linear' ? {} : { base_model: at('base') }),
  models: ['a', last].map((name, i) => ({
    model: at(name),
    parameters: { weight: 0.4 + 0.3 * i, density: 0.4 },
  })),
})

const hashes = async (out: string): Promise<Record<string, string>> => {
  const files = (await readdir(out)).filter((file) => file.endsWith('.safetensors')).sort()
  const hash = async (file: string): Promise<string> =>
    createHash('sha256')
      .update(await readFile(join(out, file)))
      .digest('hex')
  return Object.fromEntries(
    await Promise.all(files.map(async (file) => [file, await hash(file)] as const)),
  ) as Record<string, string>
}

const merged = async (given: Recipe, out: string, options: MergeOptions): Promise<Record<string, string>> => {
  await mergeRecipe(given, at(out), { maxShardBytes: 4_000_000, overwrite: true, ...options })
  return hashes(at(out))
}

describe('threads', () => {
  it.each(['linear', 'ties', 'dare_ties', 'task_arithmetic'])(
    '%s: as many give the bytes of one',
    async (method) => {
      const one = await merged(recipe(method), 'one', { threads: 1 })
      expect(Object.keys(one).length).toBeGreaterThan(2)
      for (const threads of method === 'linear' ? [2, 3] : [3])
        expect(await merged(recipe(method), 'more', { threads })).toEqual(one)
    },
  )

  it('merges that run side by side do not disturb each other', async () => {
    const methods = ['linear', 'task_arithmetic']
    const wanted = []
    for (const method of methods) wanted.push(await merged(recipe(method), `alone ${method}`, { threads: 1 }))
    const found = methods.map((method) => merged(recipe(method), `both ${method}`, { threads: 1 }))
    expect(await Promise.all(found)).toEqual(wanted)
  })

  it('what one refuses is refused with the same error, and nothing is left', async () => {
    await write('broken', 7, true)
    for (const threads of [1, 3]) {
      const failed = mergeRecipe(recipe('linear', 'broken'), at(`failed ${threads}`), { threads })
      const error: unknown = await failed.then(undefined, (reason: unknown) => reason)
      expect(error).toBeInstanceOf(CheckpointError)
      expect((error as CheckpointError).code).toBe('NotFinite')
      expect((error as CheckpointError).message).toMatch(
        /broken\/model.safetensors: model.embed_tokens.weight \[8837, 1001\] holds Infinity at element 8500000/,
      )
      expect(await readdir(at(`failed ${threads}`))).toEqual([])
      await expect(explainMerge(recipe('linear', 'broken'), { threads })).rejects.toMatchObject({
        code: 'NotFinite',
      })
    }
  })

  it('what is only copied keeps its bits, and is refused where it is broken', async () => {
    const copy = (name: string): Recipe => ({ merge_method: 'passthrough', models: [{ model: at(name) }] })
    await mergeRecipe(copy('a'), at('copied'), { threads: 1 })
    await using from = await open(at('a'))
    await using to = await open(at('copied'))
    for (const name of from.names())
      expect(Buffer.compare(await to.readRaw(name), await from.readRaw(name)), name).toBe(0)
    await expect(mergeRecipe(copy('broken'), at('spread'), { threads: 1 })).rejects.toMatchObject({
      code: 'NotFinite',
    })
  })

  it('stop when the signal says so', async () => {
    const stop = new AbortController()
    const options = { threads: 3, signal: stop.signal, onProgress: () => stop.abort(new Error('enough')) }
    await expect(mergeRecipe(recipe('ties'), at('stopped'), options)).rejects.toThrow('enough')
    expect(await readdir(at('stopped'))).toEqual([])
  })

  it('progress ends with all bytes and tensors', async () => {
    let last: unknown
    await mergeRecipe(recipe('linear'), at('counted'), { threads: 2, onProgress: (event) => (last = event) })
    expect(last).toMatchObject({ done: total, total, metrics: { tensors: 8 } })
  })
})

const total = plans.reduce(
  (sum, { dtype, shape }) => sum + shape.reduce((n, size) => n * size, dtype === 'F32' ? 4 : 2),
  0,
)
