/**
 * @file A subspace iteration that goes on until it is as good as its precision: each step damps by a polynomial what lies
 * below the singular values that are looked for, which finds them also where they are close together.
 */
import { roughBasis } from './basis.js'
import { symmetricEigen } from './eigen.js'
import { type Matrix, matrix } from './matrix.js'
import type { Dense, MatMul } from './multiply.js'
import { exactProduct, productFor } from './product.js'

/** A Aᵀ or Aᵀ A, whichever is smaller: M X and, on the way, the product with A's other side. */
interface Operator {
  readonly size: number
  /** The first product of M X = Bᵀ (B X). */
  readonly across: (x: Dense) => Promise<Dense>
  /** The second one. */
  readonly back: (y: Dense) => Promise<Dense>
}

const operatorOf = (a: Dense, matmul: MatMul): Operator => {
  const isTall = a.rows > a.cols
  return {
    size: Math.min(a.rows, a.cols),
    across: (x) => matmul(a, x, { transposeA: !isTall }),
    back: (y) => matmul(a, y, { transposeA: isTall }),
  }
}

/** alpha x + beta y + gamma z, where z is any. */
const combined = (x: Dense, alpha: number, y: Dense, beta: number, z?: Dense, gamma = 0): Dense => {
  const data = x.data.slice()
  for (let i = 0; i < data.length; i++)
    data[i] = alpha * x.data[i] + beta * y.data[i] + (z ? gamma * z.data[i] : 0)
  return { ...x, data }
}

/** Columns in the opposite order. */
const reversed = ({ rows, cols, data }: Matrix): Matrix => {
  const out = matrix(rows, cols)
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < cols; j++) out.data[i * cols + j] = data[(i + 1) * cols - 1 - j]
  return out
}

/** Eigenvectors of M in a span, the leading one first, with M times them. */
interface Ritz {
  /** Their eigenvalues, the squares of singular values, descending. */
  readonly values: Float64Array
  readonly x: Dense
  readonly mx: Dense
}

const ritzOf = async ({ across, back }: Operator, span: Dense): Promise<Ritz> => {
  const y = await across(span)
  const gram = await exactProduct(y, y, { transposeA: true })
  const { values, vectors } = symmetricEigen(gram)
  const product = productFor(span)
  const turn = reversed(vectors)
  const x = await product(span, turn)
  const mx = await back(await product(y, turn))
  return { values: values.map((value) => Math.max(0, value)).reverse(), x, mx }
}

/** The greatest ||M x - θ x|| / (σ₁ σ) of the first `rank` vectors. */
const residualOf = ({ values, x, mx }: Ritz, rank: number): number => {
  const squares = new Float64Array(rank)
  for (let i = 0, at = 0; i < x.rows; i++, at = i * x.cols)
    for (let k = 0; k < rank; k++) squares[k] += (mx.data[at + k] - values[k] * x.data[at + k]) ** 2
  let worst = 0
  for (let k = 0; k < rank; k++) {
    const scale = Math.sqrt(values[0] * Math.max(values[k], Number.EPSILON * values[0]))
    worst = Math.max(worst, scale && Math.sqrt(squares[k]) / scale)
  }
  return worst
}

/** Steps of a polynomial: as many as leave of the vectors that are looked for what the precision can tell apart. */
const degreeOf = (values: Float64Array, rank: number): number => {
  const cut = values[values.length - 1]
  const place = (value: number): number => Math.acosh(Math.max(1, (2 * value) / cut - 1))
  const spread = place(values[0]) - place(values[rank - 1])
  return Math.max(1, Math.min(30, Math.floor(Math.log(1e4) / spread)))
}

/** T(M) X, with the Chebyshev polynomial that is small up to the least Ritz value and 1 at the greatest. */
const filtered = async (
  { across, back }: Operator,
  { values, x, mx }: Ritz,
  rank: number,
): Promise<Dense> => {
  const half = values[values.length - 1] / 2
  if (half <= Number.EPSILON * values[0]) return mx
  const first = half / (values[0] - half)
  let scale = first
  let before = x
  let now = combined(mx, first / half, x, -first)
  for (let step = degreeOf(values, rank); step > 1; step--) {
    const next = 1 / (2 / first - scale)
    const image = await back(await across(now))
    const after = combined(image, (2 * next) / half, now, -2 * next, before, -scale * next)
    before = now
    now = after
    scale = next
  }
  return now
}

/** Residuals that are rounding, by precision. */
const roundings = { float32: 1e-6, float64: 1e-12 }

/** Steps without a residual of half the size, after which it is taken for rounding. */
const patience = 3
const mostSteps = 60

/**
 * A span of the `rank` leading left singular vectors of `a`: [m, n] and more, [m, width], as exactly as the precision of
 * its products lets it be. start: [min(m, n), width], any numbers.
 *
 * Source: Zhou, Saad, Tiago and Chelikowsky, "Self-consistent-field calculations using Chebyshev-filtered subspace
 * iteration" (J. Comput. Phys. 2006), with the scaling of its algorithm 4.3.
 */
export const convergedSpan = async (a: Dense, start: Dense, rank: number, matmul: MatMul): Promise<Dense> => {
  const operator = operatorOf(a, matmul)
  const enough = roundings[a.data instanceof Float32Array ? 'float32' : 'float64']
  let span = await roughBasis(start, 0.5)
  let best = Infinity
  let idle = 0
  for (let step = 0; step < mostSteps; step++) {
    const ritz = await ritzOf(operator, span)
    const residual = residualOf(ritz, rank)
    idle = residual < best / 2 ? 0 : idle + 1
    best = Math.min(best, residual)
    span = ritz.x
    if (residual <= enough || idle >= patience) break
    span = await roughBasis(await filtered(operator, ritz, rank), 0.5)
  }
  return a.rows > a.cols ? operator.across(span) : span
}
