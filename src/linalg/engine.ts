/** @file Matrix products on the engine: float32, on whatever device a program runs on. */
import { compile, type CompileOptions, type Spec, type Tensor, value } from '../tensor/index.js'
import { matrix, scaled } from './matrix.js'
import type { Dense, MatMul } from './multiply.js'

/** A matrix in float32 and the power of two it must be multiplied by, so that nothing in float64 is out of range. */
const inFloat32 = ({ rows, cols, data }: Dense): { data: Float32Array; scale: number } => {
  if (data instanceof Float32Array) return { data, scale: 1 }
  const { data: near, scale } = scaled('engineMatmul', matrix(rows, cols, data))
  return { data: new Float32Array(near), scale }
}

const spec = ({ rows, cols }: Dense): Spec => ({ shape: [rows, cols], dtype: 'float32' })
const flip = (x: Tensor, transposed: boolean): Tensor => (transposed ? x.t() : x)

/**
 * Products as compiled programs, for `randomizedSvd`. Errors are those of float32 sums. Throws what `compile` throws,
 * and NotFiniteError for a float64 operand.
 */
export const engineMatmul =
  (options: CompileOptions = {}): MatMul =>
  async (a, b, { transposeA = false, transposeB = false } = {}) => {
    const program = await compile(
      ({ x, y }) => ({ product: flip(x, transposeA).matmul(flip(y, transposeB)) }),
      { x: spec(a), y: spec(b) },
      options,
    )
    const [x, y] = [inFloat32(a), inFloat32(b)]
    const { product } = await program.run({
      x: value(x.data, [a.rows, a.cols], 'float32'),
      y: value(y.data, [b.rows, b.cols], 'float32'),
    })
    const [rows, cols] = product.shape
    const data = (await product.read()) as Float32Array
    const scale = x.scale * y.scale
    return { rows, cols, data: scale === 1 ? data : Float64Array.from(data, (v) => v * scale) }
  }
