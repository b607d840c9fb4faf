/** @file The element types of tensors, and the JavaScript arrays that hold them. */
import { WeftError } from '../errors.js'

/** Types that operations compute in. */
export type ComputeDType = 'float32' | 'float64' | 'int32' | 'int64' | 'bool'
/**
 * Types that are only stored: a `cast` leads from or to a compute type. int4 packs two values a byte, low nibble
 * first.
 */
export type StorageDType = 'float16' | 'bfloat16' | 'int8' | 'uint8' | 'int4'
/** Types of a tensor's elements. */
export type DType = ComputeDType | StorageDType

/** Arrays that hold a tensor's elements. */
export type TypedArray =
  Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array | Int8Array | Uint16Array

const arrays = {
  float32: Float32Array,
  float64: Float64Array,
  int32: Int32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int4: Uint8Array,
} as const

const bits: Record<DType, number> = {
  float32: 32,
  float64: 64,
  int32: 32,
  int64: 64,
  bool: 8,
  float16: 16,
  bfloat16: 16,
  int8: 8,
  uint8: 8,
  int4: 4,
}

/** A dtype that an operation does not take. */
export class DTypeError extends WeftError {
  constructor(message: string, hint?: string) {
    super('DTypeError', message, { hint })
  }
}

/** Whether `dtype` is a floating-point type. */
export const isFloat = (dtype: DType): boolean =>
  dtype === 'float32' || dtype === 'float64' || dtype === 'float16' || dtype === 'bfloat16'

/** Bytes that `count` elements of `dtype` take. */
export const byteLength = (dtype: DType, count: number): number => Math.ceil((bits[dtype] * count) / 8)

/** How many elements of the JavaScript array `count` elements of `dtype` take (half as many for int4, rounded up). */
export const arrayLength = (dtype: DType, count: number): number =>
  dtype === 'int4' ? Math.ceil(count / 2) : count

/** A zeroed array for `count` elements of `dtype`. float16 and bfloat16 are held as their bit patterns. */
export const allocate = (dtype: DType, count: number): TypedArray =>
  new arrays[dtype](arrayLength(dtype, count))

/** The bytes from `offset` on, seen as `count` elements of `dtype`; copied only where alignment demands it. */
export const viewBytes = (bytes: Uint8Array, dtype: DType, count: number): TypedArray => {
  const array = arrays[dtype]
  // Not bytes.slice(): on a Node Buffer that is a view, and stays where it was.
  const aligned = bytes.byteOffset % array.BYTES_PER_ELEMENT === 0 ? bytes : Uint8Array.from(bytes)
  return new array(aligned.buffer as ArrayBuffer, aligned.byteOffset, arrayLength(dtype, count))
}

const f32 = new Float32Array(1)
const u32 = new Uint32Array(f32.buffer)

/** The float32 `x` rounded to the nearest bfloat16 (ties to even), as its bit pattern. NaN stays NaN. */
export const toBfloat16 = (x: number): number => {
  f32[0] = x
  const u = u32[0]
  if ((u & 0x7fffffff) > 0x7f800000) return (u >>> 16) | 0x40
  return ((u + 0x7fff + ((u >>> 16) & 1)) >>> 16) & 0xffff
}

/** The number of a bfloat16 bit pattern. */
export const fromBfloat16 = (bitsOf: number): number => {
  u32[0] = (bitsOf << 16) >>> 0
  return f32[0]
}

/** The float32 `x` rounded to the nearest float16 (ties to even), as its bit pattern. */
export const toFloat16 = (x: number): number => {
  f32[0] = x
  const u = u32[0]
  const sign = (u >>> 16) & 0x8000
  const magnitude = u & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00
  if (magnitude >= 0x477ff000) return sign | 0x7c00
  if (magnitude < 0x38800000) {
    // Subnormal: the value times 2^24 is the mantissa, and rounding to an integer is the rounding to even we need.
    const scaled = Math.abs(f32[0]) * 16777216
    const floor = Math.floor(scaled)
    const rest = scaled - floor
    return sign | (rest > 0.5 || (rest === 0.5 && floor & 1) ? floor + 1 : floor)
  }
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
}

/** The number of a float16 bit pattern. */
export const fromFloat16 = (bitsOf: number): number => {
  const sign = bitsOf & 0x8000 ? -1 : 1
  const exponent = (bitsOf >>> 10) & 31
  const mantissa = bitsOf & 1023
  if (exponent === 0) return sign * mantissa * 2 ** -24
  if (exponent === 31) return mantissa ? NaN : sign * Infinity
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15)
}
