import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  compile,
  einsum,
  grad,
  interpret,
  type Shape,
  sizeOf,
  type Tensor,
  tensor,
  toNumbers,
} from '../index.js'

const sizes: Record<string, number> = { a: 2, b: 3, c: 4, d: 1, e: 2 }
const operand = (labels: readonly string[], salt: number): Tensor => {
  const shape = labels.map((l) => sizes[l])
  return tensor(
    Array.from({ length: sizeOf(shape) }, (_, i) => ((i * 7 + salt * 5) % 11) - 5),
    shape,
  )
}
const numbersOf = async (t: Tensor): Promise<number[]> => [...(await interpret([t], { inputs: {} }))[0]]

/** The sum over all indices, as the definition says. */
const definition = async (
  terms: readonly string[][],
  output: readonly string[],
  xs: readonly Tensor[],
): Promise<number[]> => {
  const data = await Promise.all(xs.map(numbersOf))
  const labels = [...new Set(terms.flat())]
  const out = new Array<number>(sizeOf(output.map((l) => sizes[l]))).fill(0)
  const flatAt = (ls: readonly string[], index: Record<string, number>): number =>
    ls.reduce((n, l) => n * sizes[l] + index[l], 0)
  const visit = (depth: number, index: Record<string, number>): void => {
    if (depth < labels.length) {
      for (let i = 0; i < sizes[labels[depth]]; i++) visit(depth + 1, { ...index, [labels[depth]]: i })
      return
    }
    out[flatAt(output, index)] += terms.reduce((p, ls, i) => p * data[i][flatAt(ls, index)], 1)
  }
  visit(0, {})
  return out.map((n) => n + 0)
}

const term = fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { maxLength: 4 })

describe('einsum', () => {
  it('is the sum of products over all indices, diagonals and sums included', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(term, { minLength: 1, maxLength: 3 }),
        fc.nat(),
        fc.nat(),
        async (terms, pick, order) => {
          const labels = [...new Set(terms.flat())].filter((_, i) => (pick >> i) & 1)
          const output = order % 2 ? labels.reverse() : labels
          const xs = terms.map(operand)
          const equation = `${terms.map((t) => t.join('')).join(', ')} -> ${output.join('')}`
          const y = einsum(equation, ...xs)
          expect(y.shape).toEqual(output.map((l) => sizes[l]))
          const expected = await definition(terms, output, xs)
          ;(await numbersOf(y)).forEach((n, i) => expect(n + 0).toBe(expected[i]))
        },
      ),
      { numRuns: 150 },
    )
  })

  it('writes the usual products', async () => {
    const [a, b] = [operand(['a', 'b'], 1), operand(['b', 'c'], 2)]
    const same = async (p: Tensor, q: Tensor): Promise<void> => {
      expect(p.shape).toEqual(q.shape)
      expect(await numbersOf(p)).toEqual(await numbersOf(q))
    }
    await same(einsum('ij,jk', a, b), a.matmul(b))
    await same(einsum('ba', a), a.t())
    await same(einsum('ij->', a), a.sum())
    await same(einsum('...i->...', a), a.sum(-1))
    await same(einsum('...ij,jk->...ik', a, b), a.matmul(b))
    const square = tensor([1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 3])
    expect(await numbersOf(einsum('ii->i', square))).toEqual([1, 5, 9])
    expect(await numbersOf(einsum('ii', square))).toEqual([15])
  })

  it('broadcasts what ... stands for', async () => {
    const x = tensor(
      Array.from({ length: 12 }, (_, i) => i),
      [2, 1, 2, 3],
    )
    const y = tensor(
      Array.from({ length: 24 }, (_, i) => i % 5),
      [4, 3, 2],
    )
    const z = einsum('...ij,...jk->...ik', x, y)
    expect(z.shape).toEqual([2, 4, 2, 2])
    expect(await numbersOf(z)).toEqual(await numbersOf(x.matmul(y)))
  })

  it('is one matrix product where the axes stand well, and agrees on the CPU, gradient included', async () => {
    const shapes: { x: Shape; y: Shape } = { x: [2, 5, 3], y: [2, 3, 4] }
    const spec = {
      x: { shape: shapes.x, dtype: 'float32' as const },
      y: { shape: shapes.y, dtype: 'float32' as const },
    }
    const f = ({ x, y }: { x: Tensor; y: Tensor }): Tensor => einsum('bij,bjk->bik', x, y)
    expect((await compile(f, spec)).nodes).toBe(1)
    const g = ({ x, y }: { x: Tensor; y: Tensor }): { x: Tensor; y: Tensor } =>
      grad((v: { x: Tensor; y: Tensor }) => einsum('bij,bjk,bi->kb', v.x, v.y, v.x.sum(-1)).square().sum())({
        x,
        y,
      })
    const numbers = (shape: Shape): Float32Array =>
      Float32Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin(i + shape[1]))
    const { value } = await import('../index.js')
    const inputs = {
      x: value(numbers(shapes.x), shapes.x, 'float32'),
      y: value(numbers(shapes.y), shapes.y, 'float32'),
    }
    const cpu = await (await compile(g, inputs)).run(inputs)
    const reference = await (await compile(g, inputs, { device: 'reference' })).run(inputs)
    for (const k of ['x', 'y'] as const)
      toNumbers(cpu[k]).forEach((n, i) => expect(n).toBeCloseTo(toNumbers(reference[k])[i], 3))
  })

  it.each([
    [
      'ij,jk->ik',
      [
        [2, 3],
        [4, 5],
      ],
      /einsum: 'ij,jk->ik' on \[2, 3\] and \[4, 5\]: axis 'j' is 3 and 4/,
    ],
    ['ij->ijk', [[2, 3]], /output axis 'k' is in no term/],
    ['ij->ii', [[2, 3]], /'ii' repeats an axis/],
    ['ijk->i', [[2, 3]], /'ijk' names 3 axes of 2/],
    ['i,j->ij', [[2]], /2 terms for 1 tensors/],
    ['i$->i', [[2]], /may hold letters/],
    ['i->i->i', [[2]], /-> occurs twice/],
  ])('refuses %s, saying why', (equation, shapes, message) => {
    const xs = shapes.map((shape) => tensor(new Float32Array(sizeOf(shape)), shape))
    expect(() => einsum(equation, ...xs)).toThrow(message)
  })
})
