/**
 * @file Products with integer and block-quantised weights, on ONNX Runtime's kernels for them. The packed weights
 * should be bound to the program (`bound`), not given at each run: only then are they kept in the kernel's own
 * layout, a hundred times faster for a row vector. How weights are packed is in quantize.ts.
 */
import { fused, withGradient } from '../control.js'
import { scalar, stack, tensor } from '../create.js'
import { gradients } from '../grad.js'
import { ShapeError, show } from '../shape.js'
import { apply, type Tensor } from '../tensor.js'
import { bnb4Tables, type Bnb4Type } from './quantize.js'

/**
 * Products of uint8 and int8 in exact int32, on every processor. a: [..., n, k] uint8, b: [k, m] int8 -> [..., n, m]
 * int32, of a - aZero and b - bZero. aZero: [] uint8, bZero: [] or [m] int8, default 0. Throws ShapeError.
 */
export const matmulInteger = (
  a: Tensor,
  b: Tensor,
  { aZero, bZero }: { readonly aZero?: Tensor; readonly bZero?: Tensor } = {},
): Tensor => {
  if (a.dtype !== 'uint8' || b.dtype !== 'int8' || b.rank !== 2)
    throw new ShapeError(
      'matmulInteger',
      `${a.dtype} ${show(a.shape)} and ${b.dtype} ${show(b.shape)}: uint8 [..., n, k] and int8 [k, m] expected`,
    )
  const zeros = [aZero ?? scalar(0, 'uint8'), bZero ?? scalar(0, 'int8')]
  if (
    zeros[0].rank !== 0 ||
    (zeros[1].rank !== 0 && !(zeros[1].rank === 1 && zeros[1].shape[0] === b.shape[1]))
  )
    throw new ShapeError(
      'matmulInteger',
      `zero points ${show(zeros[0].shape, zeros[1].shape)} do not fit ${show(b.shape)}`,
    )
  const centred = (t: Tensor, zero: Tensor): Tensor => t.cast('int32').sub(zero.cast('int32'))
  return fused('MatMulInteger', [a, b, ...zeros], [centred(a, zeros[0]).matmul(centred(b, zeros[1]))])[0]
}

/** x in 256 steps between its least and greatest element (0 among them), as ONNX's DynamicQuantizeLinear has it. */
const quantizeDynamic = (x: Tensor): { q: Tensor; scale: Tensor; zero: Tensor } => {
  const low = x.min().minimum(0)
  const high = x.max().maximum(0)
  const range = high.sub(low)
  const scale = range.mul(1 / 255).add(range.equal(0).cast(x.dtype))
  const zero = low.neg().div(scale).round().clip(0, 255)
  return { q: x.div(scale).round().add(zero).clip(0, 255).cast('uint8'), scale, zero: zero.cast('uint8') }
}

/**
 * Product x W by integers: x is rounded to 8 bits at each run, over its whole range. x: [..., n, k] float32, w: [k,
 * m] int8, scale: [m], W = w scale -> [..., n, m]. The gradient in x is that of the product with W itself
 * (straight-through).
 */
export const matmulDynamic = (x: Tensor, w: Tensor, scale: Tensor): Tensor =>
  withGradient(
    (given, weight, scales) => {
      const { q, scale: step, zero } = quantizeDynamic(given)
      return matmulInteger(q, weight, { aZero: zero }).cast(given.dtype).mul(step.mul(scales))
    },
    (g, [given, weight, scales]) => [g.mul(scales).matmul(weight.cast(given.dtype).t())],
  )(x, w, scale)

/** Weights [n, k] in blocks along k: see `quantizeBlocks`. */
export interface BlockWeights {
  /** Codes: [n, ceil(k / blockSize), blockSize bits / 8] uint8, low bits first. */
  readonly blocks: Tensor
  /** Step of each block: [n, ceil(k / blockSize)]. */
  readonly scales: Tensor
  /**
   * Code of zero of each block: [n, ceil(ceil(k / blockSize) bits / 8)] uint8, low bits first. Default 2^(bits - 1).
   */
  readonly zeroPoints?: Tensor
}

