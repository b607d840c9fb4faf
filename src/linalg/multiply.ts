/** @file Matrix products on the host, for where no engine is at hand and for the small products around one. */
import { MatrixShapeError } from './errors.js'
import { type Matrix, matrix } from './matrix.js'

/** A dense row-major matrix of either precision. */
export interface Dense {
  readonly rows: number
  readonly cols: number
  readonly data: Float32Array | Float64Array
}

export interface ProductOptions {
  readonly transposeA?: boolean
  readonly transposeB?: boolean
}

/** Block sizes: a block of A (32 KiB) and one of B (256 KiB) stay in the caches of a core. */
const tall = 64
const deep = 64
const wide = 512

/** Copies the block of op(source) at (top, left) to `out`, row-major, as float64. */
const pack = (
  out: Float64Array,
  { data, cols }: Dense,
  transposed: boolean,
  [top, left]: readonly [number, number],
  [height, width]: readonly [number, number],
): void => {
  if (!transposed) {
    for (let i = 0; i < height; i++)
      for (let j = 0, from = (top + i) * cols + left; j < width; j++) out[i * width + j] = data[from + j]
    return
  }
  for (let j = 0; j < width; j++)
    for (let i = 0, from = (left + j) * cols + top; i < height; i++) out[i * width + j] = data[from + i]
}

/** c[from .. from + width) += the row of `a` at `row` times the block `b`, four of its rows at a time. */
const addRow = (
  c: Float64Array,
  from: number,
  a: Float64Array,
  row: number,
  b: Float64Array,
  depth: number,
  width: number,
): void => {
  let k = 0
  for (; k + 3 < depth; k += 4) {
    const [a0, a1, a2, a3] = [a[row + k], a[row + k + 1], a[row + k + 2], a[row + k + 3]]
    const b0 = k * width
    const b1 = b0 + width
    const b2 = b1 + width
    const b3 = b2 + width
    for (let j = 0; j < width; j++)
      c[from + j] += a0 * b[b0 + j] + a1 * b[b1 + j] + a2 * b[b2 + j] + a3 * b[b3 + j]
  }
  for (; k < depth; k++) {
    const factor = a[row + k]
    for (let j = 0, at = k * width; j < width; j++) c[from + j] += factor * b[at + j]
  }
}

/**
 * op(A) op(B) in float64, whatever the operands are stored in. a: [m, k] (or [k, m] with transposeA), b: [k, n] (or
 * [n, k] with transposeB); returns [m, n]. Throws MatrixShapeError.
 */
export const multiply = (
  a: Dense,
  b: Dense,
  { transposeA = false, transposeB = false }: ProductOptions = {},
): Matrix => {
  const [m, inner] = transposeA ? [a.cols, a.rows] : [a.rows, a.cols]
  const [innerB, n] = transposeB ? [b.cols, b.rows] : [b.rows, b.cols]
  if (inner !== innerB) throw new MatrixShapeError('multiply', `${m} x ${inner} times ${innerB} x ${n}`)
  const out = matrix(m, n)
  const blockA = new Float64Array(tall * deep)
  const blockB = new Float64Array(deep * wide)
  for (let left = 0; left < n; left += wide) {
    const width = Math.min(wide, n - left)
    for (let k = 0; k < inner; k += deep) {
      const depth = Math.min(deep, inner - k)
      pack(blockB, b, transposeB, [k, left], [depth, width])
      for (let top = 0; top < m; top += tall) {
        const height = Math.min(tall, m - top)
        pack(blockA, a, transposeA, [top, k], [height, depth])
        for (let i = 0; i < height; i++)
          addRow(out.data, (top + i) * n + left, blockA, i * depth, blockB, depth, width)
      }
    }
  }
  return out
}

/** A product op(A) op(B), for instance on an engine; what it returns may be of lower precision than its input. */
export type MatMul = (a: Dense, b: Dense, options?: ProductOptions) => Promise<Dense>

/** `multiply` as a MatMul. */
export const hostMatmul: MatMul = async (a, b, options) => multiply(a, b, options)
