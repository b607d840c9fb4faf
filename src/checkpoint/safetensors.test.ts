import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { CheckpointError } from '../errors.js'
import { openBytes, readHeader } from './folder.js'
import { layOut, safetensorsDTypes, tensorBytes, type TensorPlan } from './safetensors.js'

/** A file with this JSON as its header (padded by `pad` spaces) and this much data. */
const fileOf = (header: unknown, dataBytes: number, pad = 0): Uint8Array => {
  const json = new TextEncoder().encode(
    (typeof header === 'string' ? header : JSON.stringify(header)) + ' '.repeat(pad),
  )
  const bytes = new Uint8Array(8 + json.length + dataBytes)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true)
  bytes.set(json, 8)
  return bytes
}

const assemble = (tensors: (TensorPlan & { data: Uint8Array })[], metadata = {}): Uint8Array => {
  const { header, tensors: infos, size } = layOut(tensors, metadata, 'f')
  const bytes = new Uint8Array(size)
  bytes.set(header)
  for (const { name, offset } of infos) bytes.set(tensors.find((t) => t.name === name)!.data, offset)
  return bytes
}

const anyTensors = fc
  .uniqueArray(
    fc.record({
      name: fc.string({ unit: 'binary' }).filter((name) => name !== '__metadata__'),
      dtype: fc.constantFrom(...safetensorsDTypes),
      shape: fc.array(fc.nat({ max: 4 }), { maxLength: 4 }),
      fill: fc.nat({ max: 255 }),
    }),
    { selector: ({ name }) => name, maxLength: 12 },
  )
  .map((all) =>
    all.map(({ fill, ...plan }) => ({
      ...plan,
      data: new Uint8Array(tensorBytes(plan.dtype, plan.shape)).fill(fill),
    })),
  )

describe('layOut and parseHeader', () => {
  it('round-trip every dtype, shape, name and metadata', async () => {
    const metadata = fc.dictionary(fc.string(), fc.string())
    await fc.assert(
      fc.asyncProperty(anyTensors, metadata, async (tensors, extra) => {
        const checkpoint = await openBytes(assemble(tensors, extra))
        expect(checkpoint.metadata).toEqual({ ...extra })
        expect(checkpoint.names()).toEqual(tensors.map(({ name }) => name).sort())
        for (const { name, dtype, shape, data } of tensors) {
          expect(checkpoint.info(name)).toMatchObject({ name, dtype, shape, length: data.length })
          expect(await checkpoint.readRaw(name)).toEqual(data)
        }
      }),
    )
  })

  it('begin the data at a multiple of 8, every tensor aligned to its element', () => {
    fc.assert(
      fc.property(anyTensors, (tensors) => {
        for (const { dtype, offset } of layOut(tensors, {}, 'f').tensors)
          expect(offset % tensorBytes(dtype, [])).toBe(0)
      }),
    )
  })

  it('write the same bytes as the reference library: every golden file', async () => {
    const files = ['llama', 'gpt2', 'peft/lora'].flatMap((folder) =>
      readdirSync(goldenFolder(folder))
        .filter((file) => file.endsWith('.safetensors'))
        .map((file) => join(folder, file)),
    )
    expect(files.length).toBeGreaterThan(6)
    for (const file of files) {
      const bytes = new Uint8Array(readFileSync(goldenFolder(file)))
      const checkpoint = await openBytes(bytes)
      const tensors = await Promise.all(
        checkpoint
          .names()
          .map(async (name) => ({ ...checkpoint.info(name), data: await checkpoint.readRaw(name) })),
      )
      expect(Buffer.compare(assemble(tensors, checkpoint.metadata), bytes), file).toBe(0)
    }
  })

  it('refuse a plan with a duplicate name or no proper shape', () => {
    const plan = { name: 'a', dtype: 'F32', shape: [2] } as const
    expect(() => layOut([plan, plan], {}, 'f')).toThrow(/f: tensor "a" appears twice/)
    for (const shape of [[-1], [1.5], [2 ** 30, 2 ** 30]])
      expect(() => layOut([{ ...plan, shape }], {}, 'f')).toThrow(/"a"/)
  })
})

const f32 = (shape: number[], begin: number, end: number, more = {}): unknown => ({
  dtype: 'F32',
  shape,
  data_offsets: [begin, end],
  ...more,
})
const prefix = (length: bigint, rest = 0): Uint8Array => {
  const bytes = new Uint8Array(8 + rest)
  new DataView(bytes.buffer).setBigUint64(0, length, true)
  return bytes
}

