/** @file How unlike samples are, and what each has to do with it: the diversity reward and its advantages. */
import { WeftError } from '../../errors.js'
import { normOf } from '../../tensor/numbers.js'

/** A whole sample as a vector: [width]. */
export type Embed = (sample: readonly number[]) => ArrayLike<number>

/** The most entries of a bag of bigrams. */
const mostBuckets = 4096

/** Counts of pairs of neighbouring tokens; beyond 64 tokens pairs share entries. */
export const bigrams =
  (vocabulary: number): Embed =>
  (sample) => {
    const buckets = Math.min(vocabulary * vocabulary, mostBuckets)
    const counts = new Float64Array(buckets)
    const pairs =
      sample.length > 1 ? sample.slice(1).map((b, i) => sample[i] * vocabulary + b) : [sample[0] ?? 0]
    for (const pair of pairs) counts[pair % buckets]++
    return counts
  }

const unit = (vector: ArrayLike<number>): Float64Array => {
  const x = Float64Array.from(vector)
  const length = normOf(x)
  if (!(length > 0 && Number.isFinite(length)))
    throw new WeftError(
      'BadEmbedding',
      `an embedding of length ${length}; expected a vector of finite numbers that is not 0`,
    )
  return x.map((v) => v / length)
}

/** r_D = 1 - cos of every two vectors: [n][n], 0 on the diagonal, each in [0, 2]. Throws WeftError for a vector of length 0. */
export const unlikeness = (vectors: readonly ArrayLike<number>[]): number[][] => {
  const units = vectors.map(unit)
  return units.map((a, i) =>
    units.map((b, j) =>
      i === j ? 0 : Math.min(2, Math.max(0, 1 - a.reduce((sum, v, k) => sum + v * b[k], 0))),
    ),
  )
}

/** The mean of r_D over every two of the samples. */
export const meanUnlikeness = (r: readonly (readonly number[])[]): number =>
  r.flat().reduce((sum, v) => sum + v, 0) / (r.length * (r.length - 1))

/**
 * Of each sample of one prompt its mean unlikeness to the others, less a baseline that does not depend on it: the mean
 * over the pairs without it, or of two samples the `running` mean of earlier ones. r: [n][n].
 */
export const advantages = (r: readonly (readonly number[])[], running: number): number[] => {
  const n = r.length
  const total = r.flat().reduce((sum, v) => sum + v, 0) / 2
  return r.map((row) => {
    const own = row.reduce((sum, v) => sum + v, 0)
    const pairs = ((n - 1) * (n - 2)) / 2
    return own / (n - 1) - (pairs ? (total - own) / pairs : running)
  })
}
