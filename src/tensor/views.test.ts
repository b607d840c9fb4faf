import { expect, test } from 'vitest'
import { compile, input, type Spec, type Tensor, valueOf } from './index.js'
import { lower } from './lower.js'

const typesOf = (...outputs: Tensor[]): string[] =>
  lower(outputs, new Set(), 'cpu', { mapsFiles: true }).graph.nodes.map(({ type }) => type)

const x = input('x', [1, 1, 6], 'float32')

test('shapes behind one another are one node, transpositions that move only axes of length 1 among them', () => {
  const heads = x.reshape([1, 1, 3, 2]).transpose([0, 2, 1, 3]).reshape([3, 2]).unsqueeze(0)
  expect(typesOf(heads.add(1))).toEqual(['Reshape', 'Add'])
})

test('numbers that come back to their shape need no node', () => {
  const back = x.reshape([1, 1, 3, 2]).transpose([0, 2, 1, 3]).transpose([0, 2, 1, 3]).reshape([1, 1, 6])
  expect(typesOf(back.add(1))).toEqual(['Add'])
})

test('a transposition that moves numbers stays one', () => {
  const turned = input('y', [1, 2, 3], 'float32').reshape([2, 3, 1]).transpose([1, 0, 2])
  expect(typesOf(turned.add(1))).toEqual(['Reshape', 'Transpose', 'Add'])
})

test('a shape that is asked for on the way is given, and what is seen through it is right', async () => {
  const program = await compile(
    ({ x }) => {
      const heads = x.reshape([1, 2, 3, 2]).transpose([0, 2, 1, 3])
      const first = x.reshape([4, 3])
      return {
        first,
        second: first.reshape([3, 4]),
        third: heads.reshape([3, 4]),
        same: x.reshape([1, 2, 6]),
      }
    },
    { x: { shape: [1, 2, 6], dtype: 'float32' } as Spec },
  )
  const numbers = Array.from({ length: 12 }, (_, i) => i)
  const results = await program.run({ x: valueOf(numbers, [1, 2, 6], 'float32') })
  expect([results.first.shape, results.second.shape, results.same.shape]).toEqual([
    [4, 3],
    [3, 4],
    [1, 2, 6],
  ])
  for (const result of [results.first, results.second, results.same])
    expect([...result.data]).toEqual(numbers)
  expect([...results.third.data]).toEqual([0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11])
})

test('a factor of an operand is left to the product, but where a single row has a kernel that knows none', async () => {
  const of = (rows: number): Tensor =>
    input('a', [rows, 3])
      .mul(0.5)
      .matmul(input('b', [4, 3]).mul(3).t())
  expect(typesOf(of(2))).toEqual(['FusedMatMul'])
  expect(typesOf(of(1))).toEqual(['Mul', 'Mul', 'FusedMatMul'])
  const program = await compile(({ a, b }) => ({ y: a.mul(0.5).matmul(b.mul(3).t()) }), {
    a: { shape: [2, 2], dtype: 'float32' } as Spec,
    b: { shape: [2, 2], dtype: 'float32' } as Spec,
  })
  const { y } = await program.run({ a: valueOf([1, 2, 3, 4], [2, 2]), b: valueOf([5, 6, 7, 8], [2, 2]) })
  expect([...y.data]).toEqual([17, 23, 39, 53].map((x) => x * 1.5))
})
