import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { keyOf, normal } from '../random/index.js'
import { largestIndices, MatrixShapeError, NotFiniteError, type SelectionOptions } from './index.js'

/** The definition: a stable sort. */
const bySorting = (values: ArrayLike<number>, count: number, options: SelectionOptions): number[] => {
  const rank = (x: number): number => (options.by === 'magnitude' ? Math.abs(x) : x)
  const sign = options.smallest ? -1 : 1
  return Array.from(values, (x, i) => ({ x: sign * rank(x), i }))
    .sort((a, b) => (a.x === b.x ? a.i - b.i : b.x - a.x))
    .slice(0, count)
    .map(({ i }) => i)
    .sort((a, b) => a - b)
}

const options = fc.record({ by: fc.constantFrom('value', 'magnitude'), smallest: fc.boolean() })

describe('largestIndices', () => {
  it.each([
    ['float32', Float32Array],
    ['float64', Float64Array],
  ] as const)(
    'is a stable sort cut off, for %s of any sign, with ties, zeros and infinities',
    (_, Floats) => {
      const any = fc.oneof(
        fc.double({ noNaN: true }),
        fc.constantFrom(0, -0, 1, -1, Infinity, -Infinity, 1e-310, -1e-310, 1 + 2 ** -40),
      )
      fc.assert(
        fc.property(fc.array(any, { maxLength: 40 }), fc.nat(45), options, (numbers, count, o) => {
          const values = Floats.from(numbers)
          expect([...largestIndices(values, count, o)]).toEqual(bySorting(values, count, o))
        }),
        { numRuns: 300 },
      )
    },
  )

  it('takes a view that does not begin where its buffer does', () => {
    const values = Float32Array.of(9, 9, 1, 3, 2).subarray(2)
    expect([...largestIndices(values, 2)]).toEqual([1, 2])
  })

  it('finds a planted support of 200,000 entries among a million, and leaves the numbers as they are', () => {
    const values = new Float32Array(2 ** 20)
    normal(values, keyOf('noise'))
    for (let i = 0; i < values.length; i++)
      values[i] = i % 5 === 3 ? (i % 2 ? 100 : -100) + values[i] : values[i]
    const before = values.slice()
    const support = largestIndices(values, Math.floor((values.length + 1) / 5), { by: 'magnitude' })
    expect(support.every((place, i) => place === 5 * i + 3)).toBe(true)
    expect(values.every((x, i) => x === before[i])).toBe(true)
  })

  it('takes the first of a million equal numbers', () => {
    const first = largestIndices(new Float64Array(2 ** 20).fill(2.5), 300_000)
    expect(first.length).toBe(300_000)
    expect(first.every((place, i) => place === i)).toBe(true)
  })

  it('refuses NaN and a count that is none', () => {
    expect(() => largestIndices(Float32Array.of(1, NaN, 2), 1)).toThrow(NotFiniteError)
    for (const count of [-1, 1.5, NaN])
      expect(() => largestIndices(Float32Array.of(1, 2), count)).toThrow(MatrixShapeError)
  })
})
