/**
 * @file Weights rounded and packed on the host, in the layouts of ONNX Runtime's 4- and 8-bit products, and unpacked
 * again.
 */
import { ShapeError } from '../shape.js'
import { type Value, value } from '../value.js'

/** Blocks, scales and zero points as `matmulNBits` takes them. */
export interface QuantizedBlocks {
  readonly blocks: Value
  readonly scales: Value
  readonly zeroPoints?: Value
}

/** Options of `quantizeBlocks`. */
export interface QuantizeBlocksOptions {
  /** Bits of a code. Default 4. */
  readonly bits?: 4 | 8
  /** Weights of a block. Default 32. */
  readonly blockSize?: number
  /** Whether each block has a zero point, for weights that are not centred. Default false. */
  readonly zeroPoints?: boolean
}

const requireSize = (operation: string, length: number, n: number, k: number): void => {
  if (length !== n * k) throw new ShapeError(operation, `${length} numbers do not make [${n}, ${k}]`)
}

/** The number that round to nearest gives, kept within low to high. */
const rounded = (x: number, low: number, high: number): number => Math.min(high, Math.max(low, Math.round(x)))

/** Step and zero point of a block: symmetric ones give the greatest magnitude the lowest code, where there is room. */
const stepOf = (block: Float32Array, levels: number, symmetric: boolean): { scale: number; zero: number } => {
  if (symmetric) {
    const top = block.reduce((m, x) => (Math.abs(x) > Math.abs(m) ? x : m), 0)
    return { scale: Math.fround(-top / (levels / 2)), zero: levels / 2 }
  }
  const low = block.reduce((m, x) => Math.min(m, x), 0)
  const high = block.reduce((m, x) => Math.max(m, x), 0)
  const scale = Math.fround((high - low) / (levels - 1))
  return { scale, zero: scale ? rounded(-low / scale, 0, levels - 1) : 0 }
}

/** Writes code number `i` into bytes of `bits`-bit codes, low bits first. */
const put = (bytes: Uint8Array, i: number, code: number, bits: 4 | 8): void => {
  if (bits === 8) bytes[i] = code
  else bytes[i >> 1] |= code << (4 * (i & 1))
}

const get = (bytes: ArrayLike<number>, i: number, bits: 4 | 8): number =>
  bits === 8 ? bytes[i] : (bytes[i >> 1] >> (4 * (i & 1))) & 15

/**
 * Weights [n, k], row-major, rounded to nearest in blocks of `blockSize` along k. blocks: [n, count, blockSize bits /
 * 8] uint8, scales: [n, count] float32, zeroPoints: [n, ceil(count bits / 8)] uint8, count = ceil(k / blockSize).
 * Throws ShapeError.
 */
export const quantizeBlocks = (
  weights: Float32Array,
  [n, k]: readonly [number, number],
  { bits = 4, blockSize = 32, zeroPoints = false }: QuantizeBlocksOptions = {},
): QuantizedBlocks => {
  requireSize('quantizeBlocks', weights.length, n, k)
  const count = Math.ceil(k / blockSize)
  const blobBytes = (blockSize * bits) / 8
  const zeroBytes = Math.ceil((count * bits) / 8)
  const blocks = new Uint8Array(n * count * blobBytes)
  const scales = new Float32Array(n * count)
  const zeros = new Uint8Array(n * zeroBytes)
  for (let b = 0; b < n * count; b++) {
    const row = Math.floor(b / count)
    const column = b % count
    const start = row * k + column * blockSize
    const block = weights.subarray(start, Math.min(start + blockSize, (row + 1) * k))
    const { scale, zero } = stepOf(block, 2 ** bits, !zeroPoints)
    scales[b] = scale
    put(zeros.subarray(row * zeroBytes), column, zero, bits)
    const blob = blocks.subarray(b * blobBytes, (b + 1) * blobBytes)
    for (let i = 0; i < blockSize; i++) {
      const q = i < block.length && scale ? block[i] / scale + zero : zero
      put(blob, i, rounded(q, 0, 2 ** bits - 1), bits)
    }
  }
  return {
    blocks: value(blocks, [n, count, blobBytes], 'uint8'),
    scales: value(scales, [n, count], 'float32'),
    zeroPoints: zeroPoints ? value(zeros, [n, zeroBytes], 'uint8') : undefined,
  }
}

