/** @file How important each layer is: scores, sets of layers drawn by them, and what a few trial losses do to them. */
import { UsageError } from '../../errors.js'
import type { Stream } from '../../random/index.js'

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))

/**
 * `count` distinct indices in ascending order, drawn one after another with these weights: the smallest of exponential
 * variables of these rates (Efraimidis & Spirakis 2006). Throws UsageError when there are not so many.
 */
export const drawWithout = (weights: readonly number[], count: number, stream: Stream): number[] => {
  if (!(count >= 1 && count <= weights.length))
    throw new UsageError('BadOption', `${count} of ${weights.length} layers; expected 1 to ${weights.length}`)
  const keys = weights.map((weight, i) => ({ i, key: -Math.log(1 - stream.uniform()) / weight }))
  const drawn = keys.sort((a, b) => a.key - b.key || a.i - b.i).slice(0, count)
  return drawn.map(({ i }) => i).sort((a, b) => a - b)
}

/** The layers that train in a step: drawn by sigmoid(I), so that a more important layer trains more often. I: [layers]. */
export const drawTrained = (importance: readonly number[], count: number, stream: Stream): number[] =>
  drawWithout(importance.map(sigmoid), count, stream)

/** How often a set that was drawn already is drawn again before there are fewer candidates. */
const attempts = 1000

/** `sets` distinct candidates of `count` layers each, drawn by sigmoid(-I): mostly the unimportant ones. */
export const drawCandidates = (
  importance: readonly number[],
  { sets, count }: { readonly sets: number; readonly count: number },
  stream: Stream,
): number[][] => {
  const weights = importance.map((i) => sigmoid(-i))
  const found = new Map<string, number[]>()
  for (let tries = 0; found.size < sets && tries < attempts; tries++) {
    const drawn = drawWithout(weights, count, stream)
    found.set(drawn.join(), drawn)
  }
  return [...found.values()]
}

/** How many sets of `count` layers there are, at most 2 ** 53. */
export const combinations = (layers: number, count: number): number => {
  let all = 1
  for (let i = 1; i <= Math.min(count, layers - count); i++) all = (all * (layers - i + 1)) / i
  return Math.round(all)
}

export interface UpdateOptions {
  /** eta. */
  readonly rate: number
  /** Divide the advantages by their spread, so that the size of the loss does not matter. */
  readonly normalized: boolean
}

/**
 * The importance after the candidates were suppressed and gave `losses` (IST, algorithm 1): R = exp(-loss), advantage
 * a = R - mean R, and I_l ← I_l - eta a p (1 - p) for each layer l of a candidate, with p = sigmoid(I_l) before the update.
 * A layer whose suppression hurt less than the average becomes less important. Weft's sign: higher is more important.
 */
export const updatedImportance = (
  importance: readonly number[],
  candidates: readonly (readonly number[])[],
  losses: readonly number[],
  { rate, normalized }: UpdateOptions,
): number[] => {
  const rewards = losses.map((loss) => Math.exp(-loss))
  const mean = rewards.reduce((a, b) => a + b, 0) / rewards.length
  const spread = Math.sqrt(rewards.reduce((sum, r) => sum + (r - mean) ** 2, 0) / rewards.length)
  const next = [...importance]
  candidates.forEach((layers, k) => {
    const advantage = (rewards[k] - mean) / (normalized ? spread || 1 : 1)
    for (const l of layers) {
      const p = sigmoid(importance[l])
      next[l] -= rate * advantage * p * (1 - p)
    }
  })
  return next
}
