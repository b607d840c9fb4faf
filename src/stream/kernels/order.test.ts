import fc from 'fast-check'
import { expect, it } from 'vitest'
import { orderByMagnitude } from './order.js'

it('orders rows of any length as a stable sort by magnitude does', () => {
  const number = fc.oneof(fc.float({ noNaN: true }), fc.constantFrom(0, -0, 1, -1, 1e-42, -1e-42, 256, 65536))
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 40 }),
      fc.array(number, { minLength: 40, maxLength: 120 }),
      (width, all) => {
        const order = orderByMagnitude(width)
        for (let start = 0; start + width <= all.length; start += width) {
          const row = Float32Array.from(all.slice(start, start + width))
          const expected = [...row.keys()].sort((a, b) => Math.abs(row[a]) - Math.abs(row[b]) || a - b)
          expect([...order(row)]).toEqual(expected)
        }
      },
    ),
  )
})
