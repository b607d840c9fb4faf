/** @file The WebAssembly kernels give the bits that the plain ones give. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { keyOf, normal } from '../../random/index.js'
import * as kernels from './index.js'

const special = [
  ...[0, 0x80000000, 1, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0xff7fffff, 0x3f800000, 0xbf800000],
  ...[0x7f800000, 0xff800000, 0x7fc00000, 0xffc00001, 0x7f800001, 0x7fffffff],
  // Where float16 changes its kind, and ties of both narrow formats.
  ...[0x38800000, 0x387fffff, 0x33000000, 0x33000001, 0x32ffffff, 0x33c00000, 0x477fefff, 0x477ff000],
  ...[0x3f808000, 0x3f818000, 0x3f807fff, 0x3f808001, 0x3f801000, 0x3f803000, 0x3f800fff, 0x7f7f8000],
]

const kinds = fc.record({ seed: fc.nat(), count: fc.nat({ max: 70 }), ordinary: fc.boolean() })

/** float32 numbers: ordinary ones, with any bits or special ones among them unless `ordinary`. */
const numbers = (
  { seed, count, ordinary }: { seed: number; count: number; ordinary: boolean },
  which: number,
) => {
  const out = new Float32Array(count)
  normal(out, keyOf(`${seed} ${which}`))
  if (ordinary) return out
  const bits = new Uint32Array(out.buffer)
  const draws = bits.map((b, i) => Math.imul(b ^ (i + 1), 0x9e3779b1) >>> 0)
  draws.forEach((draw, i) => {
    if (draw % 3 === 0) bits[i] = special[(draw >>> 8) % special.length]
    else if (draw % 3 === 1) bits[i] = Math.imul(draw, 0x85ebca6b)
  })
  return out
}

/** Bits, with every NaN the same: which payload comes out is up to the machine. */
const bits = (x: Float32Array): Uint32Array => {
  const out = new Uint32Array(x.slice().buffer)
  x.forEach((n, i) => Number.isNaN(n) && (out[i] = 0x7fc00000))
  return out
}

const memory = new kernels.KernelMemory()

const magnitudes = (x: Float32Array): Uint32Array => new Uint32Array(x.map(Math.abs).buffer)

type Memory = (x: Float32Array) => Float32Array

/** Runs `f` on copies in kernel memory, which begin at any element, and on ordinary ones. */
const compare = (f: (copy: Memory) => unknown): void => {
  memory.begin(4 << 20)
  const inside: Memory = (x) => {
    const copy = memory
      .floats(x.length + 3)
      .subarray(x.length % 4 && 1)
      .subarray(0, x.length)
    copy.set(x)
    return copy
  }
  expect(f(inside)).toEqual(f((x) => x.slice()))
}

const property = (name: string, f: (copy: Memory, arrays: Float32Array[], factor: number) => unknown): void =>
  it(name, () =>
    fc.assert(
      fc.property(kinds, fc.float({ noNaN: true }), (given, factor) =>
        compare((copy) =>
          f(
            copy,
            [0, 1, 2].map((i) => numbers(given, i)),
            factor,
          ),
        ),
      ),
      { numRuns: 200 },
    ),
  )

describe('in kernel memory and out of it', () => {
  it('there is one', () => expect(memory.exports).toBeDefined())

  property('scaled', (copy, [a, b], w) => {
    const out = copy(a)
    kernels.scaled(out, copy(b), w)
    return bits(out)
  })
  property('addScaled', (copy, [a, b], w) => {
    const out = copy(a)
    kernels.addScaled(out, copy(b), w)
    return bits(out)
  })
  property('plus', (copy, [a, b]) => {
    const out = copy(a)
    kernels.plus(out, copy(b))
    return bits(out)
  })
  property('difference', (copy, [a, b, c]) => {
    const out = copy(a)
    kernels.difference(out, copy(b), copy(c))
    return bits(out)
  })
  property('divide', (copy, [a], d) => {
    const out = copy(a)
    kernels.divide(out, d)
    return bits(out)
  })
  property('divideEach', (copy, [a, b]) => {
    const out = copy(a)
    kernels.divideEach(out, copy(b))
    return bits(out)
  })
  property('distances', (copy, [a, b, c]) => {
    const out = copy(a)
    kernels.distances(out, copy(b), copy(c))
    return bits(out)
  })
  property('keep', (copy, [a, b]) => {
    const [x, y] = [...magnitudes(b)].sort((p, q) => p - q)
    const out = copy(a)
    kernels.keep(out, x ?? 0, y ?? 0x7fffffff)
    return bits(out)
  })
  property('elect', (copy, [a, b, c], w) => {
    const [vector, divisors] = [copy(a), copy(c)]
    kernels.elect(vector, copy(b), divisors, w)
    return [bits(vector), bits(divisors)]
  })
  property('counts', (copy, [a]) => {
    const high = copy(new Float32Array(65536))
    const low = copy(new Float32Array(65536))
    const [bins, lowBins] = [high, low].map((x) => new Uint32Array(x.buffer, x.byteOffset, x.length))
    const own = copy(a)
    const keys = new Uint32Array(own.buffer, own.byteOffset, own.length)
    kernels.countHigh(keys, bins)
    kernels.countLow(keys, lowBins, (keys[0] ?? 0) >>> 16)
    const found = (x: Uint32Array): number[][] => {
      const pairs: number[][] = []
      for (let i = 0; i < x.length; i++) if (x[i]) pairs.push([i, x[i]])
      return pairs
    }
    return [found(bins), found(lowBins), kernels.countEqual(own, magnitudes(a)[1] ?? 0)]
  })
  property('isFinite', (copy, [a]) => kernels.isFinite(copy(a)))
  for (const dtype of ['BF16', 'F16'] as const) {
    property(`narrow to ${dtype}`, (copy, [a, b]) => {
      const room = copy(b)
      const out = new Uint16Array(room.buffer, room.byteOffset, room.length)
      kernels.narrow(dtype, copy(a), out)
      return out.slice()
    })
    it(`widen every ${dtype}`, () =>
      compare((copy) => {
        const from = copy(new Float32Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer))
        const out = copy(new Float32Array(65536))
        const finite = kernels.widen(dtype, new Uint16Array(from.buffer, from.byteOffset, 65536), out)
        return [bits(out), finite]
      }))
    property(`widen ${dtype}: whether all are finite`, (copy, [a]) => {
      const from = copy(a)
      return kernels.widen(
        dtype,
        new Uint16Array(from.buffer, from.byteOffset, from.length),
        copy(new Float32Array(from.length)),
      )
    })
  }
})
