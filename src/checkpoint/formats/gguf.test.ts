import { readdir, readFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeGguf } from './gguf.js'
import { readGguf } from '../../../test/gguf.js'

let folder: string
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'weft-gguf-'))))
afterAll(() => rm(folder, { recursive: true }))

const tensor = (name: string, shape: number[], data = Float32Array.from({ length: 6 }, (_, i) => i / 3)) => ({
  name,
  shape,
  read: () => Promise.resolve(data),
})

describe('a GGUF, read by the rules of its specification', () => {
  test('has every setting with its type, and every tensor where its table says', async () => {
    const path = join(folder, 'whole.gguf')
    const settings = {
      count: { uint32: 7 },
      epsilon: { float32: 1e-5 },
      flag: { bool: true },
      name: { string: 'größer' },
      tokens: { strings: ['', 'a', 'ĠÄ'] },
    }
    await writeGguf(path, settings, [tensor('first', [2, 3]), tensor('second.weight', [6])])
    const read = readGguf(await readFile(path))
    expect(read.settings).toEqual({
      count: 7,
      epsilon: Math.fround(1e-5),
      flag: true,
      name: 'größer',
      tokens: ['', 'a', 'ĠÄ'],
    })
    expect([...read.tensors.keys()]).toEqual(['first', 'second.weight'])
    for (const [name, shape] of [
      ['first', [2, 3]],
      ['second.weight', [6]],
    ] as const) {
      expect(read.tensors.get(name)!.shape).toEqual(shape)
      expect([...read.tensors.get(name)!.data]).toEqual([0, 1, 2, 3, 4, 5].map((i) => Math.fround(i / 3)))
    }
  })

  test('is refused, and leaves nothing behind, where a tensor does not fill its shape or comes twice', async () => {
    const path = join(folder, 'broken.gguf')
    await expect(writeGguf(path, {}, [tensor('w', [2, 4])])).rejects.toThrow(/'w' gave 6 numbers.*holds 8/)
    await expect(writeGguf(path, {}, [tensor('w', [6]), tensor('w', [6])])).rejects.toThrow(/two tensors/)
    await expect(writeGguf(path, {}, [tensor('w', [1, 1, 1, 2, 3])])).rejects.toThrow(/5 axes/)
    expect((await readdir(folder)).filter((file) => file.includes('broken'))).toEqual([])
  })
})
