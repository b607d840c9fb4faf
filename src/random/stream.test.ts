import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fillWords, keyOf, normal, PlaceError, Stream } from './index.js'

const chiSquare = (counts: ArrayLike<number>, expected: number) =>
  Array.from(counts).reduce((s, c) => s + (c - expected) ** 2 / expected, 0)

describe('Stream', () => {
  it('reads the words of the bulk draw in order', () => {
    const stream = new Stream('run 7', { tensor: 3, domain: 4 })
    const words = new Uint32Array(300)
    fillWords(words, keyOf('run 7'), { tensor: 3, domain: 4 })
    expect(Array.from(words, () => stream.uint32())).toEqual([...words])
  })

  it('normal: the ih8 numbers of the bulk draw', () => {
    const stream = new Stream(5)
    const bulk = new Float32Array(100)
    normal(bulk, keyOf(5))
    expect(Array.from(bulk, () => stream.normal())).toEqual([...bulk])
  })

  it('goes on from a saved state with the same numbers, whatever was drawn before', () => {
    const step = fc.constantFrom<(s: Stream) => unknown>(
      (s) => s.uint32(),
      (s) => s.uniform(),
      (s) => s.normal(),
      (s) => s.rademacher(),
      (s) => s.int(1000),
      (s) => s.bytes(7),
      (s) => [...s.permutation(5)],
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.array(step, { maxLength: 60 }), (before, after) => {
        const stream = new Stream(99)
        before.forEach((draw) => draw(stream))
        const resumed = new Stream(99)
        resumed.restore(stream.state)
        expect(after.map((draw) => draw(resumed))).toEqual(after.map((draw) => draw(stream)))
        expect(resumed.state).toBe(stream.state)
      }),
    )
  })

  it('refuses a state that is no position', () => {
    for (const state of [-1, 0.5, NaN, 2 ** 53])
      expect(() => new Stream(1).restore(state)).toThrow(PlaceError)
  })

  it('uniform: in [0, 1) with 53 bits, mean 1/2 and variance 1/12', () => {
    const stream = new Stream(1)
    const n = 100_000
    const x = Array.from({ length: n }, () => stream.uniform())
    expect(x.every((v) => v >= 0 && v < 1)).toBe(true)
    expect(x.some((v) => (v * 2 ** 53) % 2 === 1)).toBe(true)
    const mean = x.reduce((s, v) => s + v, 0) / n
    const variance = x.reduce((s, v) => s + (v - mean) ** 2, 0) / n
    expect(Math.abs(mean - 0.5)).toBeLessThan(4 / Math.sqrt(12 * n))
    expect(Math.abs(variance - 1 / 12)).toBeLessThan(4 * Math.sqrt(1 / 180 / n))
  })

  it('rademacher: 1 and -1 equally often', () => {
    const stream = new Stream(2)
    let sum = 0
    for (let i = 0; i < 10_000; i++) sum += stream.rademacher()
    expect(Math.abs(sum)).toBeLessThan(400)
  })

  it('int: in range, unbiased also where 2^32 is far from a multiple of n, and for n above 2^32', () => {
    const stream = new Stream(3)
    for (const n of [3, 3 * 2 ** 30, 3 * 2 ** 51]) {
      const thirds = [0, 0, 0]
      for (let i = 0; i < 30_000; i++) {
        const x = stream.int(n)
        expect(Number.isInteger(x) && x >= 0 && x < n).toBe(true)
        thirds[Math.floor((x / n) * 3)]++
      }
      expect(chiSquare(thirds, 10_000)).toBeLessThan(13.8)
    }
    expect(stream.int(1)).toBe(0)
  })

  it('int and choice refuse an impossible request', () => {
    for (const n of [0, -1, 1.5, NaN, 2 ** 53]) expect(() => new Stream(1).int(n)).toThrow('bound')
    expect(() => new Stream(1).choice([])).toThrow('nothing to choose')
  })

  it('permutation: every order of four equally often', () => {
    const stream = new Stream(4)
    const counts = new Map<string, number>()
    for (let i = 0; i < 24_000; i++) {
      const order = stream.permutation(4).join('')
      counts.set(order, (counts.get(order) ?? 0) + 1)
    }
    expect(counts.size).toBe(24)
    expect(chiSquare([...counts.values()], 1000)).toBeLessThan(49.7)
  })

  it('shuffle keeps the items; permutation keeps the integers', () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), fc.nat(), (items, seed) => {
        const byValue = (a: number, b: number) => a - b
        expect(new Stream(seed).shuffle([...items]).sort(byValue)).toEqual([...items].sort(byValue))
        const order = new Stream(seed).permutation(items.length)
        expect([...order].sort(byValue)).toEqual(items.map((_, i) => i))
      }),
    )
  })

  it('fork: depends on the name and the parent, not on what was drawn, and a number is not its own text', () => {
    const parent = new Stream(6)
    const first = parent.fork('data').uint32()
    parent.uint32()
    expect(parent.fork('data').uint32()).toBe(first)
    const others = [
      parent.fork('date'),
      parent.fork(1),
      parent.fork('1'),
      parent.fork('data').fork('data'),
      new Stream(7).fork('data'),
      new Stream(6, { domain: 1 }).fork('data'),
      parent,
    ]
    expect(new Set([first, ...others.map((s) => s.uint32())]).size).toBe(others.length + 1)
  })
})
