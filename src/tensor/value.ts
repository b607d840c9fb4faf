/** @file Concrete tensors: the numbers that go into a compiled program and come out of it. */
import {
  allocate,
  arrayLength,
  type DType,
  DTypeError,
  fromBfloat16,
  fromFloat16,
  isFloat,
  toBfloat16,
  toFloat16,
  type TypedArray,
} from './dtype.js'
import { type Shape, ShapeError, sizeOf } from './shape.js'
import { leaves } from './tree.js'

/**
 * A concrete tensor. On CPU and wasm its numbers are in `data`; a value that stays on a GPU throws there, and `read`
 * brings it to the host.
 */
export interface Value {
  readonly dtype: DType
  readonly shape: Shape
  /** Row-major elements. float16 and bfloat16 as bit patterns, bool as 0 and 1, int64 as bigint, int4 two a byte. */
  readonly data: TypedArray
  read(): Promise<TypedArray>
  /** Frees the memory of a device that holds the value, which must not be used again: see `dispose`. */
  dispose?(): void
}

class HostValue implements Value {
  constructor(
    readonly dtype: DType,
    readonly shape: Shape,
    readonly data: TypedArray,
  ) {
    if (data.length !== arrayLength(dtype, sizeOf(shape)))
      throw new ShapeError('value', `${data.length} elements do not fill shape [${shape}] of ${dtype}`)
  }
  async read(): Promise<TypedArray> {
    return this.data
  }
}

/**
 * Frees what the values of a tree hold on a GPU, now rather than when they are collected, which may be late: a page's
 * collector does not see the GPU's memory fill. Values on the host stay as they are.
 */
export const dispose = (tree: unknown): void => {
  for (const { leaf } of leaves<Value>(tree)) leaf.dispose?.()
}

/** The value over `data`: [size of `shape`], not copied. Throws ShapeError when the length does not fill the shape. */
export const value = (data: TypedArray, shape: Shape, dtype: DType): Value =>
  new HostValue(dtype, shape, data)

const convert = (dtype: DType, x: number): number =>
  dtype === 'bfloat16'
    ? toBfloat16(x)
    : dtype === 'float16'
      ? toFloat16(x)
      : dtype === 'bool'
        ? x
          ? 1
          : 0
        : x

/**
 * A value of `shape` filled from `numbers`: [size of `shape`], row-major, rounded to `dtype`. Throws ShapeError when
 * the length does not fill the shape, DTypeError for int4.
 */
export const valueOf = (numbers: ArrayLike<number>, shape: Shape, dtype: DType = 'float32'): Value => {
  if (dtype === 'int4') throw new DTypeError('int4 values are made by packing: see packInt4')
  const data = allocate(dtype, numbers.length)
  if (data instanceof BigInt64Array) for (let i = 0; i < numbers.length; i++) data[i] = BigInt(numbers[i])
  else for (let i = 0; i < numbers.length; i++) data[i] = convert(dtype, numbers[i])
  return value(data, shape, dtype)
}

/** A value of zeros. */
export const zerosValue = (shape: Shape, dtype: DType = 'float32'): Value =>
  value(allocate(dtype, sizeOf(shape)), shape, dtype)

/** The elements of a value on the host as numbers (float64), whatever its dtype. */
export const toNumbers = (v: Value): Float64Array => {
  const n = sizeOf(v.shape)
  const out = new Float64Array(n)
  if (v.dtype === 'int4') {
    for (let i = 0; i < n; i++) {
      const nibble = (Number(v.data[i >> 1]) >> ((i & 1) * 4)) & 15
      out[i] = nibble > 7 ? nibble - 16 : nibble
    }
    return out
  }
  const read = v.dtype === 'bfloat16' ? fromBfloat16 : v.dtype === 'float16' ? fromFloat16 : Number
  for (let i = 0; i < n; i++) out[i] = read(v.data[i] as number)
  return out
}

/** bfloat16 is the upper half of float32. */
const widenBfloat16 = (data: TypedArray): Float32Array =>
  new Float32Array(Uint32Array.from(data as Uint16Array, (b) => b << 16).buffer)

/** The value rounded to another dtype (nearest even for floats, truncated for integers). The same object when equal. */
export const castValue = (v: Value, dtype: DType): Value => {
  if (v.dtype === dtype) return v
  if (v.dtype === 'bfloat16' && dtype === 'float32') return value(widenBfloat16(v.data), v.shape, dtype)
  const numbers = toNumbers(v)
  return valueOf(isFloat(dtype) || !isFloat(v.dtype) ? numbers : numbers.map(Math.trunc), v.shape, dtype)
}

/** Signed 4-bit integers (-8 to 7), numbers: [size of `shape`], packed two a byte, low nibble first. */
export const packInt4 = (numbers: ArrayLike<number>, shape: Shape): Value => {
  const data = allocate('int4', numbers.length) as Uint8Array
  for (let i = 0; i < numbers.length; i++) data[i >> 1] |= (numbers[i] & 15) << ((i & 1) * 4)
  return value(data, shape, 'int4')
}
