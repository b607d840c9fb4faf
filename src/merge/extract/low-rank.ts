/** @file The nearest matrix of a low rank: of a given rank, or of the lowest that holds a given share. */
import {
  type Dense,
  hostMatmul,
  matrix,
  randomizedSvd,
  singleProduct,
  type SVD,
  svd,
} from '../../linalg/index.js'
import { UsageError } from '../../errors.js'

/** How the rank is chosen. With both, it is the lowest that holds `energy`, but no higher than `rank`. */
export interface RankChoice {
  /** The highest rank; a matrix that has less gets what it has. */
  readonly rank?: number
  /** The share of the squared singular values that is kept: 0.99. */
  readonly energy?: number
}

/** D is about B A. */
export interface LowRank {
  readonly rank: number
  /** [rank, in] */
  readonly A: Float32Array
  /** [out, rank] */
  readonly B: Float32Array
  /** ||D - B A|| / ||D||, Frobenius, of the numbers as they are in float32. */
  readonly error: number
}

/** Up to here all singular values are found at once; of larger matrices only the leading ones. */
const smallSize = 192

const leading = (D: Dense, rank: number): Promise<SVD> | SVD =>
  Math.min(D.rows, D.cols) <= smallSize ? svd(matrix(D.rows, D.cols, D.data)) : randomizedSvd(D, rank)

const squaredNorm = ({ data }: Dense): number => {
  let sum = 0
  for (const x of data) sum += x * x
  return sum
}

/** How many of the singular values `s` hold the share; undefined where all of them together do not. */
const holding = (s: Float64Array, total: number, energy: number): number | undefined => {
  let sum = 0
  // Rounding must not make the whole look like less than all.
  const wanted = total * energy * (1 - 1e-9)
  for (let i = 0; i < s.length; i++) if ((sum += s[i] * s[i]) >= wanted) return i + 1
  return undefined
}

/** The decomposition of `D` that holds the share, and its rank; found with ever more singular values. */
const byEnergy = async (D: Dense, energy: number, most: number): Promise<{ parts: SVD; rank: number }> => {
  const total = squaredNorm(D)
  for (let tried = Math.min(16, most); ; tried = Math.min(2 * tried, most)) {
    const parts = await leading(D, tried)
    const rank = holding(parts.s, total, energy)
    if (rank !== undefined && rank <= tried) return { parts, rank }
    if (tried === most) return { parts, rank: most }
  }
}

/** B A with the singular values shared evenly between the two. */
const factored = ({ u, s, vt }: SVD, rank: number): Pick<LowRank, 'A' | 'B'> => {
  const A = new Float32Array(rank * vt.cols)
  const B = new Float32Array(u.rows * rank)
  for (let k = 0; k < rank; k++) {
    const root = Math.sqrt(s[k])
    for (let j = 0; j < vt.cols; j++) A[k * vt.cols + j] = root * vt.data[k * vt.cols + j]
    for (let i = 0; i < u.rows; i++) B[i * rank + k] = root * u.data[i * u.cols + k]
  }
  return { A, B }
}

/** ||D - B A|| / ||D||. */
const relativeError = async (D: Dense, { A, B }: Pick<LowRank, 'A' | 'B'>, rank: number): Promise<number> => {
  const matmul = Math.min(D.rows, D.cols) <= smallSize ? hostMatmul : singleProduct
  const left = { rows: D.rows, cols: rank, data: B }
  const { data } = await matmul(left, { rows: rank, cols: D.cols, data: A })
  let sum = 0
  for (let i = 0; i < data.length; i++) sum += (D.data[i] - data[i]) ** 2
  return Math.sqrt(sum / squaredNorm(D))
}

/**
 * The matrix of low rank nearest to `D`: [out, in], which is not zero, in the Frobenius norm (Eckart and Young 1936; for
 * large matrices by randomised products). Throws NotFiniteError.
 */
export const nearestLowRank = async (D: Dense, { rank, energy }: RankChoice): Promise<LowRank> => {
  const most = Math.min(rank ?? Infinity, D.rows, D.cols)
  const leadingParts =
    energy === undefined ? { parts: await leading(D, most), rank: most } : await byEnergy(D, energy, most)
  const factors = factored(leadingParts.parts, leadingParts.rank)
  return { ...factors, rank: leadingParts.rank, error: await relativeError(D, factors, leadingParts.rank) }
}

/** Check of the choice of a rank. Throws UsageError where neither rank nor energy is given, and for values out of range. */
export const checkChoice = ({ rank, energy }: RankChoice): void => {
  if (rank === undefined && energy === undefined)
    throw new UsageError('NoRank', 'neither a rank nor an energy', {
      hint: 'Say how much is kept: rank (--rank 16), or the share of the squared singular values (--energy 0.99).',
    })
  if (rank !== undefined && !(Number.isInteger(rank) && rank > 0))
    throw new UsageError('BadValue', `rank: expected an integer from 1 on, found ${rank}`)
  if (energy !== undefined && !(energy > 0 && energy <= 1))
    throw new UsageError('BadValue', `energy: expected a share in (0, 1], found ${energy}`)
}