/** The weights [n, k] that `quantizeBlocks` stands for. */
export const dequantizeBlocks = (
  { blocks, scales, zeroPoints }: QuantizedBlocks,
  [n, k]: readonly [number, number],
  { bits = 4, blockSize = 32 }: QuantizeBlocksOptions = {},
): Float32Array => {
  const count = Math.ceil(k / blockSize)
  const codes = blocks.data as Uint8Array
  const zeros = zeroPoints?.data as Uint8Array | undefined
  const zeroCodes = (Math.ceil((count * bits) / 8) * 8) / bits
  return Float32Array.from({ length: n * k }, (_, i) => {
    const row = Math.floor(i / k)
    const column = i % k
    const b = row * count + Math.floor(column / blockSize)
    const zero = zeros ? get(zeros, row * zeroCodes + Math.floor(column / blockSize), bits) : 2 ** (bits - 1)
    return (get(codes, b * blockSize + (column % blockSize), bits) - zero) * Number(scales.data[b])
  })
}

/** 4-bit data types of bitsandbytes: see `bnb4Tables`. */
export type Bnb4Type = 'nf4' | 'fp4'

/**
 * Numbers that the sixteen codes stand for, in units of the block's greatest magnitude. NF4: quantiles of the normal
 * distribution (Dettmers et al. 2023, appendix E). FP4: sign, two bits of exponent, one of mantissa.
 */
export const bnb4Tables: Readonly<Record<Bnb4Type, readonly number[]>> = {
  nf4: [
    -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
  ],
  fp4: [
    0,
    1 / 192,
    2 / 3,
    1,
    1 / 3,
    1 / 2,
    1 / 6,
    1 / 4,
    -0,
    -1 / 192,
    -2 / 3,
    -1,
    -1 / 3,
    -1 / 2,
    -1 / 6,
    -1 / 4,
  ],
}

/** Codes and magnitudes as `matmulBnb4` takes them. */
export interface QuantizedBnb4 {
  readonly packed: Value
  readonly absmax: Value
}

/** Options of `quantizeBnb4`. */
export interface QuantizeBnb4Options {
  /** Data type of the codes. Default 'nf4'. */
  readonly type?: Bnb4Type
  /** Weights of a block. Default 64. */
  readonly blockSize?: number
}

const nearestCode = (x: number, table: readonly number[]): number => {
  let best = 0
  for (let code = 1; code < 16; code++) if (Math.abs(x - table[code]) < Math.abs(x - table[best])) best = code
  return best
}

/**
 * Weights [n, k] as the nearest of sixteen numbers a block of `blockSize` consecutive weights (blocks may span rows),
 * two codes a byte, high bits first. packed: [ceil(n k / 2)] uint8, absmax: [ceil(n k / blockSize)] float32. Throws
 * ShapeError.
 */
export const quantizeBnb4 = (
  weights: Float32Array,
  [n, k]: readonly [number, number],
  { type = 'nf4', blockSize = 64 }: QuantizeBnb4Options = {},
): QuantizedBnb4 => {
  requireSize('quantizeBnb4', weights.length, n, k)
  const packed = new Uint8Array(Math.ceil(weights.length / 2))
  const absmax = new Float32Array(Math.ceil(weights.length / blockSize))
  for (let b = 0; b < absmax.length; b++) {
    const block = weights.subarray(b * blockSize, (b + 1) * blockSize)
    const top = block.reduce((m, x) => Math.max(m, Math.abs(x)), 0)
    absmax[b] = top
    for (let i = 0; i < block.length; i++) {
      const at = b * blockSize + i
      packed[at >> 1] |= nearestCode(top ? block[i] / top : 0, bnb4Tables[type]) << (at & 1 ? 0 : 4)
    }
  }
  return {
    packed: value(packed, [packed.length], 'uint8'),
    absmax: value(absmax, [absmax.length], 'float32'),
  }
}

/** The weights [n, k] that `quantizeBnb4` stands for. */
export const dequantizeBnb4 = (
  { packed, absmax }: QuantizedBnb4,
  [n, k]: readonly [number, number],
  { type = 'nf4', blockSize = 64 }: QuantizeBnb4Options = {},
): Float32Array =>
  Float32Array.from({ length: n * k }, (_, i) => {
    const code = (Number(packed.data[i >> 1]) >> (i & 1 ? 0 : 4)) & 15
    return bnb4Tables[type][code] * Number(absmax.data[Math.floor(i / blockSize)])
  })
