/**
 * @file Fusion-X's selection network: from how well each source predicts a row to how much it says there, how many are
 * heard, and the loss that keeps it from hearing the same ones always (arXiv 2505.23844).
 */
import type { Parameters } from '../../models/index.js'
import { Stream } from '../../random/index.js'
import { gelu, oneHot, scalar, softmax, type Tensor, value, type Value, where } from '../../tensor/index.js'

const prefix = 'fusionGate.'

/** Whether a parameter is the gate's. */
export const isGate = (name: string): boolean => name.startsWith(prefix)

/** Sizes of its three layers for K sources: [out, in]. */
const layers = (sources: number): readonly (readonly [number, number])[] => [
  [2 * sources, sources],
  [sources, 2 * sources],
  [sources, sources],
]

/** New parameters of a gate over `sources` sources, drawn as PyTorch draws linear layers'. 5K² + 4K numbers. */
export const gateParameters = (sources: number, seed: number | string): Record<string, Value> => {
  const parameters: Record<string, Value> = {}
  layers(sources).forEach(([out, inside], i) => {
    const stream = new Stream(seed).fork('fusion gate').fork(i)
    const bound = 1 / Math.sqrt(inside)
    const drawn = (count: number): Float32Array =>
      Float32Array.from({ length: count }, () => bound * (2 * stream.uniform() - 1))
    parameters[`${prefix}${i}.weight`] = value(drawn(out * inside), [out, inside], 'float32')
    parameters[`${prefix}${i}.bias`] = value(drawn(out), [out], 'float32')
  })
  return parameters
}

/** g: how much each source is chosen, from what is known of each. scores: [batch, sources] -> the same; rows sum to 1. */
export const gate = (parameters: Parameters<Tensor>, scores: Tensor): Tensor => {
  const linear = (x: Tensor, i: number): Tensor =>
    x.matmul(parameters[`${prefix}${i}.weight`].t()).add(parameters[`${prefix}${i}.bias`])
  return softmax(linear(gelu(linear(gelu(linear(scores, 0)), 1)), 2))
}

/**
 * w: what is left of g above `threshold`, normalised; where nothing is, the greatest alone (the first of equals). No
 * gradient goes through the choice. g: [batch, sources] -> the same; rows sum to 1.
 */
export const kept = (g: Tensor, threshold: number): Tensor => {
  const passes = g.greater(threshold).cast('float32')
  const greatest = oneHot(g.argMax(1), g.shape[1])
  const chosen = where(passes.sum(1, { keep: true }).greater(0), passes, greatest)
  const left = g.mul(chosen)
  return left.div(left.sum(1, { keep: true }).add(1e-8))
}

/**
 * The feedback loss: the squared coefficient of variation of how much each source says over a batch. 0 where all say the
 * same, K where one of K says all. w: [batch, sources] -> [].
 */
export const imbalance = (w: Tensor): Tensor => {
  const sources = w.shape[1]
  if (sources === 1) return scalar(0)
  const importance = w.sum(0)
  const mean = importance.mean()
  const variance = importance
    .sub(mean)
    .square()
    .sum()
    .div(sources - 1)
  return variance.div(mean.square().add(1e-10))
}
