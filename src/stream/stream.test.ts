/** @file Streaming by itself: any method on one input or several, found by its name in other threads, staged and resumed. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { threadId } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { centred, mean, threads } from '../../test/block-methods.js'
import { scratchFolder } from '../../test/tiny.js'
import { type Checkpoint, CheckpointWriter, encode, open, shardsOf } from '../checkpoint/index.js'
import { keyOf, normal } from '../random/index.js'
import { valueOf } from '../tensor/index.js'
import { type BlockMethod, blockMethod, loadMethod } from './method.js'
import { checkInputs, memoryOf, writeShards } from './shards.js'
import { holdsUnfinished, Staging, type Workplace } from './staging.js'
import { streamedBytes } from './stream.js'
import type { TensorJob } from './task.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)
const place: Workplace = { hidden: '.working', work: 'test' }
const names = Array.from({ length: 6 }, (_, i) => `layers.${i}.weight`)
const shape = [300, 40]

const write = async (folder: string): Promise<void> => {
  await using writer = await CheckpointWriter.create(
    folder,
    names.map((name) => ({ name, dtype: 'F32' as const, shape })),
  )
  for (const name of names) {
    const numbers = new Float32Array(shape[0] * shape[1])
    normal(numbers, keyOf(`${folder.slice(scratch.path.length)} ${name}`))
    await writer.write(name, encode(valueOf(numbers, shape)).data)
  }
  await writer.finish({ 'config.json': {} })
}

let a: Checkpoint
let b: Checkpoint
beforeAll(async () => {
  scratch = await scratchFolder()
  await write(at('a'))
  await write(at('b'))
  a = await open(at('a'))
  b = await open(at('b'))
})
afterAll(async () => {
  await a.close()
  await b.close()
  await scratch.remove()
})

/** A job for each tensor of the checkpoints. */
const jobs = (
  checkpoints: readonly Checkpoint[],
  parameters?: unknown,
  of: readonly string[] = names,
): TensorJob[] =>
  of.map((name) => ({
    name,
    shape,
    dtype: 'F32',
    action: 'compute',
    inputs: checkpoints.map((checkpoint) => ({ checkpoint, info: checkpoint.info(name) })),
    parameters,
  }))

let made = 0
/** What `method` writes of the jobs, tensor by tensor, by so many threads. */
const written = async (
  method: BlockMethod,
  tensors: readonly TensorJob[],
  threads: number,
): Promise<Float32Array[]> => {
  const out = at(`out-${made++}`)
  const staging = await Staging.enter(out, place, {})
  await staging.begin('state')
  const shards = shardsOf(tensors, 100_000)
  await writeShards({ method, tensors }, staging, shards, { name: 'test', threads })
  await staging.publish(shards.length, {})
  const all: Float32Array[] = []
  for (const i of shards.keys()) {
    const file = `model-${String(i + 1).padStart(5, '0')}-of-${String(shards.length).padStart(5, '0')}.safetensors`
    await using shard = await open(join(out, file))
    for (const name of shard.names()) all.push((await shard.read(name)).data as Float32Array)
  }
  return all
}

