/** @file Matrix products on the host, for where no engine is at hand and for the small products around one. */
import { MatrixShapeError } from './errors.js'
import { type Matrix, matrix } from './matrix.js'
import { addRows } from './vector.js'

/** A dense row-major matrix of either precision. */
export interface Dense {
  readonly rows: number
  readonly cols: number
  readonly data: Float32Array | Float64Array
}

/** Options of a product. */
export interface ProductOptions {
  /** Whether the first factor is read transposed. Default false. */
  readonly transposeA?: boolean
  /** Whether the second factor is read transposed. Default false. */
  readonly transposeB?: boolean
}

/** The sizes of op(A) op(B): [rows, inner] times [inner, cols]. Throws MatrixShapeError where the inner ones differ. */
export const productSize = (
  name: string,
  a: Dense,
  b: Dense,
  { transposeA = false, transposeB = false }: ProductOptions,
): { readonly rows: number; readonly inner: number; readonly cols: number } => {
  const rows = transposeA ? a.cols : a.rows
  const inner = transposeA ? a.rows : a.cols
  const other = transposeB ? b.cols : b.rows
  const cols = transposeB ? b.rows : b.cols
  if (inner !== other) throw new MatrixShapeError(name, `${rows} x ${inner} times ${other} x ${cols}`)
  return { rows, inner, cols }
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

/**
 * op(A) op(B) in float64, whatever the operands are stored in. a: [m, k] (or [k, m] with transposeA), b: [k, n] (or
 * [n, k] with transposeB); returns [m, n]. Throws MatrixShapeError.
 */
export const multiply = (a: Dense, b: Dense, options: ProductOptions = {}): Matrix => {
  const { rows: m, inner, cols: n } = productSize('multiply', a, b, options)
  const { transposeA = false, transposeB = false } = options
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
        for (let i = 0; i < height; i++) {
          const at = (top + i) * n + left
          addRows(
            out.data.subarray(at, at + width),
            blockA.subarray(i * depth, (i + 1) * depth),
            blockB,
            width,
          )
        }
      }
    }
  }
  return out
}

/** A product op(A) op(B), for instance on an engine; what it returns may be of lower precision than its input. */
export type MatMul = (a: Dense, b: Dense, options?: ProductOptions) => Promise<Dense>

/** `multiply` as a MatMul. */
export const hostMatmul: MatMul = async (a, b, options) => multiply(a, b, options)
