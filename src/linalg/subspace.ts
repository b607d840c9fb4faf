/**
 * @file The span of the leading left singular vectors of a large matrix, from a few products with thin ones: what
 * `randomizedSvd`, `lowRankApproximation` and `leadingSvd` begin with.
 */
import { keyOf, normal, type Seed } from '../random/index.js'
import { orthonormalBasis, roughBasis } from './basis.js'
import { convergedSpan } from './converged.js'
import { MatrixShapeError } from './errors.js'
import type { Dense, MatMul } from './multiply.js'
import { productFor } from './product.js'

/** Options of a subspace iteration. */
export interface SubspaceOptions {
  /**
   * Power iterations: each multiplies the gap between kept and dropped singular values by its square. 'converged' goes on
   * until the residual is rounding, by polynomials that find close singular values too. Default 2.
   */
  readonly iterations?: number | 'converged'
  /** Seed of the columns drawn. Default 0. */
  readonly seed?: Seed
  /** Products with the matrix. Default: `fastMatmul` in the precision of its data. */
  readonly matmul?: MatMul
}

/** The integer `value`. Throws MatrixShapeError where it is none from `low` to `high`. */
export const integerFrom = (
  [operation, name]: readonly [string, string],
  value: number,
  low: number,
  high = Number.MAX_SAFE_INTEGER,
): number => {
  if (!Number.isInteger(value) || value < low || value > high)
    throw new MatrixShapeError(operation, `${name} ${value} is not an integer from ${low} to ${high}`)
  return value
}

/** Normal numbers drawn from `seed`: [rows, cols]. */
export const drawn = (rows: number, cols: number, seed: Seed): Dense => {
  const data = new Float32Array(rows * cols)
  normal(data, keyOf(seed))
  return { rows, cols, data }
}

/** Sizes of a sketch: the singular vectors that are looked for, and the columns drawn for them. */
export interface SketchSize {
  readonly rank: number
  readonly width: number
}

const sketched = async (
  a: Dense,
  { rank, width }: SketchSize,
  { iterations = 2, seed = 0, matmul = productFor(a) }: SubspaceOptions,
): Promise<Dense> => {
  if (iterations === 'converged')
    return convergedSpan(a, drawn(Math.min(a.rows, a.cols), width, seed), rank, matmul)
  let y = await matmul(a, drawn(a.cols, width, seed))
  for (let i = 0; i < iterations; i++) {
    const z = await roughBasis(await matmul(a, await roughBasis(y), { transposeA: true }))
    y = await matmul(a, z)
  }
  return y
}

/**
 * An orthonormal basis of [m, width] whose span is nearly that of the leading left singular vectors of `a`: [m, n]; to
 * the rounding of float64 where it is `exact`, else of the precision of `a`.
 *
 * Source: Halko, Martinsson and Tropp, "Finding structure with randomness" (SIAM Review 2011), algorithm 4.4.
 */
export const leadingSpan = async (
  a: Dense,
  size: SketchSize,
  options: SubspaceOptions,
  exact: boolean,
): Promise<Dense> => {
  const y = await sketched(a, size, options)
  return exact ? orthonormalBasis(y) : roughBasis(y, 0.5)
}