/** Format of block-quantised weights. */
export interface BlockFormat {
  /** Bits of a code. Default 4. */
  readonly bits?: 4 | 8
  /** Weights of a block: a power of two, at least 16. Default 32. */
  readonly blockSize?: number
}

/** Bytes as the numbers that they hold, low bits first. [..., bytes] uint8 -> [..., bytes * 8 / bits] floats. */
const unpacked = (bytes: Tensor, bits: 4 | 8, dtype: Tensor['dtype']): Tensor => {
  if (bits === 8) return bytes.cast(dtype)
  const nibbles = stack([bytes.bitAnd(15), bytes.shiftRight(4)], bytes.rank)
  return nibbles.reshape([...bytes.shape.slice(0, -1), -1]).cast(dtype)
}

/** The weights [n, k] that blocks stand for: (q - zero point) scale. */
export const dequantizeBlockWeights = (
  { blocks, scales, zeroPoints }: BlockWeights,
  k: number,
  { bits = 4 }: BlockFormat = {},
): Tensor => {
  const [n, count] = blocks.shape
  const q = unpacked(blocks, bits, scales.dtype)
  const zeros = zeroPoints
    ? unpacked(zeroPoints, bits, scales.dtype).slice(1, 0, count).unsqueeze(2)
    : scalar(2 ** (bits - 1), scales.dtype)
  return q
    .sub(zeros)
    .mul(scales.reshape([n, count, 1]))
    .reshape([n, -1])
    .slice(1, 0, k)
}

const requireBlocks = (
  x: Tensor,
  { blocks, scales, zeroPoints }: BlockWeights,
  bits: 4 | 8,
  size: number,
): void => {
  const count = Math.ceil(x.shape[x.rank - 1] / size)
  const [n] = blocks.shape
  const expected = [
    [n, count, (size * bits) / 8],
    [n, count],
    [n, Math.ceil((count * bits) / 8)],
  ]
  const given = [blocks, scales, zeroPoints]
  if (
    x.rank < 2 ||
    size < 16 ||
    Math.log2(size) % 1 ||
    given.some((t, i) => t && show(t.shape) !== show(expected[i]))
  )
    throw new ShapeError(
      'matmulNBits',
      `x ${show(x.shape)} with blocks, scales${zeroPoints ? ', zero points' : ''} ` +
        `${show(...given.flatMap((t) => (t ? [t.shape] : [])))}: ${show(...expected)} expected for ${bits} bits and ` +
        `blocks of ${size} (a power of two, at least 16)`,
    )
}

/**
 * A product whose frozen weights `packed` the gradient unpacks again, once the cotangent is there: so that unpacked
 * weights are neither kept from the forward pass nor, being constants, computed when the program is compiled and held
 * for good.
 */
const packedProduct = (
  kernel: string,
  inputs: readonly Tensor[],
  body: (inputs: readonly Tensor[]) => Tensor,
  options: Readonly<Record<string, number>>,
): Tensor =>
  fused(kernel, inputs, [body(inputs)], {
    options,
    gradient: ([g], given) => {
      const [x, packed, ...rest] = given
      const late = apply('barrier', [packed, g!], {})[0]
      return gradients([body([x, late, ...rest])], [g!], given)
    },
  })[0]

/**
 * Product x Wᵀ for weights W [n, k] of 4 or 8 bits in blocks (ONNX Runtime's MatMulNBits). x: [..., rows, k] -> [...,
 * rows, n]; differentiable in x and in the scales. Throws ShapeError.
 */
