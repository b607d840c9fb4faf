import { describe, expect, it } from 'vitest'
import { keyOf, normal } from '../random/index.js'
import { compile, toNumbers, type Tensor, value } from '../tensor/index.js'
import { largestOfPool, migrated, packBits, unpackBits } from './index.js'
import { minOf } from '../tensor/numbers.js'

const noise = (length: number, seed: string): Float32Array => {
  const data = new Float32Array(length)
  normal(data, keyOf(seed))
  return data
}

describe('the largest of several arrays together', () => {
  it('are those above one threshold, by array and ascending; of equal ones the first', () => {
    const pool = [Float32Array.of(1, 5, 2), new Float32Array(), Float32Array.of(5, 0), Float32Array.of(2, 2)]
    expect(largestOfPool(pool, 4).map((own) => [...own])).toEqual([[1, 2], [], [0], [0]])
    expect(largestOfPool(pool, 0).flatMap((own) => [...own])).toEqual([])
    expect(largestOfPool(pool, 7).map((own) => own.length)).toEqual([3, 0, 2, 2])
  })

  it('are as many as are asked for of 400,000 numbers', () => {
    const pool = [noise(250_000, 'a'), noise(150_000, 'b')]
    const chosen = largestOfPool(pool, 200_000)
    expect(chosen[0].length + chosen[1].length).toBe(200_000)
    const least = (own: Float32Array, indices: Int32Array): number =>
      indices.reduce((low, i) => Math.min(low, own[i]), Infinity)
    const limit = minOf(pool.map((own, i) => least(own, chosen[i])))
    expect(pool.map((own) => own.filter((x) => x > limit).length)).toEqual(
      chosen.map((own, i) => own.filter((j) => pool[i][j] > limit).length),
    )
  })
})

it('packed numbers follow entries that stay, and are 0 where entries are new', () => {
  expect([...migrated([1, 2, 3], Int32Array.of(2, 5, 9), Int32Array.of(1, 5, 9, 12))]).toEqual([0, 2, 3, 0])
})

it.each([
  [3, 7],
  [4, 4],
  [1, 1],
])('a bitmap of %d x %d is the zeros and ones that it was packed of', async (rows, columns) => {
  const size = rows * columns
  const kept = Int32Array.from({ length: Math.ceil(size / 2) }, (_, i) => 2 * i)
  const bits = packBits(kept, size)
  const given = { bits: value(bits, [bits.length], 'uint8') }
  const unpack = (x: { bits: Tensor }) => ({ mask: unpackBits(x.bits, [rows, columns]) })
  const { mask } = await (await compile(unpack, given, { device: 'reference' })).run(given)
  expect(mask.shape).toEqual([rows, columns])
  expect([...toNumbers(mask)]).toEqual(Array.from({ length: size }, (_, i) => Number(i % 2 === 0)))
})
