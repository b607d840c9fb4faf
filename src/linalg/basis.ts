/**
 * @file Orthonormal bases of tall thin matrices: what subspace iterations spend their time on, once products are
 * fast.
 */
import { cholesky } from './cholesky.js'
import { fastMatmul } from './engine.js'
import { NotPositiveDefiniteError } from './errors.js'
import { type Matrix, matrix, identity, scaled } from './matrix.js'
import type { Dense } from './multiply.js'
import { qr } from './qr.js'
import { solveTriangular } from './triangular.js'

/** Matrices up to this many numbers times columns are decomposed by reflections on the host. */
const worthProducts = 2 ** 22

/** Ratio of pivots below which the squares in a Gram matrix have lost what tells the columns apart. */
const leastPivot = 1e-6

const exact = fastMatmul({ precision: 'float64' })

/** L⁻ᵀ with Yᵀ Y = L Lᵀ; undefined where the columns are too near to dependent for it. */
const whitening = (gram: Matrix): Matrix | undefined => {
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
  if (least < leastPivot * greatest) return undefined
  return solveTriangular(factor, identity(factor.rows), { triangle: 'lower', transpose: true })
}

/** One pass of Cholesky QR: Y L⁻ᵀ. */
const orthogonalised = async (y: Matrix): Promise<Matrix | undefined> => {
  const gram = await exact(y, y, { transposeA: true })
  const factor = whitening(matrix(gram.rows, gram.cols, gram.data))
  if (!factor) return undefined
  const { rows, cols, data } = await exact(y, factor)
  return matrix(rows, cols, data)
}

/**
 * An orthonormal basis of the columns of `y`: [m, n] with m >= n -> [m, n], to the rounding of float64. Large
 * matrices go through two products with themselves on the engine (Cholesky QR, twice), which is some ten times faster
 * than reflections; where columns are nearly dependent, and for small matrices, it is Q of `qr`, completed beyond the
 * rank. Throws NotFiniteError.
 *
 * Source: Yamamoto, Nakatsukasa, Yanagisawa and Fukaya, "Roundoff error analysis of the CholeskyQR2 algorithm" (ETNA
 * 2015).
 */
export const orthonormalBasis = async (y: Dense): Promise<Matrix> => {
  const whole = matrix(y.rows, y.cols, y.data)
  if (y.cols > y.rows || y.rows * y.cols * y.cols < worthProducts) return qr(whole).q
  const { data } = scaled('orthonormalBasis', whole)
  const once = await orthogonalised(matrix(y.rows, y.cols, data))
  const twice = once && (await orthogonalised(once))
  return twice ?? qr(whole).q
}
