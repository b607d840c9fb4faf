import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { mkdir, readdir, readFile, rename, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { scratchFolder } from '../../test/tiny.js'
import {
  clearFloatCopies,
  decode,
  floatCopies,
  floatCopiesFolder,
  listFloatCopies,
  open,
  writeSafetensors,
} from './index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let source: string
let folder: string
let count = 0
beforeAll(async () => (scratch = await scratchFolder()))
afterAll(() => scratch.remove())
beforeEach(async () => {
  const place = join(scratch.path, String(count++))
  source = join(place, 'model.safetensors')
  folder = join(place, 'cache')
  await mkdir(place)
  await write(source, 1)
})

/** A file of two 16-bit matrices, of rows of `width`, and one of 32 bits. */
const write = (path: string, seed: number, width = 64): Promise<void> => {
  const bits = (n: number): Uint8Array =>
    new Uint8Array(Uint16Array.from({ length: n }, (_, i) => (0x3c00 + seed * 31 + i * 7) & 0x3fff).buffer)
  return writeSafetensors(path, [
    { name: 'a', dtype: 'BF16', shape: [8, width], data: bits(8 * width) },
    { name: 'b', dtype: 'F16', shape: [width], data: bits(width) },
    { name: 'c', dtype: 'F32', shape: [1], data: new Uint8Array(4) },
  ])
}

/** The numbers of the tensor `name` in the copy, which is made where it is not there. */
const copied = async (
  name: string,
  options: object = {},
  path = source,
): Promise<Float32Array | undefined> => {
  await using checkpoint = await open(path)
  const place = await floatCopies(checkpoint, { folder, least: 1, ...options }).place(checkpoint.info(name))
  if (!place) return undefined
  await place.prepare()
  const bytes = (await readFile(place.path)).subarray(place.offset, place.offset + place.length)
  return decode(bytes, 'F32', [place.length / 4]).data as Float32Array
}

const stored = async (name: string, path = source): Promise<Float32Array> => {
  await using checkpoint = await open(path)
  return (await checkpoint.read(name, 'float32')).data as Float32Array
}

/** A process that copies `path`; it says whether it is done. */
const child = (path: string): ChildProcess => {
  const script = fileURLToPath(new URL('../../test/float-copies-child.ts', import.meta.url))
  return spawn(process.execPath, ['--import', 'tsx', script, path, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

const ended = (process: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => process.once('exit', resolve))

describe('a copy in float32', () => {
  it('holds the numbers of 16-bit tensors, and none of others', async () => {
    for (const name of ['a', 'b']) expect(await copied(name)).toEqual(await stored(name))
    expect(await copied('c')).toBeUndefined()
    expect(await listFloatCopies(folder)).toMatchObject([{ source }])
  })

  it('is written when it is prepared, once, and read by whoever asks later', async () => {
    await using checkpoint = await open(source)
    const place = await floatCopies(checkpoint, { folder, least: 1 }).place(checkpoint.info('a'))
    expect(await listFloatCopies(folder)).toEqual([])
    await place!.prepare()
    const { ino } = await stat(place!.path)
    await copied('a')
    expect((await stat(place!.path)).ino).toBe(ino)
  })

  it('is not made of few numbers, nor where WEFT_CACHE is off', async () => {
    expect(await copied('a', { least: 1e6 })).toBeUndefined()
    expect(floatCopiesFolder({ WEFT_CACHE: 'off' })).toBeUndefined()
    expect(floatCopiesFolder({ WEFT_CACHE: '/x' })).toBe(join('/x', 'float32'))
    expect(floatCopiesFolder({ HF_HUB_CACHE: '/y/hub' })).toBe(join('/y', 'weft', 'float32'))
  })

  it('of a source that was changed is made anew, and the old one is gone', async () => {
    const { atime, mtime } = await stat(source)
    await copied('a')
    await write(source, 2)
    // The same size, the same times: the change itself has a time too.
    await utimes(source, atime, mtime)
    expect(await copied('a')).toEqual(await stored('a'))
    expect(await listFloatCopies(folder)).toHaveLength(1)
  })

  it('of a blob is found by its hash, wherever the cache was moved', async () => {
    const hub = (place: string): string => join(scratch.path, `${count}-${place}`)
    const blob = 'e'.repeat(64)
    const snapshot = join('models--a--b', 'snapshots', 'main')
    await mkdir(join(hub('first'), 'models--a--b', 'blobs'), { recursive: true })
    await mkdir(join(hub('first'), snapshot), { recursive: true })
    await write(join(hub('first'), 'models--a--b', 'blobs', blob), 3)
    await symlink(join('..', '..', 'blobs', blob), join(hub('first'), snapshot, 'model.safetensors'))
    await copied('a', {}, join(hub('first'), snapshot, 'model.safetensors'))
    const [{ path }] = await listFloatCopies(folder)
    await rename(hub('first'), hub('second'))
    await utimes(join(hub('second'), 'models--a--b', 'blobs', blob), 1, 1)
    await copied('a', {}, join(hub('second'), snapshot, 'model.safetensors'))
    expect(await listFloatCopies(folder)).toMatchObject([{ path }])
  })

  it('that the disk has no room for is refused with both figures, and leaves nothing', async () => {
    const free = async (): Promise<number> => 1000
    await expect(copied('a', { free })).rejects.toThrow(/takes \d{4} bytes; .* has 1000 free/)
    await expect(copied('a', { free })).rejects.toMatchObject({ code: 'DiskFull' })
    expect(await readdir(folder)).toEqual([])
    expect(await copied('a')).toEqual(await stored('a'))
  })

  it('is not taken from a source that changes while it is read', async () => {
    await using checkpoint = await open(source)
    const copies = floatCopies(checkpoint, { folder, least: 1 })
    const place = await copies.place(checkpoint.info('a'))
    await utimes(source, 1, 1)
    await expect(place!.prepare()).rejects.toMatchObject({ code: 'SourceChanged' })
    expect(await readdir(folder)).toEqual([])
  })

  it('that a killed process began is made by the next, which removes what was left', async () => {
    await write(source, 4, 4_000_000)
    const writer = child(source)
    const isBegun = async (): Promise<boolean> =>
      (await readdir(folder).catch(() => [])).some((name) => name.endsWith('.tmp'))
    while (!(await isBegun())) await new Promise((resolve) => setTimeout(resolve, 5))
    writer.kill('SIGKILL')
    await ended(writer)
    const left = await readdir(folder)
    expect(left.some((name) => name.endsWith('.tmp') || name.endsWith('.lock'))).toBe(true)
    expect((await copied('a'))!.at(-1)).toEqual((await stored('a')).at(-1))
    expect((await readdir(folder)).map((name) => name.replace(/^.*\./, ''))).toEqual(['safetensors'])
  })

  it('that two processes want at once is written by one of them', async () => {
    await write(source, 5, 1_000_000)
    const outputs = await Promise.all(
      [child(source), child(source)].map(async (process) => {
        const lines = createInterface({ input: process.stdout! })[Symbol.asyncIterator]()
        const { value } = (await lines.next()) as { value: string }
        return [await ended(process), value]
      }),
    )
    expect(outputs).toEqual([
      [0, outputs[0][1]],
      [0, outputs[0][1]],
    ])
    expect(await readdir(folder)).toEqual([basename((await listFloatCopies(folder))[0].path)])
  })

  it('is removed with all others by clearing, along with what was left unfinished', async () => {
    await copied('a')
    const [{ path }] = await listFloatCopies(folder)
    await writeFile(join(folder, `.${basename(path)}.1-0.tmp`), 'unfinished')
    await writeFile(join(folder, 'something.txt'), "somebody's own")
    expect((await listFloatCopies(folder)).map(({ source }) => source)).toEqual([source, undefined])
    expect(await clearFloatCopies(folder)).toHaveLength(2)
    expect(await readdir(folder)).toEqual(['something.txt'])
  })
})
