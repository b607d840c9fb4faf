/** @file Stored numbers to values and back: the bulk loops behind reading and writing tensors. */
import {
  allocate,
  type DType,
  DTypeError,
  fromFloat16,
  toFloat16,
  type TypedArray,
  viewBytes,
} from '../tensor/dtype.js'
import { type Shape, sizeOf } from '../tensor/shape.js'
import { castValue, type Value, value } from '../tensor/value.js'
import { CheckpointError } from '../errors.js'
import { type SafetensorsDType, tensorBytes } from './safetensors.js'

/** The dtype in which a stored tensor is held: its own where Weft has it, else the narrowest that holds every value. */
export const valueDType: Readonly<Record<SafetensorsDType, DType>> = {
  BOOL: 'bool',
  U8: 'uint8',
  I8: 'int8',
  F8_E5M2: 'float32',
  F8_E4M3: 'float32',
  I16: 'int32',
  U16: 'int32',
  F16: 'float16',
  BF16: 'bfloat16',
  I32: 'int32',
  U32: 'int64',
  F32: 'float32',
  F64: 'float64',
  I64: 'int64',
  U64: 'int64',
}

const storedDType: Readonly<Partial<Record<DType, SafetensorsDType>>> = {
  bool: 'BOOL',
  uint8: 'U8',
  int8: 'I8',
  float16: 'F16',
  bfloat16: 'BF16',
  int32: 'I32',
  float32: 'F32',
  float64: 'F64',
  int64: 'I64',
}

/**
 * An 8-bit float as a number: `mantissa` bits of fraction, exponent bias `bias` (Micikevicius et al., "FP8 Formats for
 * Deep Learning", 2022). E5M2 follows IEEE 754; E4M3 has no infinity, and only all ones are NaN ("fn").
 */
const fromFloat8 = (bits: number, mantissa: 2 | 3, bias: number): number => {
  const sign = bits & 0x80 ? -1 : 1
  const exponent = (bits & 0x7f) >> mantissa
  const fraction = bits & ((1 << mantissa) - 1)
  if (mantissa === 3 && (bits & 0x7f) === 0x7f) return NaN
  if (mantissa === 2 && exponent === 31) return fraction ? NaN : sign * Infinity
  const significand = fraction / (1 << mantissa)
  return sign * (exponent === 0 ? significand * 2 ** (1 - bias) : (1 + significand) * 2 ** (exponent - bias))
}

const lazy = <T>(make: () => T): (() => T) => {
  let made: T | undefined
  return () => (made ??= make())
}
const float8e4m3 = lazy(() => Float32Array.from({ length: 256 }, (_, bits) => fromFloat8(bits, 3, 7)))
const float8e5m2 = lazy(() => Float32Array.from({ length: 256 }, (_, bits) => fromFloat8(bits, 2, 15)))
const float16 = lazy(() => Float32Array.from({ length: 65536 }, (_, bits) => fromFloat16(bits)))

type Widen = (from: Uint8Array, to: TypedArray, count: number) => void

const byTable =
  (table: () => Float32Array, dtype: 'uint8' | 'float16'): Widen =>
  (from, to, count) => {
    const bits = viewBytes(from, dtype, count)
    const numbers = table()
    for (let i = 0; i < count; i++) to[i] = numbers[bits[i] as number]
  }

/** Where a stored element is narrower than the value's: element i of `to` from element i of `from`, ascending. */
const widen: Partial<Record<SafetensorsDType, Widen>> = {
  F8_E4M3: byTable(float8e4m3, 'uint8'),
  F8_E5M2: byTable(float8e5m2, 'uint8'),
  F16: byTable(float16, 'float16'),
  BF16: (from, to, count) => {
    const bits = viewBytes(from, 'bfloat16', count)
    const words = new Uint32Array(to.buffer, to.byteOffset, count)
    for (let i = 0; i < count; i++) words[i] = (bits[i] as number) << 16
  },
  I16: (from, to, count) => {
    const numbers = new Int16Array(from.buffer, from.byteOffset, count)
    for (let i = 0; i < count; i++) to[i] = numbers[i]
  },
  U16: (from, to, count) => {
    const numbers = new Uint16Array(from.buffer, from.byteOffset, count)
    for (let i = 0; i < count; i++) to[i] = numbers[i]
  },
  U32: (from, to, count) => {
    const numbers = new Uint32Array(from.buffer, from.byteOffset, count)
    for (let i = 0; i < count; i++) (to as BigInt64Array)[i] = BigInt(numbers[i])
  },
}

const bytesOf = (data: TypedArray): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

