/**
 * @file Matrix products on the engine, in float32 on whatever device a program runs on, or in float64 on the
 * processor.
 */
import { hostDevice } from '../runtime/index.js'
import { compile, type CompileOptions, type Spec, type Tensor, value } from '../tensor/index.js'
import { checkFinite, matrix, scaled } from './matrix.js'
import { type Dense, hostMatmul, type MatMul, productSize } from './multiply.js'

/** Options of `compile`, and the precision of the products. */
export interface EngineMatmulOptions extends CompileOptions {
  /**
   * Precision of the products. Default 'float32'. In 'float64' they run on the processor unless `device` says
   * otherwise: WebGPU has no such numbers.
   */
  readonly precision?: 'float32' | 'float64'
}

type Precision = NonNullable<EngineMatmulOptions['precision']>

/** A matrix in the precision of a product, and the power of two by which the product must be multiplied for it. */
interface Operand {
  readonly data: Float32Array | Float64Array
  readonly scale: number
}

/** Magnitudes whose products float32 holds, sums of them included. */
const comfortable = { least: 1e-12, greatest: 1e12 }

const inFloat32 = ({ rows, cols, data }: Dense): Operand => {
  if (data instanceof Float32Array) return { data, scale: 1 }
  const largest = checkFinite('engineMatmul', { cols, data })
  if (largest === 0 || (largest >= comfortable.least && largest <= comfortable.greatest))
    return { data: new Float32Array(data), scale: 1 }
  const { data: near, scale } = scaled('engineMatmul', matrix(rows, cols, data))
  return { data: new Float32Array(near), scale }
}

const inFloat64 = ({ data }: Dense): Operand => ({
  data: data instanceof Float64Array ? data : new Float64Array(data),
  scale: 1,
})

const specOf = ({ rows, cols }: Dense, dtype: Precision): Spec => ({ shape: [rows, cols], dtype })
const flip = (x: Tensor, transposed: boolean): Tensor => (transposed ? x.t() : x)

const rescaled = (data: Operand['data'], scale: number): Operand['data'] => {
  if (scale === 1) return data
  const out = new Float64Array(data)
  for (let i = 0; i < out.length; i++) out[i] *= scale
  return out
}

/**
 * Products op(A) op(B) as compiled programs: a: [m, k] (or [k, m]), b: [k, n] (or [n, k]) -> [m, n]. Errors are those
 * of sums in the precision asked for. Throws MatrixShapeError, what `compile` throws, and in float32 NotFiniteError
 * for a float64 operand.
 */
export const engineMatmul =
  ({ precision = 'float32', ...options }: EngineMatmulOptions = {}): MatMul =>
  async (a, b, { transposeA = false, transposeB = false } = {}) => {
    productSize('engineMatmul', a, b, { transposeA, transposeB })
    const program = await compile(
      ({ x, y }) => ({ product: flip(x, transposeA).matmul(flip(y, transposeB)) }),
      { x: specOf(a, precision), y: specOf(b, precision) },
      { ...(precision === 'float64' ? { device: hostDevice } : {}), ...options },
    )
    const convert = precision === 'float64' ? inFloat64 : inFloat32
    const left = convert(a)
    const right = convert(b)
    const { product } = await program.run({
      x: value(left.data, [a.rows, a.cols], precision),
      y: value(right.data, [b.rows, b.cols], precision),
    })
    const [rows, cols] = product.shape
    const data = (await product.read()) as Operand['data']
    return { rows, cols, data: rescaled(data, left.scale * right.scale) }
  }

/** Products of fewer multiplications than this are done on the host before a program is compiled for them. */
const worthCompiling = 2 ** 24

/**
 * Products op(A) op(B) where they are fastest: on the host, in float64, while they are small, else on the engine, in
 * `precision` (default float64 unless both operands are float32). Shapes and errors are those of `engineMatmul`.
 */
export const fastMatmul =
  (options: EngineMatmulOptions = {}): MatMul =>
  async (a, b, product = {}) => {
    const { rows, inner, cols } = productSize('fastMatmul', a, b, product)
    if (rows * inner * cols < worthCompiling) return hostMatmul(a, b, product)
    const single = a.data instanceof Float32Array && b.data instanceof Float32Array
    return engineMatmul({ precision: single ? 'float32' : 'float64', ...options })(a, b, product)
  }
