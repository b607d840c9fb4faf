/** @file A merged layer's weights by least squares: such that it puts out what both models' layers do. */
import { UsageError, WeftError } from '../errors.js'
import { type Matrix, matrix, NotPositiveDefiniteError, solvePositiveDefinite } from '../linalg/index.js'
import { value, type Value } from '../tensor/index.js'
import { outputAxis } from './permutation/index.js'
import type { LayerSums } from './pleas-sums.js'
import { owners, type WideAxis } from './pleas-split.js'

/** What a layer was and became. */
export interface Solved {
  readonly weight: Value
  readonly bias?: Value
  /** Squared error of the layer's outputs relative to their squares: with the weights before, and with these. */
  readonly before: number
  readonly after: number
}

/** A layer's weight and bias as the matrix that rows are multiplied with: [k, out]. */
const toMatrix = ({ xy, spec, bias }: LayerSums, weight: Value, offset?: Value): Matrix => {
  const out = matrix(xy.rows, xy.cols)
  const data = weight.data as Float32Array
  const k = xy.rows - Number(bias)
  for (let i = 0; i < k; i++)
    for (let o = 0; o < xy.cols; o++)
      out.data[i * xy.cols + o] = outputAxis(spec) === 0 ? data[o * k + i] : data[i * xy.cols + o]
  if (offset) out.data.set(offset.data as Float32Array, k * xy.cols)
  return out
}

const fromMatrix = (
  { spec, bias }: LayerSums,
  w: Matrix,
  shape: readonly number[],
): Pick<Solved, 'weight' | 'bias'> => {
  const k = w.rows - Number(bias)
  const data = new Float32Array(k * w.cols)
  for (let i = 0; i < k; i++)
    for (let o = 0; o < w.cols; o++)
      data[outputAxis(spec) === 0 ? o * k + i : i * w.cols + o] = w.data[i * w.cols + o]
  const weight = value(data, shape, 'float32')
  return bias
    ? { weight, bias: value(new Float32Array(w.data.subarray(k * w.cols)), [w.cols], 'float32') }
    : { weight }
}

/** Rows and columns of a matrix. */
const part = ({ cols, data }: Matrix, rows: readonly number[], columns: readonly number[]): Matrix => {
  const out = matrix(rows.length, columns.length)
  rows.forEach((i, r) => columns.forEach((j, c) => (out.data[r * columns.length + c] = data[i * cols + j])))
  return out
}

/** Σ |x W - y|², from the sums alone. */
const residual = ({ xx, xy, yy }: LayerSums, w: Matrix): number => {
  let total = yy.reduce((sum, y) => sum + y, 0)
  const n = w.cols
  for (let i = 0; i < w.rows; i++) {
    const row = new Float64Array(n)
    for (let j = 0; j < w.rows; j++)
      for (let o = 0, x = xx.data[i * w.rows + j]; o < n; o++) row[o] += x * w.data[j * n + o]
    for (let o = 0; o < n; o++) total += w.data[i * n + o] * (row[o] - 2 * xy.data[i * n + o])
  }
  return Math.max(0, total)
}

/** X^T X as it is in exact arithmetic, symmetric, with λ on its diagonal. */
const ridged = (xx: Matrix, lambda: number): Matrix => {
  const { rows: n, data } = xx
  const out = matrix(n, n)
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++)
      out.data[i * n + j] = (data[i * n + j] + data[j * n + i]) / 2 + (i === j ? lambda : 0)
  return out
}

const meanDiagonal = ({ rows, data }: Matrix): number => {
  let sum = 0
  for (let i = 0; i < rows; i++) sum += data[i * rows + i]
  return sum / rows
}

/** Solves (X^T X + λ) W = X^T Y + λ W₀ with λ = ridge times the mean diagonal. */
const solveRidge = (xx: Matrix, xy: Matrix, start: Matrix, ridge: number, layer: string): Matrix => {
  const lambda = ridge * meanDiagonal(xx)
  // Nothing ever enters: every solution is as good as the start.
  if (meanDiagonal(xx) === 0) return start
  const target = matrix(
    xy.rows,
    xy.cols,
    xy.data.map((x, i) => x + lambda * start.data[i]),
  )
  try {
    return solvePositiveDefinite(ridged(xx, lambda), target)
  } catch (cause) {
    if (!(cause instanceof NotPositiveDefiniteError)) throw cause
    throw new UsageError(
      'SingularLayer',
      `ridge = ${ridge}: the features of ${layer} do not determine its weights`,
      {
        hint: 'Give more data, or a ridge such as 1e-4.',
        cause,
      },
    )
  }
}

/**
 * The layer's weights from its sums. `wide`: of its weight; `start`: the weights by permutation alone, towards which
 * `ridge` (relative to the mean diagonal of X^T X) pulls. Blocks between what is only the one model's and what is only
 * the other's stay 0. Throws WeftError naming the layer when its activations are not finite.
 */
export const solveLayer = (
  sums: LayerSums,
  wide: readonly WideAxis[],
  start: { readonly weight: Value; readonly bias?: Value },
  ridge: number,
): Solved => {
  const { spec, xx, xy, yy, bias } = sums
  const layer = spec.name.replace(/\.weight$/, '')
  if (![...yy, meanDiagonal(xx)].every(Number.isFinite))
    throw new WeftError('NotFiniteActivations', `${layer}: its activations are not finite on the data given`)
  const before = toMatrix(sums, start.weight, start.bias)
  const [made, read] = [wide[outputAxis(spec)].owner, wide[1 - outputAxis(spec)].owner]
  const kernel = (xx.rows - Number(bias)) / read.length
  const enters = (row: number): number =>
    row < xx.rows - Number(bias) ? read[Math.floor(row / kernel)] : owners.both
  const solution = matrix(xy.rows, xy.cols)
  for (const owner of new Set(made)) {
    const columns = [...made.keys()].filter((o) => made[o] === owner)
    const other = owner === owners.first ? owners.second : owner === owners.second ? owners.first : -1
    const rows = Array.from({ length: xx.rows }, (_, i) => i).filter((i) => enters(i) !== other)
    const own = solveRidge(
      part(xx, rows, rows),
      part(xy, rows, columns),
      part(before, rows, columns),
      ridge,
      layer,
    )
    rows.forEach((i, r) =>
      columns.forEach((o, c) => (solution.data[i * xy.cols + o] = own.data[r * columns.length + c])),
    )
  }
  const scale = yy.reduce((sum, y) => sum + y, 0) || 1
  return {
    ...fromMatrix(sums, solution, start.weight.shape),
    before: residual(sums, before) / scale,
    after: residual(sums, solution) / scale,
  }
}