/** Bit patterns [n] of the float32 `numbers` [n] as bfloat16, to the nearest, ties to even; NaN stays NaN. */
export const float32ToBfloat16 = (numbers: Float32Array): Uint16Array => {
  const words = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length)
  const out = new Uint16Array(numbers.length)
  for (let i = 0; i < words.length; i++) {
    const u = words[i]
    out[i] = (u & 0x7fffffff) > 0x7f800000 ? (u >>> 16) | 0x40 : (u + 0x7fff + ((u >>> 16) & 1)) >>> 16
  }
  return out
}

/** Bit patterns [n] of the float32 `numbers` [n] as float16, to the nearest, ties to even; NaN stays NaN, beyond 65504 is infinite. */
export const float32ToFloat16 = (numbers: Float32Array): Uint16Array => {
  const words = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length)
  const out = new Uint16Array(numbers.length)
  for (let i = 0; i < words.length; i++) {
    const u = words[i]
    const magnitude = u & 0x7fffffff
    // Normal float16 inline; zero, subnormal, infinite and NaN are rare and take the exact function.
    out[i] =
      magnitude >= 0x38800000 && magnitude < 0x477ff000
        ? ((u >>> 16) & 0x8000) | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13)
        : magnitude === 0
          ? (u >>> 16) & 0x8000
          : toFloat16(numbers[i])
  }
  return out
}

/** The value `v` as `dtype`: `castValue` with bulk loops for the pairs that whole checkpoints pass through. */
export const convertValue = (v: Value, dtype: DType): Value => {
  const { data, shape } = v
  if (v.dtype === dtype) return v
  if (v.dtype === 'float32' && dtype === 'bfloat16')
    return value(float32ToBfloat16(data as Float32Array), shape, dtype)
  if (v.dtype === 'float32' && dtype === 'float16')
    return value(float32ToFloat16(data as Float32Array), shape, dtype)
  if (v.dtype === 'float16' || v.dtype === 'bfloat16') {
    const out = new Float32Array(data.length)
    widen[v.dtype === 'float16' ? 'F16' : 'BF16']!(bytesOf(data), out, data.length)
    return convertValue(value(out, shape, 'float32'), dtype)
  }
  return castValue(v, dtype)
}

/**
 * A buffer for a stored tensor that `finish` turns into a value in place: fill `bytes` (its stored bytes), then call
 * `finish`. Narrow floats and integers are read into the end of the value's own memory and widened forwards, so that
 * no second copy exists. `dtype`: the value's; the default is the stored one where Weft has it, float32 for F8, and
 * a wide enough integer for I16, U16, U32, U64. Throws CheckpointError where bytes are no numbers of Weft's.
 */
export const decoder = (
  stored: SafetensorsDType,
  shape: Shape,
  dtype: DType = valueDType[stored],
): { bytes: Uint8Array; finish: () => Value } => {
  const count = sizeOf(shape)
  const native = valueDType[stored]
  const half = stored === 'F16' || stored === 'BF16'
  const held = half && dtype !== native ? 'float32' : native
  const loop = half && held === native ? undefined : widen[stored]
  const data = allocate(held, count)
  const all = bytesOf(data)
  const bytes = loop ? all.subarray(all.length - tensorBytes(stored, shape)) : all
  const finish = (): Value => {
    loop?.(bytes, data, count)
    if (stored === 'BOOL') for (let i = 0; i < count; i++) data[i] = data[i] ? 1 : 0
    if (stored === 'U64' && (data as BigInt64Array).some((x) => x < 0n))
      throw new CheckpointError(
        'OutOfRange',
        'a U64 tensor holds a number beyond 2^63 - 1, which int64 cannot.',
      )
    return convertValue(value(data, shape, held), dtype)
  }
  return { bytes, finish }
}

/** The value of a stored tensor's `bytes` (copied). `dtype`: as `decoder`'s. */
export const decode = (bytes: Uint8Array, stored: SafetensorsDType, shape: Shape, dtype?: DType): Value => {
  const target = decoder(stored, shape, dtype)
  target.bytes.set(bytes)
  return target.finish()
}

/** How a host value is stored: its safetensors dtype and its bytes (not copied). Throws DTypeError for int4. */
export const encode = (v: Value): { dtype: SafetensorsDType; shape: Shape; data: Uint8Array } => {
  const dtype = storedDType[v.dtype]
  if (!dtype)
    throw new DTypeError(`safetensors has no ${v.dtype}.`, 'Store the packed bytes as uint8 instead.')
  return { dtype, shape: v.shape, data: bytesOf(v.data) }
}
