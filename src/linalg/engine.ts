/**
 * @file Matrix products on the engine, in float32 on whatever device a program runs on, or in float64 on the
 * processor.
 */
import { defaultDevice, hostDevice } from '../runtime/index.js'
import {
  compile,
  type CompileOptions,
  type Program,
  type Tensor,
  type Value,
  value,
} from '../tensor/index.js'
import { checkFinite, matrix, scaled } from './matrix.js'
import { type Dense, hostMatmul, type MatMul, type ProductOptions, productSize } from './multiply.js'

/** Options of `compile`, and the precision of the products. */
export interface EngineMatmulOptions extends CompileOptions {
  /**
   * Precision of the products. Default 'float32'. In 'float64' they run on the processor unless `device` says
   * otherwise: WebGPU has no such numbers.
   */
  readonly precision?: 'float32' | 'float64'
}

type Precision = NonNullable<EngineMatmulOptions['precision']>

/** A matrix as an input of a product, and the power of two by which the product must be multiplied for it. */
interface Operand {
  readonly input: Value
  readonly scale: number
}

type Product = Program<Record<'x' | 'y', Value>, Record<'product', Value>>

/** Magnitudes whose products float32 holds, sums of them included. */
const comfortable = { least: 1e-12, greatest: 1e12 }

/** Float64 comes near to 1 in float32; float32 is widened by the program itself, where the product is in float64. */
const operand = ({ rows, cols, data }: Dense, precision: Precision): Operand => {
  if (precision === 'float64' || data instanceof Float32Array) {
    const dtype = data instanceof Float32Array ? 'float32' : 'float64'
    return { input: value(data, [rows, cols], dtype), scale: 1 }
  }
  const largest = checkFinite('engineMatmul', { cols, data })
  const near = largest === 0 || (largest >= comfortable.least && largest <= comfortable.greatest)
  const { data: held, scale } = near ? { data, scale: 1 } : scaled('engineMatmul', matrix(rows, cols, data))
  return { input: value(new Float32Array(held), [rows, cols], 'float32'), scale }
}

const rescaled = (data: Dense['data'], scale: number): Dense['data'] => {
  if (scale === 1) return data
  const out = new Float64Array(data)
  for (let i = 0; i < out.length; i++) out[i] *= scale
  return out
}

/** Programs that stay open: a decomposition goes through one or two dozen shapes of products again and again. */
const mostOpen = 32

/** Programs by shape and dtype of their inputs; those not used lately are let go. */
class Products {
  private readonly recent = new Map<string, Promise<Product>>()
  constructor(
    private readonly precision: Precision,
    private readonly options: CompileOptions,
  ) {}

  get(x: Value, y: Value, options: ProductOptions): Promise<Product> {
    const { transposeA = false, transposeB = false } = options
    const device = this.options.device ?? (this.precision === 'float64' ? hostDevice : defaultDevice())
    const key = [device, x.dtype, x.shape, y.dtype, y.shape, transposeA, transposeB].join(' ')
    const program = this.recent.get(key) ?? this.compiled(x, y, { transposeA, transposeB }, device)
    this.recent.delete(key)
    this.recent.set(key, program)
    // One that failed is not kept.
    program.catch(() => this.recent.delete(key))
    for (const oldest of this.recent.keys()) {
      if (this.recent.size <= mostOpen) break
      this.recent.delete(oldest)
    }
    return program
  }

  private compiled(
    x: Value,
    y: Value,
    { transposeA, transposeB }: ProductOptions,
    device: CompileOptions['device'],
  ): Promise<Product> {
    const factor = (t: Tensor, transposed?: boolean): Tensor => {
      const wide = t.cast(this.precision)
      return transposed ? wide.t() : wide
    }
    return compile(
      ({ x, y }) => ({ product: factor(x, transposeA).matmul(factor(y, transposeB)) }),
      { x: { shape: x.shape, dtype: x.dtype }, y: { shape: y.shape, dtype: y.dtype } },
      { ...this.options, device },
    )
  }
}

/**
 * Products op(A) op(B) as compiled programs: a: [m, k] (or [k, m]), b: [k, n] (or [n, k]) -> [m, n]. Errors are those
 * of sums in the precision asked for. The programs of the shapes used last stay open. Throws MatrixShapeError, what
 * `compile` throws, and in float32 NotFiniteError for a float64 operand.
 */
export const engineMatmul = ({ precision = 'float32', ...options }: EngineMatmulOptions = {}): MatMul => {
  const products = new Products(precision, options)
  return async (a, b, product = {}) => {
    const { rows, cols } = productSize('engineMatmul', a, b, product)
    const left = operand(a, precision)
    const right = operand(b, precision)
    const program = await products.get(left.input, right.input, product)
    const result = await program.run({ x: left.input, y: right.input })
    const data = (await result.product.read()) as Dense['data']
    return { rows, cols, data: rescaled(data, left.scale * right.scale) }
  }
}

/** Products of fewer multiplications than this are done on the host before a program is compiled for them. */
const worthCompiling = 2 ** 22

/**
 * Products op(A) op(B) where they are fastest: on the host, in float64, while they are small, else on the engine, in
 * `precision` (default float64 unless both operands are float32). Shapes and errors are those of `engineMatmul`.
 */
export const fastMatmul = ({ precision, ...options }: EngineMatmulOptions = {}): MatMul => {
  const single = engineMatmul({ ...options, precision: 'float32' })
  const double = engineMatmul({ ...options, precision: 'float64' })
  return async (a, b, product = {}) => {
    const { rows, inner, cols } = productSize('fastMatmul', a, b, product)
    if (rows * inner * cols < worthCompiling) return hostMatmul(a, b, product)
    const narrow = a.data instanceof Float32Array && b.data instanceof Float32Array
    return (precision ?? (narrow ? 'float32' : 'float64')) === 'float32'
      ? single(a, b, product)
      : double(a, b, product)
  }
}
