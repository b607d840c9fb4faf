import { mkdtemp, realpath, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  bound,
  compile,
  cond,
  grad,
  input,
  recompute,
  type Source,
  tensor,
  type Tensor,
  toNumbers,
  valueAndGrad,
  valueOf,
} from './index.js'
import { lower } from './lower.js'

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

it('what is bound is mapped once, however many branches read it', () => {
  const shape = [4, 4]
  const read = (): never => {
    throw new Error('it was read')
  }
  const file: Source = {
    ...{ kind: 'file', dtype: 'float32', shape, path: '/weights.bin', offset: 0, length: 64 },
    read,
  }
  const x = input('x', [2, 4], 'float32')
  const product = (x: Tensor): Tensor => x.matmul(bound(file))
  const [y] = cond(
    x.sum().greater(0),
    () => product(x),
    () => product(x.neg()),
  )
  const { graph } = lower([product(y)], new Set(), 'cpu', { mapsFiles: true })
  expect(graph.initializers.filter(({ external }) => external)).toHaveLength(1)
})

describe('a large matrix bound to a file', () => {
  const [out, width] = [4096, 4096]
  const bytes = 4 * out * width
  const x = { shape: [2, 3, width], dtype: 'float32' as const }
  let matrix: Source
  beforeAll(async () => {
    const path = join(folder, 'matrix.bin')
    await writeFile(path, '')
    await truncate(path, bytes)
    const shape = [out, width]
    const read = (): never => {
      throw new Error('it was read')
    }
    matrix = { kind: 'file', dtype: 'float32', shape, path, offset: 0, length: bytes, read }
  })

  const product = (x: Tensor): Tensor => x.matmul(bound(matrix).t())
  const loss = (x: Tensor): Tensor => product(x).square().sum()
  const opened = {
    'a product x Wᵀ': product,
    'its gradient': grad(loss),
    'a second gradient': grad((x: Tensor) => grad(loss)(x).square().sum()),
    'a gradient that computes the product again': grad((x: Tensor) => recompute(product, x).square().sum()),
    'its rows': (x: Tensor) => product(x).add(bound(matrix).gather(tensor([1], [1], 'int32'))),
  }
  const levels = ['disabled', 'all'] as const
  const cases = Object.entries(opened).flatMap(([name, f]) =>
    levels.map((level) => [name, level, f] as const),
  )
  it.each(cases)('is not copied by a session for %s, optimisation %s', async (_, optimization, f) => {
    const before = process.memoryUsage.rss()
    const program = await compile(f, x, { optimization })
    expect(process.memoryUsage.rss() - before).toBeLessThan(bytes / 2)
    await program.run(valueOf(new Float32Array(6 * width), [2, 3, width]))
  })
})

it('the step of a trained matrix swaps no axes of a matrix', () => {
  const [w, x] = [input('w', [64, 32]), input('x', [2, 8, 32])]
  const { value, grads } = valueAndGrad((w: Tensor) => x.matmul(w.t()).square().sum())(w)
  const { graph } = lower([value, grads, w.sub(grads)], new Set(), 'cpu', { mapsFiles: true })
  const types = graph.nodes.map(({ type }) => type)
  expect(types).not.toContain('Transpose')
  expect(types.filter((type) => type === 'FusedMatMul')).toHaveLength(2)
})
