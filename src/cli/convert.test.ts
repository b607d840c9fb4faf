import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder } from '../../test/tiny.js'
import { weft } from '../../test/weft.js'
import { open } from '../checkpoint/index.js'
import { toNumbers } from '../tensor/index.js'

const fixtures = fileURLToPath(new URL('../../test/pytorch/', import.meta.url))

let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => void (scratch = await scratchFolder()))
afterAll(() => scratch.remove())

describe('weft convert', () => {
  it("writes PyTorch's shards, of either form, as safetensors", async () => {
    const out = join(scratch.path, 'converted')
    const { code, out: said } = await weft('convert', join(fixtures, 'sharded'), '--out', out)
    expect(code).toBe(0)
    expect(said).toMatch(/Converted 10 tensors/)
    expect((await readdir(out)).sort()).toEqual(['config.json', 'model.safetensors'])
    await using converted = await open(out)
    await using expected = await open(join(fixtures, 'expected.safetensors'))
    for (const name of expected.names())
      expect(toNumbers(await converted.read(name)), name).toEqual(toNumbers(await expected.read(name)))
  })

  it('writes floats in the type asked for, and says so in config.json', async () => {
    const out = join(scratch.path, 'narrow')
    const source = join(scratch.path, 'converted')
    expect((await weft('convert', source, '--out', out, '--dtype', 'bfloat16')).code).toBe(0)
    await using narrow = await open(out)
    expect(narrow.info('plain.weight').dtype).toBe('BF16')
    expect(narrow.info('steps').dtype).toBe('I64')
  })

  it('leaves nothing where the model is refused', async () => {
    const out = join(scratch.path, 'none')
    const { code, err } = await weft('convert', join(scratch.path, 'absent'), '--out', out)
    expect(code).not.toBe(0)
    expect(err).toMatch(/no such/)
    await expect(readFile(join(out, 'config.json'))).rejects.toThrow()
  })
})
