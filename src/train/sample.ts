/** @file From logits to a token: greedy, or drawn from what temperature, top-k and top-p leave. On the host. */
import { UsageError } from '../errors.js'
import type { Stream } from '../random/index.js'

/** Settings of the choice of a token. */
export interface SamplingOptions {
  /** Divides the logits; 0 takes the most likely token. Default 0. */
  readonly temperature?: number
  /** Only the k most likely tokens. Default: all. */
  readonly topK?: number
  /** Only the most likely tokens that together have this probability. Default 1: all. */
  readonly topP?: number
}

/** Throws UsageError for numbers out of range. */
export const checkSampling = ({ temperature = 0, topK, topP = 1 }: SamplingOptions): void => {
  const bad = (name: string, value: number, expected: string): never => {
    throw new UsageError('BadOption', `${name} is ${value}; expected ${expected}`)
  }
  if (!(temperature >= 0)) bad('temperature', temperature, 'a number of at least 0')
  if (topK !== undefined && !(Number.isInteger(topK) && topK >= 1))
    bad('topK', topK, 'a whole number of at least 1')
  if (!(topP > 0 && topP <= 1)) bad('topP', topP, 'a number above 0 and at most 1')
}

/** The index of the first greatest element. */
export const argMax = (numbers: ArrayLike<number>): number => {
  let best = 0
  for (let i = 1; i < numbers.length; i++) if (numbers[i] > numbers[best]) best = i
  return best
}

/** ln of the sum of exp(logits), which a logit's log-probability is under it by. In float64. */
export const logSumExp = (logits: ArrayLike<number>): number => {
  const top = logits[argMax(logits)]
  let sum = 0
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - top)
  return top + Math.log(sum)
}

// Loops rather than Float64Array.from with a function, which takes several times as long.
const divided = (logits: ArrayLike<number>, by: number): Float64Array => {
  const out = new Float64Array(logits.length)
  for (let i = 0; i < logits.length; i++) out[i] = logits[i] / by
  return out
}

/** log softmax(logits), in float64. */
export const logProbabilities = (logits: ArrayLike<number>): Float64Array => {
  const offset = logSumExp(logits)
  const logs = new Float64Array(logits.length)
  for (let i = 0; i < logits.length; i++) logs[i] = logits[i] - offset
  return logs
}

/** The `count` greatest, greatest first; equal ones by their number. */
export const ranked = (scores: Float64Array, count: number): number[] => {
  const least = scores.slice().sort()[Math.max(0, scores.length - count)]
  const candidates: number[] = []
  for (let i = 0; i < scores.length; i++) if (scores[i] >= least) candidates.push(i)
  return candidates.sort((a, b) => scores[b] - scores[a] || a - b).slice(0, count)
}

const massOf = (logs: Float64Array, tokens: readonly number[]): number =>
  tokens.reduce((sum, i) => sum + Math.exp(logs[i]), 0)

/** The first of `tokens` that together have the probability `mass`; undefined when all have less. */
const reaching = (logs: Float64Array, tokens: readonly number[], mass: number): number[] | undefined => {
  let sum = 0
  for (const [n, token] of tokens.entries()) {
    sum += Math.exp(logs[token])
    if (sum >= mass) return tokens.slice(0, n + 1)
  }
  return undefined
}

/** What top-k and then top-p leave, most likely first. */
const nucleus = (logs: Float64Array, topK: number | undefined, topP: number): number[] => {
  if (topK !== undefined) {
    const tokens = ranked(logs, topK)
    return topP === 1 ? tokens : (reaching(logs, tokens, topP * massOf(logs, tokens)) ?? tokens)
  }
  // The nucleus is small as a rule, and ranking a whole vocabulary is slow.
  for (let count = 64; count < logs.length; count *= 8) {
    const tokens = reaching(logs, ranked(logs, count), topP)
    if (tokens) return tokens
  }
  const all = ranked(logs, logs.length)
  return reaching(logs, all, topP) ?? all
}

/** One token. Temperature comes first, then top-k, then top-p of what is left, as in Transformers. */
export const sample = (logits: ArrayLike<number>, options: SamplingOptions, stream: Stream): number => {
  const { temperature = 0, topK, topP = 1 } = options
  if (temperature === 0) return argMax(logits)
  const logs = logProbabilities(divided(logits, temperature))
  const whole = topK === undefined && topP === 1
  const tokens = whole ? Array.from(logs, (_, i) => i) : nucleus(logs, topK, topP)
  let left = stream.uniform() * massOf(logs, tokens)
  for (const token of tokens) {
    left -= Math.exp(logs[token])
    if (left < 0) return token
  }
  return tokens[tokens.length - 1]
}
