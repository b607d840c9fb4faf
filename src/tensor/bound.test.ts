import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { bound, compile, type Source, toNumbers, valueOf } from './index.js'

let folder = ''
beforeAll(async () => void (folder = await realpath(await mkdtemp(join(tmpdir(), 'weft-bound-')))))
afterAll(() => rm(folder, { recursive: true }))

it('a program may be bound to ranges of files and to arrays at once', async () => {
  const shape = [512, 512]
  const size = shape[0] * shape[1]
  const numbers = Float32Array.from({ length: size }, (_, i) => i % 7)
  const path = join(folder, 'weights.bin')
  await writeFile(path, new Uint8Array(numbers.buffer))
  const held = valueOf(
    numbers.map((n) => 2 * n),
    shape,
  )
  const read = () => Promise.resolve(valueOf(numbers, shape))
  const file: Source = { kind: 'file', dtype: 'float32', shape, path, offset: 0, length: 4 * size, read }
  const memory: Source = { kind: 'memory', dtype: 'float32', shape, value: held }
  const program = await compile(({ x }) => bound(file).add(bound(memory)).mul(x), { x: valueOf([3], [1]) })
  const found = toNumbers(await program.run({ x: valueOf([3], [1]) }))
  expect(found).toEqual(Float64Array.from(numbers, (n) => 9 * n))
})
