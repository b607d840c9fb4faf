/**
 * @file The elementwise kernels. Arrays that lie in a kernel memory are computed on there, by WebAssembly SIMD.
 * For any others, and where WebAssembly is not to be had, plain TypeScript gives the same bits (a NaN stays NaN; which
 * of its payloads comes out is up to the machine in both).
 */
import { MemoryError } from '../../errors.js'
import * as plain from './plain.js'
import { type KernelExports, kernelModule } from './wasm.js'

type Numbers = Float32Array | Uint32Array | Uint16Array

/** Elements to a step of every kernel. */
const stride = 8
const pageBytes = 1 << 16
const alignment = 64

let compiled: WebAssembly.Module | null | undefined

/** A new instance of the module, with its own memory. */
const instantiate = (): KernelExports | undefined => {
  if (compiled === undefined) {
    try {
      compiled = new WebAssembly.Module(kernelModule())
    } catch {
      compiled = null // No SIMD, or a policy against WebAssembly.
    }
  }
  return compiled ? (new WebAssembly.Instance(compiled).exports as unknown as KernelExports) : undefined
}

const owners = new WeakMap<ArrayBufferLike, KernelMemory>()

/** Memory that kernels work on, handed out from its beginning. */
export class KernelMemory {
  readonly exports: KernelExports | undefined = instantiate()
  #next = 0
  #buffer = new ArrayBuffer(0)