const broken: Record<string, [bytes: Uint8Array, code: string, words: RegExp]> = {
  'an empty file': [new Uint8Array(0), 'TruncatedFile', /0 bytes/],
  'a file of 7 bytes': [new Uint8Array(7), 'TruncatedFile', /7 bytes/],
  'a header length beyond the file': [prefix(100n, 50), 'TruncatedFile', /header of 100 bytes, but only 50/],
  'a header length beyond the limit': [prefix(2n ** 63n, 50), 'HeaderTooLong', /limit/],
  'a header of no bytes': [prefix(0n), 'InvalidHeader', /begin/],
  'a header that does not begin with {': [fileOf(' {}', 0), 'InvalidHeader', /begin/],
  'a header that is no JSON': [fileOf('{"a"', 0), 'InvalidJson', /JSON/],
  'a header that is no UTF-8': [new Uint8Array([...prefix(3n), 0x7b, 0xff, 0x7d]), 'InvalidText', /UTF-8/],
  'text after the header object': [fileOf('{} x', 0), 'InvalidJson', /after the end/],
  'a duplicate name': [
    fileOf(
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
      1,
    ),
    'InvalidJson',
    /duplicate key "a"/,
  ],
  'a tensor that is no object': [fileOf({ a: 3 }, 0), 'InvalidHeader', /"a"/],
  'a tensor without dtype': [fileOf({ a: { shape: [], data_offsets: [0, 4] } }, 4), 'UnknownDType', /"a"/],
  'an unknown dtype': [fileOf({ a: f32([1], 0, 4, { dtype: 'F31' }) }, 4), 'UnknownDType', /"a".*F31.*BF16/],
  'a dtype from the prototype': [
    fileOf({ a: f32([1], 0, 4, { dtype: 'toString' }) }, 4),
    'UnknownDType',
    /"a"/,
  ],
  'an unknown key': [fileOf({ a: f32([1], 0, 4, { stride: [1] }) }, 4), 'InvalidHeader', /"a".*stride/],
  'a negative size': [fileOf({ a: f32([-1], 0, 4) }, 4), 'InvalidShape', /"a"/],
  'a fractional size': [fileOf({ a: f32([0.5], 0, 2) }, 2), 'InvalidShape', /"a"/],
  'sizes whose product overflows': [fileOf({ a: f32([2 ** 32, 2 ** 32], 0, 4) }, 4), 'WrongSize', /"a"/],
  'one offset': [fileOf({ a: { dtype: 'F32', shape: [], data_offsets: [0] } }, 4), 'InvalidOffsets', /"a"/],
  'negative offsets': [fileOf({ a: f32([1], -4, 0) }, 4), 'InvalidOffsets', /"a"/],
  'offsets in the wrong order': [fileOf({ a: f32([1], 4, 0) }, 4), 'InvalidOffsets', /"a"/],
  'offsets beyond the file': [fileOf({ a: f32([2], 0, 8) }, 4), 'OutOfRange', /"a".*ends at byte/],
  'offsets beyond every file': [fileOf({ a: f32([2], 0, 2 ** 52) }, 4), 'OutOfRange', /"a"/],
  'data that do not fit the shape': [fileOf({ a: f32([2], 0, 4) }, 4), 'WrongSize', /"a".*8 bytes.*span 4/],
  'data that do not fit the dtype': [fileOf({ a: f32([1], 0, 4, { dtype: 'F64' }) }, 4), 'WrongSize', /"a"/],
  'overlapping tensors': [
    fileOf({ a: f32([2], 0, 8), b: f32([2], 4, 12) }, 12),
    'OverlappingTensors',
    /"a" and "b"/,
  ],
  'two tensors in one place': [
    fileOf({ a: f32([1], 0, 4), b: f32([1], 0, 4) }, 4),
    'OverlappingTensors',
    /"a" and "b"/,
  ],
  'a hole': [fileOf({ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12), 'Hole', /4 bytes before tensor "b"/],
  'a hole at the beginning': [fileOf({ a: f32([1], 4, 8) }, 8), 'Hole', /"a"/],
  'bytes after the last tensor': [fileOf({ a: f32([1], 0, 4) }, 6), 'TrailingBytes', /2 bytes/],
  'metadata that are no strings': [
    fileOf({ __metadata__: { step: 3 } }, 0),
    'InvalidHeader',
    /__metadata__.*step/,
  ],
  'metadata that are no object': [fileOf({ __metadata__: 'pt' }, 0), 'InvalidHeader', /__metadata__/],
}

describe('a broken file is one CheckpointError that names file, tensor and cause:', () => {
  for (const [what, [bytes, code, words]] of Object.entries(broken))
    it(what, async () => {
      const error = await openBytes(bytes, 'some').then(
        () => undefined,
        (e: unknown) => e,
      )
      expect(error).toBeInstanceOf(CheckpointError)
      expect(error).toMatchObject({ code, exitCode: 3 })
      expect((error as Error).message).toMatch(/^some\/model\.safetensors: /)
      expect((error as Error).message).toMatch(words)
    })
})

it('a header is never allocated beyond what the file holds', async () => {
  for (const declared of [0n, 50n, 92n, 93n, 1_000n, 99_999_999n, 2n ** 32n, 2n ** 63n, 2n ** 64n - 1n]) {
    const bytes = prefix(declared, 92)
    let largest = 0
    const source = {
      size: bytes.length,
      read: async (into: Uint8Array, offset: number) => {
        largest = Math.max(largest, into.length)
        into.set(bytes.subarray(offset, offset + into.length))
      },
      close: async () => {},
    }
    await expect(readHeader(source, 'f')).rejects.toThrow(CheckpointError)
    expect(largest).toBeLessThanOrEqual(92)
  }
})

it('empty and scalar tensors, and a file of none, are legal', async () => {
  const tensors = [
    { name: 'none', dtype: 'F32', shape: [3, 0], data: new Uint8Array(0) },
    { name: 'one', dtype: 'F64', shape: [], data: new Uint8Array(8) },
  ] as const
  const checkpoint = await openBytes(assemble([...tensors]))
  expect((await checkpoint.read('none')).shape).toEqual([3, 0])
  expect([...(await checkpoint.read('one')).data]).toEqual([0])
  expect((await openBytes(fileOf('{}', 0, 6))).names()).toEqual([])
})

it('a name of the prototype is an ordinary name', async () => {
  const tensors = ['__proto__', 'toString', 'constructor'].map((name) => ({
    name,
    dtype: 'U8' as const,
    shape: [1],
    data: Uint8Array.of(7),
  }))
  const checkpoint = await openBytes(assemble(tensors))
  expect(checkpoint.names()).toEqual(['__proto__', 'constructor', 'toString'])
  expect(checkpoint.has('valueOf')).toBe(false)
})
