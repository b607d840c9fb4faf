/**
 * @file Orthonormal bases of tall thin matrices: what subspace iterations spend their time on, once products are
 * fast.
 */
import { cholesky } from './cholesky.js'
import { NotPositiveDefiniteError } from './errors.js'
import { type Matrix, matrix, identity, scaled } from './matrix.js'
import type { Dense } from './multiply.js'
import { exactProduct, productFor } from './product.js'
import { qr } from './qr.js'
import { solveTriangular } from './triangular.js'

/** Matrices up to this many numbers times columns are decomposed by reflections on the host. */
const worthProducts = 2 ** 22

/** Ratio of pivots below which the squares in a Gram matrix have lost what tells the columns apart. */
const leastPivot = 1e-6

/** What is added to the diagonal of such a Gram matrix, over its trace: columns come as near as rounding lets them. */
const shift = 1e-11

/** Passes after which dependence is no matter of rounding: each brings columns nearer by five orders of magnitude. */
const mostPasses = 6

/** R⁻¹ with Yᵀ Y = Rᵀ R, and the ratio of R's least pivot to its greatest: 0 where the Gram matrix was shifted. */
interface Whitening {
  readonly factor: Matrix
  readonly ratio: number
}

/** L with G = L Lᵀ and the ratio of its pivots; undefined where it has none. */
const factorOf = (gram: Matrix): { factor: Matrix; ratio: number } | undefined => {
  let factor: Matrix
  try {
    factor = cholesky(gram)
  } catch (error) {
    if (error instanceof NotPositiveDefiniteError) return undefined
    throw error
  }
  let least = Infinity
  let greatest = 0
  for (let i = 0; i < factor.rows; i++) {
    const pivot = factor.data[i * factor.cols + i]
    least = Math.min(least, pivot)
    greatest = Math.max(greatest, pivot)
  }
  return { factor, ratio: least / greatest }
}

const shifted = ({ rows, cols, data }: Matrix): Matrix => {
  const out = matrix(rows, cols, data.slice())
  let trace = 0
  for (let i = 0; i < rows; i++) trace += data[i * cols + i]
  for (let i = 0; i < rows; i++) out.data[i * cols + i] += shift * trace
  return out
}

const whitening = (gram: Matrix): Whitening | undefined => {
  const plain = factorOf(gram)
  const taken = plain && plain.ratio >= leastPivot ? plain : factorOf(shifted(gram))
  if (!taken) return undefined
  const { factor } = taken
  return {
    factor: solveTriangular(factor, identity(factor.rows), { triangle: 'lower', transpose: true }),
    ratio: taken === plain ? taken.ratio : 0,
  }
}

/**
 * Y R⁻¹ by passes of Cholesky QR in the precision of `y`, until the pivots of a pass are no farther apart than
 * `enough`: the nearer to 1, the nearer is Qᵀ Q to the identity. Undefined where the columns are dependent.
 */
const orthogonalised = async (y: Dense, enough: number): Promise<Dense | undefined> => {
  let q = y
  for (let i = 0; i < mostPasses; i++) {
    const found = whitening(await exactProduct(q, q, { transposeA: true }))
    if (!found) return undefined
    const { factor, ratio } = found
    q = await productFor(q)(q, factor)
    if (ratio >= enough) return q
  }
  return undefined
}

const isSmall = ({ rows, cols }: Dense): boolean => cols > rows || rows * cols * cols < worthProducts

/**
 * An orthonormal basis of the columns of `y`: [m, n] with m >= n -> [m, n], to the rounding of float64. Large
 * matrices go through two products with themselves on the engine (Cholesky QR, twice), which is some ten times faster
 * than reflections; where columns are nearly dependent, through a few more, whose Gram matrix is shifted. Small
 * matrices, and dependent columns, go through `qr`, which completes the basis beyond the rank. Throws NotFiniteError.
 *
 * Source: Yamamoto, Nakatsukasa, Yanagisawa and Fukaya, "Roundoff error analysis of the CholeskyQR2 algorithm" (ETNA
 * 2015); Fukaya, Kannan, Nakatsukasa, Yamamoto and Yanagisawa, "Shifted Cholesky QR" (SIAM J. Sci. Comput. 2020).
 */
export const orthonormalBasis = async (y: Dense): Promise<Matrix> => {
  const whole = matrix(y.rows, y.cols, y.data)
  if (isSmall(y)) return qr(whole).q
  const { data } = scaled('orthonormalBasis', whole)
  const found = await orthogonalised(matrix(y.rows, y.cols, data), 0.5)
  return found ? matrix(y.rows, y.cols, found.data) : qr(whole).q
}

/**
 * A basis of the columns of `y`: [m, n] with m >= n -> [m, n], in the precision of `y`. Its columns are unit vectors
 * at right angles to about the ten-thousandth, or to the rounding of that precision where `enough` is near to 1: what a
 * subspace iteration needs from step to step. Throws NotFiniteError.
 */
export const roughBasis = async (y: Dense, enough = 1e-2): Promise<Dense> => {
  if (isSmall(y)) return qr(matrix(y.rows, y.cols, y.data)).q
  return (await orthogonalised(y, enough)) ?? qr(matrix(y.rows, y.cols, y.data)).q
}
