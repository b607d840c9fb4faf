import { describe, expect, it } from 'vitest'
import { keyOf, philox, SeedError } from './index.js'

const ones = 0xffffffff

describe('philox', () => {
  it("gives Random123's known answers", () => {
    expect(philox([0, 0, 0, 0], [0, 0])).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8])
    expect(philox([ones, ones, ones, ones], [ones, ones])).toEqual([
      0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd,
    ])
    expect(philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])).toEqual([
      0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1,
    ])
  })
})

describe('keyOf', () => {
  it('takes an integer as its own 64 bits', () => {
    expect(keyOf(7)).toEqual([7, 0])
    expect(keyOf(2 ** 40 + 3)).toEqual([3, 256])
    expect(keyOf(-1)).toEqual([ones, ones])
    expect(keyOf(0x0123456789abcdefn)).toEqual([0x89abcdef, 0x01234567])
  })

  it('hashes a string with SHA-256 (of "abc": ba7816bf 8f01cfea ...)', () => {
    expect(keyOf('abc')).toEqual([0xbf1678ba, 0xeacf018f])
  })

  it('refuses seeds that would be rounded or cut', () => {
    for (const seed of [0.5, NaN, Infinity, 2 ** 53, 1n << 64n, -(1n << 63n) - 1n])
      expect(() => keyOf(seed)).toThrow(SeedError)
  })
})
