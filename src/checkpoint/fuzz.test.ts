/** @file Whatever the bytes, opening and reading end in numbers or in a WeftError; nothing else, and soon. */
import { readdirSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { CheckpointError } from '../errors.js'
import { openBytes } from './folder.js'

const content = (folder: string, files: RegExp): Record<string, Uint8Array> =>
  Object.fromEntries(
    readdirSync(goldenFolder(folder))
      .filter((file) => files.test(file))
      .map((file) => [file, new Uint8Array(readFileSync(goldenFolder(folder, file)))]),
  )

/** Opens and reads everything; true when it went well. Anything but a CheckpointError fails the test. */
const survives = async (bytes: Parameters<typeof openBytes>[0]): Promise<boolean> => {
  try {
    const checkpoint = await openBytes(bytes)
    for (const name of checkpoint.names().slice(0, 3)) await checkpoint.read(name)
    return true
  } catch (error) {
    if (error instanceof CheckpointError) return false
    throw error
  }
}

/** Where the damage goes: into the length, the header, or (rarely) the data. */
const position = (length: number, headerEnd: number): fc.Arbitrary<number> =>
  fc.oneof(
    { weight: 1, arbitrary: fc.nat({ max: 7 }) },
    { weight: 10, arbitrary: fc.integer({ min: 8, max: headerEnd - 1 }) },
    { weight: 1, arbitrary: fc.nat({ max: length - 1 }) },
  )

type Damage = (bytes: Uint8Array) => Uint8Array
const splice = (bytes: Uint8Array, at: number, remove: number, insert: ArrayLike<number>): Uint8Array => {
  const end = Math.min(bytes.length, at + remove)
  const out = new Uint8Array(bytes.length - (end - at) + insert.length)
  out.set(bytes.subarray(0, at))
  out.set(insert, at)
  out.set(bytes.subarray(end), at + insert.length)
  return out
}
const tokens = [
  '{',
  '}',
  '[',
  ']',
  '"',
  ',',
  ':',
  '-',
  '0',
  '9',
  '1e9',
  'null',
  '"__proto__":',
  '"F64"',
  '"BF16"',
  '\\u0000',
  '99999999999999999999',
].map((text) => new TextEncoder().encode(text))

const damage = (length: number, headerEnd: number): fc.Arbitrary<Damage> => {
  const at = position(length, headerEnd)
  return fc.oneof(
    fc.tuple(at, fc.nat({ max: 255 })).map(
      ([i, byte]): Damage =>
        (bytes) =>
          splice(bytes, Math.min(i, bytes.length), 1, [byte]),
    ),
    fc.tuple(at, fc.constantFrom(...tokens), fc.nat({ max: 3 })).map(
      ([i, token, remove]): Damage =>
        (bytes) =>
          splice(bytes, Math.min(i, bytes.length), remove, token),
    ),
    fc.tuple(at, fc.nat({ max: 40 })).map(
      ([i, remove]): Damage =>
        (bytes) =>
          splice(bytes, Math.min(i, bytes.length), remove, []),
    ),
    at.map(
      (i): Damage =>
        (bytes) =>
          bytes.slice(0, i),
    ),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((n): Damage => (bytes) => {
      const out = bytes.slice()
      if (out.length >= 8) new DataView(out.buffer).setBigUint64(0, n, true)
      return out
    }),
  )
}

it('6,000 mutations of golden safetensors files', async () => {
  const files = [
    content('peft/prompt', /^adapter_model/),
    content('peft/lora', /^adapter_model/),
    content('peft/ia3', /^golden/),
  ].flatMap((files) => Object.values(files))
  let refused = 0
  for (const bytes of files) {
    const headerEnd = 8 + Number(new DataView(bytes.buffer).getBigUint64(0, true))
    await fc.assert(
      fc.asyncProperty(
        fc.array(damage(bytes.length, headerEnd), { minLength: 1, maxLength: 3 }),
        async (damages) => {
          if (!(await survives(damages.reduce((b, harm) => harm(b), bytes)))) refused++
        },
      ),
      { numRuns: 2000 },
    )
  }
  // Damage to the data alone goes unseen; nearly all of the rest must not.
  expect(refused).toBeGreaterThan(4000)
})

it('2,000 mutations of the JSON of a sharded folder', async () => {
  const folder = content('llama', /^(model|config|generation_config)/)
  const texts = Object.keys(folder).filter((file) => file.endsWith('.json'))
  await fc.assert(
    fc.asyncProperty(
      fc
        .constantFrom(...texts)
        .chain((file) => fc.tuple(fc.constant(file), damage(folder[file].length, folder[file].length))),
      async ([file, harm]) => void (await survives({ ...folder, [file]: harm(folder[file]) })),
    ),
    { numRuns: 2000 },
  )
})

it('2,000 headers of valid JSON with arbitrary content', async () => {
  const offset = fc.oneof(fc.nat({ max: 20 }), fc.constantFrom(-1, 2 ** 31, 2 ** 53, 0.5, 1e300))
  const entry = fc.record(
    {
      dtype: fc.oneof(fc.constantFrom<unknown>('F32', 'U8', 'BF16', 'I64', 'F8_E4M3', 'F4'), fc.jsonValue()),
      shape: fc.oneof(fc.array(offset, { maxLength: 4 }), fc.jsonValue()),
      data_offsets: fc.oneof(fc.tuple(offset, offset), fc.jsonValue()),
    },
    { requiredKeys: [] },
  )
  const header = fc.dictionary(
    fc.oneof(fc.string(), fc.constant('__metadata__')),
    fc.oneof({ weight: 5, arbitrary: entry }, fc.jsonValue()),
    { maxKeys: 4 },
  )
  await fc.assert(
    fc.asyncProperty(header, fc.nat({ max: 40 }), async (tensors, dataBytes) => {
      const json = new TextEncoder().encode(JSON.stringify(tensors))
      const bytes = new Uint8Array(8 + json.length + dataBytes)
      new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true)
      bytes.set(json, 8)
      await survives(bytes)
    }),
    { numRuns: 2000 },
  )
})

it('1,000 files of arbitrary bytes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => void (await survives(bytes))),
    { numRuns: 1000 },
  )
})
