/** @file Masks of one bit an entry: entry i is bit i % 8, counted from the lowest, of byte i / 8. */
import { type Tensor, tensor } from '../tensor/index.js'

/** Bytes of a mask of `size` entries. */
export const bitmapLength = (size: number): number => Math.ceil(size / 8)

/** The mask of `size` entries in which those at `indices` are set; bits behind the last entry are set too. indices: [n]. */
export const packBits = (indices: Int32Array, size: number): Uint8Array => {
  const bytes = new Uint8Array(bitmapLength(size))
  for (const i of indices) bytes[i >> 3] |= 1 << (i & 7)
  for (let i = size; i < 8 * bytes.length; i++) bytes[i >> 3] |= 1 << (i & 7)
  return bytes
}

/** The mask as zeros and ones. bits: [ceil(rows columns / 8)] uint8 -> [rows, columns] float32. */
export const unpackBits = (bits: Tensor, [rows, columns]: readonly [number, number]): Tensor =>
  bits
    .cast('int32')
    .unsqueeze(1)
    .div(tensor([1, 2, 4, 8, 16, 32, 64, 128], [1, 8], 'int32'))
    .mod(2)
    .reshape([-1])
    .slice(0, 0, rows * columns)
    .reshape([rows, columns])
    .cast('float32')
