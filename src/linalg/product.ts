/** @file The products that decompositions share, so that each shape of them is compiled once for all. */
import { fastMatmul } from './engine.js'
import { type Matrix, matrix } from './matrix.js'
import type { Dense, MatMul, ProductOptions } from './multiply.js'

const exact = fastMatmul({ precision: 'float64' })

/** op(A) op(B) in float64, whatever the operands. a: [m, k], b: [k, n] -> [m, n]. Throws MatrixShapeError. */
export const exactProduct = async (a: Dense, b: Dense, options?: ProductOptions): Promise<Matrix> => {
  const { rows, cols, data } = await exact(a, b, options)
  return matrix(rows, cols, data)
}

/** op(A) op(B) in float32, a small one in float64, whatever the operands. a: [m, k], b: [k, n] -> [m, n]. */
export const singleProduct: MatMul = fastMatmul({ precision: 'float32' })

/** Products in the precision of `a`: [m, n]. */
export const productFor = ({ data }: Dense): MatMul =>
  data instanceof Float32Array ? singleProduct : exactProduct
