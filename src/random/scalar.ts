/**
 * @file The bulk kernels in plain TypeScript: the reference for the WebAssembly ones, and what runs where those
 * cannot.
 */
import { type Block, type Key, philoxInto } from './philox.js'

/** One pass over consecutive blocks whose counters differ in the low word alone and do not wrap it. */
export interface Run {
  /** Counter of the first block. */
  readonly counter: Readonly<Block>
  readonly key: Key
}

/** What a bulk kernel set can do; every set gives the same bits. */
export interface Kernels {
  /** Four words a block. `out.length` is a multiple of 4. */
  words(out: Uint32Array, run: Run): void
  /** One standard normal a block: a scaled sum of eight 16-bit uniforms. */
  ih8(out: Float32Array, run: Run): void
  /** One standard normal a block: a scaled count of its 128 bits. */
  pop128(out: Float32Array, run: Run): void
}

/** float32 1/sqrt(8 (2^32 - 1) / 12): the sum of eight 16-bit halves times this has variance 1. */
export const ih8Scale: number = Math.fround(1.868812433e-5)
/** The mean of that sum: 8 (2^16 - 1) / 2. */
export const ih8Mean = 262140
/** float32 1/sqrt(32): the number of ones among 128 bits times this has variance 1. */
export const pop128Scale: number = Math.fround(Math.SQRT1_2 / 4)
export const pop128Mean = 64

/** The eight 16-bit halves of four words, summed and centred: an exact integer in [-262140, 262140]. */
export const ih8Integer = (a: number, b: number, c: number, d: number): number =>
  (a & 0xffff) +
  (a >>> 16) +
  (b & 0xffff) +
  (b >>> 16) +
  (c & 0xffff) +
  (c >>> 16) +
  (d & 0xffff) +
  (d >>> 16) -
  ih8Mean

const ones = (word: number): number => {
  let x = word - ((word >>> 1) & 0x55555555)
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333)
  return Math.imul((x + (x >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}

/** The ones among the bits of four words, less their mean: an integer in [-64, 64]. */
export const pop128Integer = (a: number, b: number, c: number, d: number): number =>
  ones(a) + ones(b) + ones(c) + ones(d) - pop128Mean

const words = (out: Uint32Array, { counter: [c0, c1, c2, c3], key }: Run): void => {
  for (let i = 0; i < out.length; i += 4) philoxInto(out, i, [(c0 + i / 4) >>> 0, c1, c2, c3], key)
}

/** Blocks drawn at once by the samplers. */
const batch = 256

const sampler =
  (integer: (a: number, b: number, c: number, d: number) => number, scale: number): Kernels['ih8'] =>
  (out, { counter: [c0, ...rest], key }) => {
    const drawn = new Uint32Array(4 * Math.min(batch, out.length))
    for (let at = 0; at < out.length; at += batch) {
      words(drawn, { counter: [c0 + at, ...rest], key })
      const end = Math.min(at + batch, out.length)
      for (let i = at, w = 0; i < end; i++, w += 4)
        out[i] = integer(drawn[w], drawn[w + 1], drawn[w + 2], drawn[w + 3]) * scale
    }
  }

export const scalar: Kernels = {
  words,
  ih8: sampler(ih8Integer, ih8Scale),
  pop128: sampler(pop128Integer, pop128Scale),
}
