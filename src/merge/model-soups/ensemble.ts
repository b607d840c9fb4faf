/**
 * @file How far a soup of two is from the ensemble of both (Wortsman et al. 2022, arXiv 2203.05482, section 4): measured,
 * and as the flatness of the loss and the confidence of the predictions tell.
 */
import type { Model, Parameters } from '../../models/index.js'
import { type Tensor, type Value } from '../../tensor/index.js'
import { type Batch, byShape, forward } from '../../train/index.js'
import { weightedSum } from '../core/averaging/landscape.js'

/** Losses of the soup and the ensemble at one mixing weight. */
export interface EnsembleGap {
  /** L_soup: cross-entropy of the averaged weights. */
  readonly soup: number
  /** L_ens: cross-entropy of the averaged logits. */
  readonly ensemble: number
  /** Approximation of L_soup - L_ens, to second order in the distance of the weights. */
  readonly approximation: number
}

type Inputs = { parameters: Record<string, Tensor>; batch: Batch<Tensor> }

const logSumExp = (row: ArrayLike<number>): number => {
  let most = -Infinity
  for (let k = 0; k < row.length; k++) most = Math.max(most, row[k])
  let sum = 0
  for (let k = 0; k < row.length; k++) sum += Math.exp(row[k] - most)
  return most + Math.log(sum)
}

const rowsOf = (logits: Float64Array, classes: number): Float64Array[] =>
  Array.from({ length: logits.length / classes }, (_, i) => logits.subarray(i * classes, (i + 1) * classes))

/** Mean cross-entropy of beta * logits, in float64. */
const crossEntropyOf = (
  rows: readonly Float64Array[],
  labels: ArrayLike<number | bigint>,
  beta: number,
): number =>
  rows.reduce((sum, row, i) => {
    const scaled = row.map((x) => beta * x)
    return sum + logSumExp(scaled) - scaled[Number(labels[i])]
  }, 0) / rows.length

/** Mean over examples of the variance of delta_y for y drawn from softmax(beta * logits). */
const meanVariance = (rows: readonly Float64Array[], delta: readonly Float64Array[], beta: number): number =>
  rows.reduce((total, row, i) => {
    const scaled = row.map((x) => beta * x)
    const norm = logSumExp(scaled)
    let [first, second] = [0, 0]
    scaled.forEach((x, k) => {
      const p = Math.exp(x - norm)
      first += p * delta[i][k]
      second += p * delta[i][k] ** 2
    })
    return total + second - first ** 2
  }, 0) / rows.length

/**
 * Soup against ensemble of the weights `start` (θ_0) and `end` (θ_1) of a classifier at the mixing weight `at` (a):
 * L_soup - L_ens ≈ a (1 - a) / 2 * (- d²L/da² + β² E_x Var_y~softmax(β f(x; θ_a)) [f_y(x; θ_1) - f_y(x; θ_0)]),
 * the second derivative by central differences of `step` (default 0.05). batch: `embeddings` or `pixels`, and `labels`.
 */
export const ensembleGap = async (
  model: Model,
  start: Parameters<Value>,
  end: Parameters<Value>,
  batch: Batch,
  {
    at = 0.5,
    beta = 1,
    step = 0.05,
  }: { readonly at?: number; readonly beta?: number; readonly step?: number } = {},
): Promise<EnsembleGap> => {
  const program = byShape(({ parameters, batch }: Inputs) => forward(model, parameters, batch).logits)
  const logits = async (parameters: Parameters<Value>): Promise<Float64Array[]> => {
    const out = await program({ parameters: { ...parameters }, batch })
    return rowsOf(Float64Array.from((await out.read()) as Float32Array), out.shape[1])
  }
  const labels = batch.labels.data as ArrayLike<number | bigint>
  const loss = (rows: readonly Float64Array[]): number => crossEntropyOf(rows, labels, beta)
  const between = async (a: number): Promise<Float64Array[]> =>
    logits(await weightedSum([start, end], [1 - a, a]))
  const [zero, one, here] = [await logits(start), await logits(end), await between(at)]
  const averaged = zero.map((row, i) => row.map((x, k) => (1 - at) * x + at * one[i][k]))
  const delta = zero.map((row, i) => row.map((x, k) => one[i][k] - x))
  const [before, after] = [loss(await between(at - step)), loss(await between(at + step))]
  const curvature = (before - 2 * loss(here) + after) / step ** 2
  return {
    soup: loss(here),
    ensemble: loss(averaged),
    approximation: ((at * (1 - at)) / 2) * (-curvature + beta ** 2 * meanVariance(here, delta, beta)),
  }
}