describe('a block method', () => {
  it('gets several inputs, with what it is told of each tensor', async () => {
    const [first] = await written(mean, jobs([a, b], { factor: 3 }), 1)
    const [x, y] = await Promise.all([a, b].map(async (c) => (await c.read(names[0])).data as Float32Array))
    first.forEach((out, i) => expect(out).toBeCloseTo((3 * (x[i] + y[i])) / 2, 5))
  })

  it('gets one input in whole rows, after a first pass over all of it', async () => {
    const [first] = await written(centred.blockMethod, jobs([a]), 1)
    const x = (await a.read(names[0])).data as Float32Array
    const average = (list: Float32Array): number => list.reduce((sum, n) => sum + n, 0) / list.length
    const whole = average(x)
    const own = average(x.subarray(80, 120))
    for (let i = 80; i < 120; i++) expect(first[i]).toBeCloseTo(x[i] - own - whole, 5)
  })

  it('gives the same on one thread as on several, and as bytes without any file', async () => {
    for (const [method, tensors] of [
      [mean, jobs([a, b], { factor: 1 })],
      [centred.blockMethod, jobs([a])],
    ] as const) {
      const one = await written(method, tensors, 1)
      expect(await written(method, tensors, 2)).toEqual(one)
      const pieces: Uint8Array[] = []
      for await (const bytes of streamedBytes(tensors[0], method, '')) pieces.push(bytes.slice())
      expect(Buffer.concat(pieces)).toEqual(Buffer.from(one[0].buffer))
    }
  })

  it('is computed by other threads where it names its module', async () => {
    const all = await written(threads, jobs([a], { caller: threadId }), 2)
    expect(new Set(all.map(([first]) => first))).toEqual(new Set([1, 2]))
  })

  it('is computed by the calling thread alone where it names none', async () => {
    let blocks = 0
    const counted: BlockMethod = {
      ...mean,
      module: undefined,
      block: (...given) => {
        blocks++
        mean.block(...given)
      },
    }
    const tensors = jobs([a, b], { factor: 1 })
    expect(await written(counted, tensors, 3)).toEqual(await written(mean, tensors, 1))
    expect(blocks).toBe(names.length)
  })

  it('that its module does not export is an error that names both', async () => {
    const address = { module: mean.module!, name: 'maen' }
    await expect(loadMethod(address)).rejects.toMatchObject({ code: 'NoSuchMethod' })
    await expect(written({ ...mean, name: 'maen' }, jobs([a], { factor: 1 }), 2)).rejects.toThrow(
      /block-methods.ts exports no block method "maen"/,
    )
  })

  it('whose failure in a thread ends all of them leaves no file', async () => {
    const failing = blockMethod({
      name: 'failing',
      rows: false,
      block: () => {
        throw new Error('no numbers')
      },
    })
    await expect(written(failing, jobs([a]), 1)).rejects.toThrow('no numbers')
    expect((await readdir(at(`out-${made - 1}`))).filter((file) => !file.startsWith('.'))).toEqual([])
  })
})

describe('staging', () => {
  it('goes on from finished shards with the same state only, in the folder that the work names', async () => {
    const out = at('staged')
    const staging = await Staging.enter(out, place, {})
    await staging.begin('first')
    const tensors = jobs([a, b], { factor: 1 })
    const shards = shardsOf(tensors, 100_000)
    const stop = new AbortController()
    const halted = writeShards({ method: mean, tensors }, staging, shards, {
      name: 'test',
      signal: stop.signal,
      onProgress: ({ done = 0, total = 0 }) => void (done > total / 2 && stop.abort()),
    })
    await expect(halted).rejects.toThrow(/abort/)
    expect(await holdsUnfinished(out, place)).toBe(true)
    expect(await holdsUnfinished(out, { ...place, hidden: '.other' })).toBe(false)
    await expect(Staging.enter(out, place, {})).rejects.toThrow(
      /holds a test that was interrupted.*\n.*--resume/,
    )
    const again = await Staging.enter(out, place, { resume: true })
    await expect(again.begin('second')).rejects.toThrow(/interrupted test of something else/)
    await again.begin('first')
    const skipped = await Promise.all(shards.map((_, i) => again.has(i, shards.length)))
    expect(skipped).toContain(true)
    await writeShards({ method: mean, tensors }, again, shards, { name: 'test' })
    await again.publish(shards.length, { 'last.json': '{}' })
    expect(await holdsUnfinished(out, place)).toBe(false)
    expect(await readdir(out)).toContain('last.json')
  })
})

describe('before anything is written', () => {
  it('inputs are read for numbers that are not finite, and the memory is known', async () => {
    await using writer = await CheckpointWriter.create(at('broken'), [
      { name: names[0], dtype: 'F32', shape },
    ])
    const numbers = new Float32Array(shape[0] * shape[1])
    numbers[7] = NaN
    await writer.write(names[0], encode(valueOf(numbers, shape)).data)
    await writer.finish({ 'config.json': {} })
    await using broken = await open(at('broken'))
    const tensors = jobs([broken], { factor: 1 }, names.slice(0, 1))
    await expect(checkInputs({ method: mean, tensors }, { name: 'test' })).rejects.toThrow(
      /layers.0.weight \[300, 40\] holds NaN at element 7/,
    )
    expect(memoryOf({ method: mean, tensors }, { threads: 2 })).toBeGreaterThan(4 * 300 * 40)
  })
})
