/** @file The elementwise kernels in plain TypeScript: what the WebAssembly ones must equal, and their rest. */
import { float32ToBfloat16, float32ToFloat16 } from '../../checkpoint/convert.js'
import { fromFloat16 } from '../../tensor/dtype.js'

const { fround } = Math

const wordsOf = (x: Float32Array): Int32Array => new Int32Array(x.buffer, x.byteOffset, x.length)

let table: Float32Array | undefined

export const widenBfloat16 = (from: Uint16Array, to: Float32Array): void => {
  const words = wordsOf(to)
  for (let i = 0; i < words.length; i++) words[i] = from[i] << 16
}

export const widenFloat16 = (from: Uint16Array, to: Float32Array): void => {
  table ??= Float32Array.from({ length: 65536 }, (_, bits) => fromFloat16(bits))
  for (let i = 0; i < to.length; i++) to[i] = table[from[i]]
}

export const isFinite = (x: Float32Array): boolean => {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i] - x[i]
  return sum === 0
}

export const narrowBfloat16 = (from: Float32Array, to: Uint16Array): void => to.set(float32ToBfloat16(from))
export const narrowFloat16 = (from: Float32Array, to: Uint16Array): void => to.set(float32ToFloat16(from))

export const scaled = (out: Float32Array, x: Float32Array, factor: number): void => {
  for (let i = 0; i < out.length; i++) out[i] = x[i] * factor
}

export const addScaled = (out: Float32Array, x: Float32Array, factor: number): void => {
  for (let i = 0; i < out.length; i++) out[i] += fround(x[i] * factor)
}

export const plus = (out: Float32Array, x: Float32Array): void => {
  for (let i = 0; i < out.length; i++) out[i] += x[i]
}

export const difference = (out: Float32Array, a: Float32Array, b: Float32Array): void => {
  for (let i = 0; i < out.length; i++) out[i] = a[i] - b[i]
}

export const divide = (out: Float32Array, divisor: number): void => {
  for (let i = 0; i < out.length; i++) out[i] /= divisor
}

export const divideEach = (out: Float32Array, divisors: Float32Array): void => {
  for (let i = 0; i < out.length; i++) out[i] /= divisors[i] || 1
}

export const distances = (out: Float32Array, a: Float32Array, b: Float32Array): void => {
  for (let i = 0; i < out.length; i++) out[i] = Math.abs(a[i] - b[i])
}

/** Without branches, which a processor could not predict. All keys are below 2^31, so that differences keep their sign. */
export const keep = (x: Float32Array, low: number, high: number): void => {
  const words = wordsOf(x)
  for (let i = 0; i < words.length; i++) {
    const key = words[i] & 0x7fffffff
    words[i] &= ((low - 1 - key) >> 31) & ((key - high - 1) >> 31)
  }
}

/** By bits and without branches: signs are not predictable. */
export const elect = (
  vector: Float32Array,
  total: Float32Array,
  divisors: Float32Array,
  weight: number,
): void => {
  const words = wordsOf(vector)
  const signs = wordsOf(total)
  const keptWeight = Float32Array.of(weight)
  const kept = wordsOf(keptWeight)
  const weightBits = kept[0]
  for (let i = 0; i < words.length; i++) {
    const agrees = ~((words[i] ^ signs[i]) >> 31)
    const word = words[i] & agrees
    words[i] = word
    kept[0] = weightBits & (-(word & 0x7fffffff) >> 31)
    divisors[i] += keptWeight[0]
  }
}

export const countHigh = (keys: Uint32Array, bins: Uint32Array): void => {
  for (let i = 0; i < keys.length; i++) bins[keys[i] >>> 16]++
}

export const countLow = (keys: Uint32Array, bins: Uint32Array, high: number): void => {
  for (let i = 0; i < keys.length; i++) if (keys[i] >>> 16 === high) bins[keys[i] & 0xffff]++
}

export const countEqual = (keys: Uint32Array, bits: number): number => {
  let count = 0
  for (let i = 0; i < keys.length; i++) if ((keys[i] & 0x7fffffff) === bits) count++
  return count
}
