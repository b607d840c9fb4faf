/** @file A merged layer's weights by least squares: such that it puts out what both models' layers do. */
import { UsageError, WeftError } from '../../errors.js'
import {
  exactProduct,
  fastSolvePositiveDefinite,
  type Matrix,
  matrix,
  NotPositiveDefiniteError,
} from '../../linalg/index.js'
import { value } from '../../tensor/index.js'
import { outputAxis } from '../../models/index.js'
import type { LayerStart, LayerSums } from './sums.js'
import { owners, type WideAxis } from './split.js'

/** What a layer was and became. */
export interface Solved extends LayerStart {
  /** Squared error of the layer's outputs relative to their squares: with the weights before, and with these. */
  readonly before: number
  readonly after: number
}

/** The weights with a change, [k, out], added. */
const changed = ({ spec, start: { weight, bias } }: LayerSums, change: Matrix): LayerStart => {
  const { cols, data } = change
  const k = change.rows - Number(bias !== undefined)
  const sum = Float64Array.from(weight.data as Float32Array)
  const [across, down] = outputAxis(spec) === 0 ? [k, 1] : [1, cols]
  for (let i = 0; i < k; i++) for (let o = 0; o < cols; o++) sum[o * across + i * down] += data[i * cols + o]
  const offsets = bias && Float32Array.from(bias.data as Float32Array, (x, o) => x + data[k * cols + o])
  return {
    weight: value(Float32Array.from(sum), weight.shape, 'float32'),
    ...(offsets ? { bias: value(offsets, [cols], 'float32') } : {}),
  }
}

/** Rows and columns of a matrix. */
const part = (whole: Matrix, rows: readonly number[], columns: readonly number[]): Matrix => {
  const { cols, data } = whole
  if (rows.length === whole.rows && columns.length === cols) return whole
  const out = matrix(rows.length, columns.length)
  rows.forEach((i, r) => columns.forEach((j, c) => (out.data[r * columns.length + c] = data[i * cols + j])))
  return out
}

/** Σ |e - x D|² for a change D of the weights, from the sums alone. */
const residual = async ({ xx, xe, ee }: LayerSums, change: Matrix): Promise<number> => {
  const { data: moved } = await exactProduct(xx, change)
  const { data } = change
  let total = ee
  for (let i = 0; i < data.length; i++) total += data[i] * (moved[i] - 2 * xe.data[i])
  return Math.max(0, total)
}

/** Σ x xᵀ as it is in exact arithmetic, symmetric, with λ on its diagonal. */
const ridged = ({ rows: n, data }: Matrix, lambda: number): Matrix => {
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

/** D with (Σ x xᵀ + λ) D = Σ x eᵀ, where λ = ridge times the mean diagonal: the change of the weights. */
const solveRidge = async (xx: Matrix, xe: Matrix, ridge: number, layer: string): Promise<Matrix> => {
  const size = meanDiagonal(xx)
  // Nothing ever enters: no weights are better than those there are.
  if (size === 0) return matrix(xe.rows, xe.cols)
  try {
    return await fastSolvePositiveDefinite(ridged(xx, ridge * size), xe)
  } catch (cause) {
    if (!(cause instanceof NotPositiveDefiniteError)) throw cause
    throw new UsageError(
      'SingularLayer',
      `ridge = ${ridge}: the features of ${layer} do not determine its weights`,
      { hint: 'Give more data, or a ridge such as 1e-4.', cause },
    )
  }
}

/**
 * The layer's weights from its sums: those with the least error, `ridge` (relative to the mean diagonal of Σ x xᵀ)
 * pulling towards the weights by permutation alone. `wide`: of its weight. Blocks between what is only the one model's
 * and what is only the other's stay 0. Throws WeftError naming the layer when its activations are not finite.
 */
export const solveLayer = async (
  sums: LayerSums,
  wide: readonly WideAxis[],
  ridge: number,
): Promise<Solved> => {
  const { spec, start, xx, xe, ee, yy } = sums
  const layer = spec.name.replace(/\.weight$/, '')
  if (![yy, meanDiagonal(xx)].every(Number.isFinite))
    throw new WeftError('NotFiniteActivations', `${layer}: its activations are not finite on the data given`)
  const [made, read] = [wide[outputAxis(spec)].owner, wide[1 - outputAxis(spec)].owner]
  const k = xx.rows - Number(start.bias !== undefined)
  const kernel = k / read.length
  const enters = (row: number): number => (row < k ? read[Math.floor(row / kernel)] : owners.both)
  const change = matrix(xe.rows, xe.cols)
  for (const owner of new Set(made)) {
    const columns = [...made.keys()].filter((o) => made[o] === owner)
    const other = owner === owners.first ? owners.second : owner === owners.second ? owners.first : -1
    const rows = Array.from({ length: xx.rows }, (_, i) => i).filter((i) => enters(i) !== other)
    const own = await solveRidge(part(xx, rows, rows), part(xe, rows, columns), ridge, layer)
    rows.forEach((i, r) =>
      columns.forEach((o, c) => (change.data[i * xe.cols + o] = own.data[r * columns.length + c])),
    )
  }
  const scale = yy || 1
  return { ...changed(sums, change), before: ee / scale, after: (await residual(sums, change)) / scale }
}
