import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CheckpointError } from '../../errors.js'
import { Stream } from '../../random/index.js'
import { toNumbers } from '../../tensor/index.js'
import { type Checkpoint, convertCheckpoint, open, openBytes } from '../index.js'
import { PickleEnds, unpickle } from './pickle.js'

const fixture = (name: string): string =>
  fileURLToPath(new URL(`../../../test/pytorch/${name}`, import.meta.url))

let expected: Checkpoint
let scratch: string
beforeAll(async () => {
  expected = await open(fixture('expected.safetensors'))
  scratch = await mkdtemp(join(tmpdir(), 'weft-'))
})
afterAll(async () => {
  await expected.close()
  await rm(scratch, { recursive: true })
})

/** That both checkpoints have the same tensors. */
const expectSame = async (found: Checkpoint): Promise<void> => {
  expect(found.names()).toEqual(expected.names())
  for (const name of expected.names()) {
    const { dtype, shape } = expected.info(name)
    expect(found.info(name), name).toMatchObject({ dtype, shape })
    expect(toNumbers(await found.read(name)), name).toEqual(toNumbers(await expected.read(name)))
    expect(await found.readRaw(name), name).toEqual(await expected.readRaw(name))
  }
}

describe('a state dict as PyTorch saves it', () => {
  it.each(['zip.bin', 'older.bin', 'protocol-4.bin', 'sharded'])(
    '%s holds the tensors it should',
    async (name) => {
      await using checkpoint = await open(fixture(name))
      await expectSame(checkpoint)
    },
  )

  it('is read in blocks of rows, also where its numbers lie in another order', async () => {
    await using checkpoint = await open(fixture('zip.bin'))
    const whole = await expected.readRaw('transposed')
    for await (const { start, end, bytes } of checkpoint.rows('transposed', { blockBytes: 40 }))
      expect(bytes).toEqual(whole.subarray(start * 16, end * 16))
  })

  it('is mapped where it lies, but for what must be gathered', async () => {
    await using checkpoint = await open(fixture('zip.bin'))
    expect(checkpoint.info('plain.weight').path).toBe(fixture('zip.bin'))
    expect(checkpoint.info('transposed').path).toBeUndefined()
  })

  it('is written again as safetensors', async () => {
    const folder = join(scratch, 'converted')
    await using checkpoint = await open(fixture('sharded'))
    await convertCheckpoint(checkpoint, folder)
    await using converted = await open(folder)
    await expectSame(converted)
    expect(converted.config).toEqual(checkpoint.config)
  })

  it('stands behind safetensors where a folder has both', async () => {
    const folder = join(scratch, 'both')
    await cp(fixture('sharded'), folder, { recursive: true })
    await cp(fixture('expected.safetensors'), join(folder, 'model.safetensors'))
    await using checkpoint = await open(folder)
    expect(checkpoint.info('half').file).toBe('model.safetensors')
  })
})

const rules = { globals: new Map(), persistent: (id: unknown) => id }
const text = (...codes: (string | number)[]): Uint8Array =>
  Uint8Array.from(codes.flatMap((c) => (typeof c === 'number' ? [c] : [...new TextEncoder().encode(c)])))

/** The archive `zip.bin` with other bytes in the place of as many of its pickle's. */
const withPickle = async (change: (pickle: Uint8Array) => void): Promise<Uint8Array> => {
  const bytes = new Uint8Array(await readFile(fixture('zip.bin')))
  // data.pkl is the first file of the archive, and begins with its protocol.
  const start = bytes.findIndex((byte, i) => byte === 0x80 && bytes[i + 1] === 2 && bytes[i + 2] === 0x63)
  change(bytes.subarray(start))
  return bytes
}

const openPickle = (bytes: Uint8Array): Promise<Checkpoint> =>
  openBytes({ 'pytorch_model.bin': bytes, 'config.json': text('{}') }, 'hostile')

describe('a pickle that is more than a state dict', () => {
  it('is refused with the opcode and its place', () => {
    const refused =
      (codes: Uint8Array): (() => unknown) =>
      () =>
        unpickle(codes, rules, { shown: 'file' })
    expect(refused(text(0x80, 2, 'i', 'os\nsystem\n', '.'))).toThrow(/file: opcode INST \(0x69\) at byte 2/)
    expect(refused(text('(', 'o', '.'))).toThrow(/opcode OBJ \(0x6f\) at byte 1/)
    expect(refused(text('N', 0x81, '.'))).toThrow(/opcode NEWOBJ \(0x81\) at byte 1/)
    expect(refused(text(0xff))).toThrow(/opcode unknown \(0xff\) at byte 0/)
    expect(refused(text('cos\nsystem\n.'))).toThrow(/GLOBAL names os\.system at byte 0/)
    expect(refused(text(0x80, 4, 0x8c, 2, 'os', 0x8c, 6, 'system', 0x93, '.'))).toThrow(
      /STACK_GLOBAL names os\.system at byte 14/,
    )
    expect(refused(text('N', ')', 'R', '.'))).toThrow(/REDUCE at byte 2 of the pickle: it calls no function/)
    expect(refused(text(']', '}', 'b', '.'))).toThrow(/BUILD at byte 2/)
    expect(refused(text(0x80, 9))).toThrow(/protocol 9/)
    for (const damaged of [text('.'), text('t'), text('h', 3), text('N', 'N', 'a'), text(']', '(', 'N', 'u')])
      expect(refused(damaged)).toThrow(/the pickle is damaged/)
    expect(refused(text('X', 255, 255, 255, 255))).toThrow(PickleEnds)
  })

  it('is refused in a file, and nothing of it runs', async () => {
    const foreign = await withPickle((pickle) => pickle.set(text('cposix\nsystem\n'), 2))
    await expect(openPickle(foreign)).rejects.toMatchObject({
      code: 'ForeignPickle',
      message: expect.stringMatching(
        /hostile\/pytorch_model\.bin: GLOBAL names posix\.system at byte 2 of the pickle/,
      ) as string,
    })
  })
})

describe('hostile files', () => {
  it.each(['zip.bin', 'older.bin', 'protocol-4.bin'])(
    '%s with bytes changed, or cut off, opens or is refused, and reads nothing that it does not hold',
    async (name) => {
      const whole = new Uint8Array(await readFile(fixture(name)))
      const stream = new Stream(`pytorch/${name}`)
      for (let i = 0; i < 400; i++) {
        const bytes = i % 4 ? whole.slice() : whole.slice(0, stream.int(whole.length))
        for (let n = stream.int(4) + (i % 4 ? 1 : 0); n > 0 && bytes.length > 0; n--)
          bytes[stream.int(bytes.length)] = stream.int(256)
        try {
          await using checkpoint = await openPickle(bytes)
          for (const tensor of checkpoint.names()) {
            expect(checkpoint.info(tensor).length).toBeLessThanOrEqual(bytes.length)
            await checkpoint.read(tensor)
          }
        } catch (error) {
          expect(error).toBeInstanceOf(CheckpointError)
        }
      }
    },
  )

  it('is no checkpoint where it is neither form', async () => {
    const path = join(scratch, 'text.bin')
    await writeFile(path, 'not a checkpoint')
    await expect(open(path)).rejects.toThrow(CheckpointError)
    await writeFile(path, '')
    await expect(open(path)).rejects.toThrow(CheckpointError)
  })
})
