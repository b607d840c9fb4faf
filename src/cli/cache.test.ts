import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { scratchFolder } from '../../test/tiny.js'
import { weftWith } from '../../test/weft.js'
import { floatCopies, open, writeSafetensors } from '../checkpoint/index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => (scratch = await scratchFolder()))
afterAll(() => scratch.remove())

it('weft cache lists copies, counts their bytes, and clears them', async () => {
  const source = join(scratch.path, 'model.safetensors')
  const env = { WEFT_CACHE: join(scratch.path, 'cache') }
  const folder = join(scratch.path, 'cache', 'float32')
  expect((await weftWith(env, ['cache', 'list'])).out).toContain(`No copies (${folder})`)
  await writeSafetensors(source, [{ name: 'a', dtype: 'BF16', shape: [300], data: new Uint8Array(600) }])
  await using checkpoint = await open(source)
  const place = await floatCopies(checkpoint, { folder, least: 1 }).place(checkpoint.info('a'))
  await place!.prepare()
  await mkdir(join(folder, 'folder'))
  await writeFile(join(folder, 'own.txt'), 'own')
  const listed = JSON.parse((await weftWith(env, ['cache', 'list', '--json'])).out) as object[]
  expect(listed).toMatchObject([{ source, path: place!.path }])
  const { copies, bytes } = JSON.parse((await weftWith(env, ['cache', 'size', '--json'])).out) as {
    copies: number
    bytes: number
  }
  expect(copies).toBe(1)
  expect(bytes).toBeGreaterThan(1200)
  expect((await weftWith(env, ['cache', 'clear'])).out).toMatch(/Removed 1 copy, 1\.\d kB/)
  expect((await readdir(folder)).sort()).toEqual(['folder', 'own.txt'])
  expect((await weftWith({ WEFT_CACHE: 'off' }, ['cache', 'size'])).out).toContain('WEFT_CACHE is off')
})
