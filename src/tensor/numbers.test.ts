import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { append, maxOf, minOf, normOf } from './numbers.js'

const million = new Float64Array(2 ** 20).fill(-1)

describe('reductions of lists', () => {
  it('are those of Math, NaN, zeros and infinities among them', () => {
    const numbers = fc.array(fc.oneof(fc.double(), fc.constantFrom(NaN, 0, -0, Infinity, -Infinity)), {
      maxLength: 9,
    })
    fc.assert(
      fc.property(numbers, fc.double({ noNaN: true }), (list, bound) => {
        const two = (f: (a: number, b: number) => number, start: number): number =>
          list.reduce((a, b) => f(a, b), start)
        expect(maxOf(list)).toBe(two(Math.max, -Infinity))
        expect(minOf(list)).toBe(two(Math.min, Infinity))
        expect(maxOf(list.values(), bound)).toBe(two(Math.max, bound))
        expect(minOf(list.values(), bound)).toBe(two(Math.min, bound))
      }),
    )
    const finite = fc.array(fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e300, max: 1e300 }), {
      maxLength: 5,
    })
    fc.assert(
      fc.property(finite, (list) => {
        const exact = list.reduce((a, b) => Math.hypot(a, b), 0)
        expect(Math.abs(normOf(list) - exact)).toBeLessThanOrEqual(1e-15 * exact)
      }),
    )
    expect([normOf([3, NaN]), normOf([1, -Infinity])]).toEqual([NaN, Infinity])
  })

  it('take more elements than a call takes arguments', () => {
    expect([maxOf(million), minOf(million), normOf(million)]).toEqual([-1, -1, 1024])
    const list = [0]
    append(list, million)
    expect(list.length).toBe(2 ** 20 + 1)
  })
})