  /** Begins anew with room for `bytes`: what was handed out before is invalid. Throws MemoryError where there is none. */
  begin(bytes: number): void {
    this.#next = 0
    if (bytes > this.#buffer.byteLength) this.#buffer = this.#grown(bytes)
    owners.set(this.#buffer, this)
  }

  #grown(bytes: number): ArrayBuffer {
    try {
      if (!this.exports) return new ArrayBuffer(bytes)
      const { memory } = this.exports
      memory.grow(Math.max(0, Math.ceil((bytes - memory.buffer.byteLength) / pageBytes)))
      return memory.buffer
    } catch (cause) {
      throw new MemoryError('OutOfMemory', `no ${bytes} bytes of memory for the blocks of a tensor`, {
        cause,
      })
    }
  }

  /** What is beyond the room that was asked for is ordinary memory: slower, not wrong. */
  bytes(count: number): Uint8Array {
    const at = this.#next
    if (at + count > this.#buffer.byteLength) return new Uint8Array(count)
    this.#next = Math.ceil((at + count) / alignment) * alignment
    return new Uint8Array(this.#buffer, at, count)
  }

  floats(count: number): Float32Array {
    const { buffer, byteOffset } = this.bytes(4 * count)
    return new Float32Array(buffer, byteOffset, count)
  }
}

/** `count` numbers to work with, in the memory in which `x` lies; valid as long as `x` is. */
export const floatsBeside = (x: Numbers, count: number): Float32Array =>
  owners.get(x.buffer)?.floats(count) ?? new Float32Array(count)

/** A function that gives numbers to work with, as many as `x` has and in its memory: the same ones at every call. */
export const roomBeside = (): ((x: Float32Array) => Float32Array) => {
  let room: Float32Array = new Float32Array(0)
  return (x) => {
    if (room.length < x.length) room = floatsBeside(x, x.length)
    return room.subarray(0, x.length)
  }
}

/** `count` zeros in the memory in which `x` lies. */
export const wordsBeside = (x: Numbers, count: number): Uint32Array => {
  const { buffer, byteOffset } = floatsBeside(x, count)
  return new Uint32Array(buffer, byteOffset, count).fill(0)
}

/** The kernels, where all arrays lie in one memory of theirs. */
const inMemory = (arrays: readonly Numbers[]): KernelExports | undefined => {
  const [{ buffer }] = arrays
  return arrays.every((x) => x.buffer === buffer) ? owners.get(buffer)?.exports : undefined
}

const wholeSteps = (x: Numbers): number => x.length - (x.length % stride)
const endOf = (x: Numbers): number => x.byteOffset + wholeSteps(x) * x.BYTES_PER_ELEMENT

const floatBits = new Float32Array(1)
const bitsOf = (x: number): number => {
  floatBits[0] = x
  return new Int32Array(floatBits.buffer)[0]
}

/** Runs `simd` on as many elements as make whole steps, where it may, and `rest` from the first one left on. */
const both = (
  arrays: readonly Numbers[],
  simd: (exports: KernelExports, end: number) => void,
  rest: (from: number) => void,
): void => {
  const exports = inMemory(arrays)
  const whole = exports ? wholeSteps(arrays[0]) : 0
  if (whole) simd(exports!, endOf(arrays[0]))
  if (whole < arrays[0].length) rest(whole)
}

/** Widens bfloat16 or float16 numbers `from` into `to`; whether all of them are finite. */
export const widen = (dtype: 'BF16' | 'F16', from: Uint16Array, to: Float32Array): boolean => {
  const name = dtype === 'BF16' ? 'widenBfloat16' : 'widenFloat16'
  let finite = true
  both(
    [from, to],
    (w, end) => void (finite = !w[name](from.byteOffset, to.byteOffset, end)),
    (at) => {
      plain[name](from.subarray(at), to.subarray(at))
      finite &&= plain.isFinite(to.subarray(at))
    },
  )
  return finite
}

/** Whether `x` holds neither NaN nor an infinity. */
export const isFinite = (x: Float32Array): boolean => {
  let finite = true
  both(
    [x],
    (w, end) => void (finite = !w.checkFloat32(x.byteOffset, end)),
    (at) => void (finite &&= plain.isFinite(x.subarray(at))),
  )
  return finite
}

/** Rounds `from` to bfloat16 or float16, to the nearest, ties to even. */
export const narrow = (dtype: 'BF16' | 'F16', from: Float32Array, to: Uint16Array): void => {
  const name = dtype === 'BF16' ? 'narrowBfloat16' : 'narrowFloat16'
  both(
    [from, to],
    (w, end) => w[name](from.byteOffset, to.byteOffset, end),
    (at) => plain[name](from.subarray(at), to.subarray(at)),
  )
}

/** out = factor x. */
export const scaled = (out: Float32Array, x: Float32Array, factor: number): void =>
  both(
    [out, x],
    (w, end) => w.scaled(out.byteOffset, x.byteOffset, end, bitsOf(factor)),
    (at) => plain.scaled(out.subarray(at), x.subarray(at), factor),
  )

/** out = out + factor x, product and sum each rounded to float32. */
export const addScaled = (out: Float32Array, x: Float32Array, factor: number): void =>
  both(
    [out, x],
    (w, end) => w.addScaled(out.byteOffset, x.byteOffset, end, bitsOf(factor)),
    (at) => plain.addScaled(out.subarray(at), x.subarray(at), factor),
  )

/** out = out + x. */
export const plus = (out: Float32Array, x: Float32Array): void =>
  both(
    [out, x],
    (w, end) => w.plus(out.byteOffset, x.byteOffset, end),
    (at) => plain.plus(out.subarray(at), x.subarray(at)),
  )

/** out = a - b. */
export const difference = (out: Float32Array, a: Float32Array, b: Float32Array): void =>
  both(
    [out, a, b],
    (w, end) => w.difference(out.byteOffset, a.byteOffset, b.byteOffset, end),
    (at) => plain.difference(out.subarray(at), a.subarray(at), b.subarray(at)),
  )

/** out = out / divisor. */
export const divide = (out: Float32Array, divisor: number): void =>
  both(
    [out],
    (w, end) => w.divide(out.byteOffset, end, bitsOf(divisor)),
    (at) => plain.divide(out.subarray(at), divisor),
  )

/** out = out / divisors; where a divisor is 0, out stays. */
export const divideEach = (out: Float32Array, divisors: Float32Array): void =>
  both(
    [out, divisors],
    (w, end) => w.divideEach(out.byteOffset, divisors.byteOffset, end),
    (at) => plain.divideEach(out.subarray(at), divisors.subarray(at)),
  )

/** Makes `out` the bits of |a - b|, which are integers of the same order, and gives them. */
export const distances = (out: Float32Array, a: Float32Array, b: Float32Array): Uint32Array => {
  both(
    [out, a, b],
    (w, end) => w.distances(out.byteOffset, a.byteOffset, b.byteOffset, end),
    (at) => plain.distances(out.subarray(at), a.subarray(at), b.subarray(at)),
  )
  return new Uint32Array(out.buffer, out.byteOffset, out.length)
}

/** Zeroes the numbers whose magnitude's bits are not in [low, high]. */
export const keep = (x: Float32Array, low: number, high: number): void =>
  both(
    [x],
    (w, end) => w.keep(x.byteOffset, end, low - 1, high),
    (at) => plain.keep(x.subarray(at), low, high),
  )

/** Zeroes what does not have the sign of `total`, and adds `weight` to the divisors where anything but 0 is left. */
export const elect = (
  vector: Float32Array,
  total: Float32Array,
  divisors: Float32Array,
  weight: number,
): void =>
  both(
    [vector, total, divisors],
    (w, end) => w.elect(vector.byteOffset, total.byteOffset, divisors.byteOffset, end, bitsOf(weight)),
    (at) => plain.elect(vector.subarray(at), total.subarray(at), divisors.subarray(at), weight),
  )

/** Adds the keys to the 65,536 `bins` of their upper 16 bits. */
export const countHigh = (keys: Uint32Array, bins: Uint32Array): void =>
  both(
    [keys, bins],
    (w, end) => w.countHigh(keys.byteOffset, end, bins.byteOffset),
    (at) => plain.countHigh(keys.subarray(at), bins),
  )

/** Adds the keys whose upper 16 bits are `high` to the 65,536 `bins` of their lower ones. */
export const countLow = (keys: Uint32Array, bins: Uint32Array, high: number): void =>
  both(
    [keys, bins],
    (w, end) => w.countLow(keys.byteOffset, end, bins.byteOffset, high),
    (at) => plain.countLow(keys.subarray(at), bins, high),
  )

/** How many of the numbers have a magnitude of these bits. */
export const countEqual = (x: Float32Array | Uint32Array, bits: number): number => {
  const keys = new Uint32Array(x.buffer, x.byteOffset, x.length)
  let count = 0
  both(
    [keys],
    (w, end) => void (count = w.countEqual(keys.byteOffset, end, bits)),
    (at) => void (count += plain.countEqual(keys.subarray(at), bits)),
  )
  return count
}
