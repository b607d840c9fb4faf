/**
 * @file Where DSEE's free entries lie: the support of the sparse part when a weight is taken apart into one of low rank and
 * a sparse one, greedily (GreBsmo, Zhou and Tao 2013), or the largest entries, or any.
 */
import { largestIndices, type Matrix, matrix, multiply, qr } from '../../linalg/index.js'
import { type Key, normal, uniform } from '../../random/index.js'

export const omegaKinds = ['decomposition', 'magnitude', 'random'] as const
export type OmegaKind = (typeof omegaKinds)[number]

export interface DecompositionOptions {
  /** Entries of the sparse part that are smaller are none. Default a quarter of the weights' standard deviation. */
  readonly threshold?: number
  /** Each lets the rank grow by `growth`. Default 10. */
  readonly rounds?: number
  /** Default 5. */
  readonly growth?: number
}

/** Two, as the paper's code has it. */
const sweeps = 2

const deviation = (data: Float64Array): number => {
  const mean = data.reduce((sum, x) => sum + x, 0) / data.length
  return Math.sqrt(data.reduce((sum, x) => sum + (x - mean) ** 2, 0) / data.length)
}

const minus = (a: Matrix, b: Matrix): Matrix =>
  matrix(
    a.rows,
    a.cols,
    a.data.map((x, i) => x - b.data[i]),
  )

/** `rows` below V. */
const extended = (V: Matrix, rows: Matrix): Matrix => {
  const out = matrix(V.rows + rows.rows, V.cols)
  out.data.set(V.data)
  out.data.set(rows.data, V.data.length)
  return out
}

/** The first `count` rows of R, where Q R = `a`: the first columns decide them. */
const leadingRowsOfR = (a: Matrix, count: number): Matrix => {
  const first = matrix(a.rows, count)
  for (let i = 0; i < a.rows; i++)
    for (let j = 0; j < count; j++) first.data[i * count + j] = a.data[i * a.cols + j]
  return multiply(qr(first).q, a, { transposeA: true })
}

/**
 * The sparse part S of W ~ U V + S, [m, n] as W. V starts as one row of noise and grows by a few rows a round, while its
 * rank stays below half of the smaller side. A round has two sweeps of U = Q of QR((W - S) Vᵀ), V = Uᵀ (W - S), S = what of
 * W - U V is above the threshold. S is carried from round to round: started from zero each time, the growing low-rank part
 * takes in the large entries too, and S ends up without them. Throws NotFiniteError.
 */
export const sparsePart = (
  W: Matrix,
  key: Key,
  { threshold = deviation(W.data) / 4, rounds = 10, growth = 5 }: DecompositionOptions = {},
): Float64Array => {
  const side = Math.min(W.rows, W.cols)
  const start = new Float32Array(W.cols)
  normal(start, key)
  let V = matrix(1, W.cols, start)
  let S = matrix(W.rows, W.cols)
  for (let round = 0; round < rounds; round++) {
    let rest = W
    for (let sweep = 0; sweep < sweeps; sweep++) {
      const left = minus(W, S)
      const U = qr(multiply(left, V, { transposeB: true })).q
      V = multiply(U, left, { transposeA: true })
      rest = minus(W, multiply(U, V))
      S = matrix(
        W.rows,
        W.cols,
        rest.data.map((x) => (Math.abs(x) < threshold ? 0 : x)),
      )
    }
    if (V.rows + growth > Math.floor(side / 2)) break
    V = extended(V, leadingRowsOfR(minus(rest, S), growth))
  }
  return S.data
}

/**
 * The `count` entries of W: [rows, columns] that the update is free in: flat, ascending, of equal ones the first. Entries
 * that the decomposition leaves out of its sparse part are ranked below all others, by magnitude.
 */
export const omegaOf = (
  kind: OmegaKind,
  { data, shape: [rows, columns] }: { readonly data: Float32Array; readonly shape: readonly number[] },
  count: number,
  key: Key,
): Int32Array => {
  if (count === 0) return new Int32Array()
  if (kind === 'random') {
    const chance = new Float32Array(data.length)
    uniform(chance, key)
    return largestIndices(chance, count)
  }
  const magnitudes = Float64Array.from(data, Math.abs)
  if (kind === 'magnitude') return largestIndices(magnitudes, count)
  const sparse = sparsePart(matrix(rows, columns, Float64Array.from(data)), key)
  // Below zero, so that they come after the least of the sparse part.
  const most = magnitudes.reduce((a, b) => Math.max(a, b), 0)
  return largestIndices(
    sparse.map((x, i) => (x === 0 ? magnitudes[i] - most - 1 : Math.abs(x))),
    count,
  )
}