export const matmulNBits = (x: Tensor, weights: BlockWeights, format: BlockFormat = {}): Tensor => {
  const { bits = 4, blockSize = 32 } = format
  requireBlocks(x, weights, bits, blockSize)
  const k = x.shape[x.rank - 1]
  const { blocks, scales, zeroPoints } = weights
  const body = ([t, b, s, z]: readonly Tensor[]): Tensor =>
    t.matmul(dequantizeBlockWeights({ blocks: b, scales: s, zeroPoints: z }, k, format).t())
  const inputs = [x, blocks, scales, ...(zeroPoints ? [zeroPoints] : [])]
  // Level 1 keeps x in float32: unset, WebGPU rounds it to 8 bits.
  const exact = { accuracy_level: 1 }
  return packedProduct('MatMulNBits', inputs, body, {
    K: k,
    N: blocks.shape[0],
    bits,
    block_size: blockSize,
    ...exact,
  })
}

/** Weights [n, k] in 4-bit codes of bitsandbytes, row after row: see `quantizeBnb4`. */
export interface Bnb4Weights {
  /** Codes: [ceil(n k / 2)] uint8, high bits first. */
  readonly packed: Tensor
  /** The greatest magnitude of each block: [ceil(n k / blockSize)]. */
  readonly absmax: Tensor
}

/** Format of 4-bit codes of bitsandbytes. */
export interface Bnb4Format {
  /** Data type of the codes. Default 'nf4'. */
  readonly type?: Bnb4Type
  /** Weights of a block: a power of two, at least 16. Default 64. */
  readonly blockSize?: number
}

/** The weights [n, k] that codes stand for: the table's number times the block's magnitude. */
export const dequantizeBnb4Weights = (
  { packed, absmax }: Bnb4Weights,
  [n, k]: readonly [number, number],
  { type = 'nf4', blockSize = 64 }: Bnb4Format = {},
): Tensor => {
  const table = bnb4Tables[type]
  const pairs = Array.from({ length: 256 }, (_, byte) => [table[byte >> 4], table[byte & 15]]).flat()
  const values = tensor(pairs, [256, 2], absmax.dtype).gather(packed.cast('int32')).reshape([-1])
  const room = absmax.size * blockSize - values.size
  const filled = values
    .slice(0, 0, Math.min(values.size, absmax.size * blockSize))
    .pad([0], [Math.max(room, 0)])
  return filled
    .reshape([-1, blockSize])
    .mul(absmax.unsqueeze(1))
    .reshape([-1])
    .slice(0, 0, n * k)
    .reshape([n, k])
}

/**
 * Product x Wᵀ for weights W [n, k] in NF4 or FP4 (Dettmers et al. 2023; ONNX Runtime's MatMulBnb4). x: [..., rows,
 * k] -> [..., rows, n]; differentiable in x and absmax. Throws ShapeError.
 */
export const matmulBnb4 = (x: Tensor, weights: Bnb4Weights, n: number, format: Bnb4Format = {}): Tensor => {
  const { type = 'nf4', blockSize = 64 } = format
  const k = x.shape[x.rank - 1]
  const { packed, absmax } = weights
  const expected = [[Math.ceil((n * k) / 2)], [Math.ceil((n * k) / blockSize)]]
  if (
    x.rank < 2 ||
    show(packed.shape, absmax.shape) !== show(...expected) ||
    blockSize < 16 ||
    Math.log2(blockSize) % 1
  )
    throw new ShapeError(
      'matmulBnb4',
      `x ${show(x.shape)} with codes and magnitudes ${show(packed.shape, absmax.shape)}: ${show(...expected)} expected ` +
        `for ${n} outputs and blocks of ${blockSize} (a power of two, at least 16)`,
    )
  const body = ([t, p, a]: readonly Tensor[]): Tensor =>
    t.matmul(dequantizeBnb4Weights({ packed: p, absmax: a }, [n, k], format).t())
  const options = { K: k, N: n, block_size: blockSize, quant_type: type === 'nf4' ? 1 : 0 }
  return packedProduct('MatMulBnb4', [x, packed, absmax], body, options)
}
