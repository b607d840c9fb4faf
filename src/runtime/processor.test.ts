import { describe, expect, it } from 'vitest'
import { openSession, type OpenSession, saturatesSignedProducts } from './index.js'
import { input } from '../tensor/create.js'
import {
  compile,
  matmulDynamic,
  matmulInteger,
  type Tensor,
  toNumbers,
  type Value,
  valueOf,
} from '../tensor/index.js'
import { lower } from '../tensor/lower.js'

/** Sessions of a processor that answers the first question as one that saturates at 16 bits would. */
const saturating = (): { open: OpenSession; asked: () => number } => {
  let opened = 0
  const open: OpenSession = async (model, options) => {
    const session = await openSession(model, options)
    if (opened++ > 0) return session
    const clamp = (v: Value): Value =>
      valueOf(
        toNumbers(v).map(() => 32767),
        v.shape,
        v.dtype,
      )
    return { run: async (feeds, outputs) => (await session.run(feeds, outputs)).map(clamp) }
  }
  return { open, asked: () => opened }
}

const [rows, k, n] = [3, 70, 5]
const a = valueOf(new Float64Array(rows * k).fill(255), [rows, k], 'uint8')
const b = valueOf(
  Float64Array.from({ length: k * n }, (_, i) => (i % n === 0 ? 127 : i % n === 1 ? -128 : (i % 256) - 128)),
  [k, n],
  'int8',
)
const zero = valueOf([127, -128, 0, 1, -1], [n], 'int8')

/** Row i of the exact product times b - zero, the same for every row. */
const expected = (aZero: number, zeros: ArrayLike<number>): number[] =>
  Array.from({ length: rows * n }, (_, i) => {
    let sum = 0
    for (let j = 0; j < k; j++) sum += (255 - aZero) * (Number(b.data[j * n + (i % n)]) - zeros[i % n])
    return sum
  })

describe('on a processor whose products of uint8 and int8 saturate', () => {
  it('matmulInteger is exact at the extremes, with and without zero points', async () => {
    const { open } = saturating()
    const plain = await compile(
      ({ a, b }: Record<'a' | 'b', Tensor>) => matmulInteger(a, b),
      { a, b },
      {
        openSession: open,
      },
    )
    expect([...toNumbers(await plain.run({ a, b }))]).toEqual(expected(0, new Float64Array(n)))
    const aZero = valueOf([3], [], 'uint8')
    const zeroed = await compile(
      ({ a, b, aZero, bZero }: Record<'a' | 'b' | 'aZero' | 'bZero', Tensor>) =>
        matmulInteger(a, b, { aZero, bZero }),
      { a, b, aZero, bZero: zero },
      { openSession: open },
    )
    expect([...toNumbers(await zeroed.run({ a, b, aZero, bZero: zero }))]).toEqual(
      expected(3, toNumbers(zero)),
    )
  })

  it('matmulDynamic gives the same numbers as on any other', async () => {
    const x = valueOf(
      Float64Array.from({ length: rows * k }, (_, i) => (i % 3) - 1),
      [rows, k],
    )
    const scale = valueOf([0.5, 1, 2, 0.25, 1], [n])
    const f = ({ x, b, scale }: Record<'x' | 'b' | 'scale', Tensor>): Tensor => matmulDynamic(x, b, scale)
    const inputs = { x, b, scale }
    const shifted = await compile(f, inputs, { openSession: saturating().open })
    const reference = await compile(f, inputs, { device: 'reference' })
    const exact = toNumbers(await reference.run(inputs))
    toNumbers(await shifted.run(inputs)).forEach((y, i) =>
      expect(Math.abs(y - exact[i])).toBeLessThan(1e-5 * Math.max(1, Math.abs(exact[i]))),
    )
  })

  it('no kernel is given signed weights', () => {
    const product = matmulInteger(input('a', [rows, k], 'uint8'), input('b', [k, n], 'int8'))
    const kernelsOf = (saturates: boolean): string[] =>
      lower([product], new Set(), 'cpu', { mapsFiles: true, saturates }).graph.nodes.map(({ type }) => type)
    expect(kernelsOf(false)).toEqual(['MatMulInteger'])
    expect(kernelsOf(true)).toEqual(['Cast', 'BitwiseXor', 'Cast', 'BitwiseXor', 'MatMulInteger'])
  })
})

describe('the processor', () => {
  it('is asked once, and only by programs that multiply integers', async () => {
    const { open, asked } = saturating()
    await compile(({ x }: { x: Tensor }) => x.mul(2), { x: valueOf([1], [1]) }, { openSession: open })
    expect(asked()).toBe(1)
    const other = saturating()
    const answers = await Promise.all([1, 2, 3].map(() => saturatesSignedProducts(other.open, 'cpu')))
    expect(answers).toEqual([true, true, true])
    expect(other.asked()).toBe(1)
  })

  it('is asked again after no session opened', async () => {
    let tries = 0
    const open: OpenSession = async (model, options) => {
      if (tries++ === 0) throw new Error('no memory')
      return openSession(model, options)
    }
    await expect(saturatesSignedProducts(open, 'cpu')).rejects.toThrow('no memory')
    expect(typeof (await saturatesSignedProducts(open, 'cpu'))).toBe('boolean')
  })
})
