/** @file Which of a task vector's elements are kept: the largest, all but outliers, or some at random. */
import { UsageError } from '../errors.js'
import { type Key, uniform } from '../random/index.js'
import { offsetsInPlace } from './gram.js'
import { keep, magnitudes } from './kernels.js'
import type { AlignedTensor } from './method.js'
import { indexOfEqual, type KeyPasses, type Ranked, ranked } from './select.js'

/** Zeroes in place the elements of `delta`, the first of which has index `first`, that are dropped. */
export type Mask = (delta: Float32Array, first: number) => void

/** What the kinds of masks are told of each model. */
export interface Sparsity {
  readonly density: readonly number[]
  readonly gamma?: readonly number[]
  readonly epsilon?: readonly number[]
}

/** Finds every model's mask for a tensor; undefined where all is kept. */
export type Sparsifier = (tensor: AlignedTensor, sparsity: Sparsity) => Promise<(Mask | undefined)[]>

/** Kept: keys between two bounds; of those equal to a bound, the ones up to an index. */
interface Kept {
  readonly low: number
  readonly high: number
  readonly lastLow: number
  readonly lastHigh: number
}

const maskOf =
  ({ low, high, lastLow, lastHigh }: Kept): Mask =>
  (delta, first) => {
    keep(delta, low, high)
    const words = new Int32Array(delta.buffer, delta.byteOffset, delta.length)
    for (const [bound, last] of [
      [low, lastLow],
      [high, lastHigh],
    ])
      for (let i = Math.max(0, last + 1 - first); i < words.length; i++)
        if ((words[i] & 0x7fffffff) === bound) words[i] = 0
  }

/** A bound above all of `count` magnitudes. */
const unbounded = (count: number): Ranked => ({ key: 0x7fffffff, below: count, equal: 0 })

/** How many of the elements equal to each bound stay when `bottom` and `top` elements of `count` go. */
const quotas = (low: Ranked, high: Ranked, count: number, bottom: number, top: number): [number, number] => {
  const [fewer, more] = [bottom - low.below, top - (count - high.below - high.equal)]
  const same = low.key === high.key
  return [low.equal - fewer - (same ? more : 0), high.equal - more - (same ? fewer : 0)]
}

/**
 * Drops the smallest magnitudes, and before them the share `gamma` of the largest, so that the share `density` stays
 * (Davari and Belilovsky, "Model Breadcrumbs", 2023; without gamma: Yadav et al., "TIES-Merging", 2023). Of equal
 * magnitudes at a bound, those of the lowest index stay. As in mergekit, nothing at all stays where gamma is given and its
 * share is less than one element (the norms of small models).
 */
export const byMagnitude: Sparsifier = async (tensor, { density, gamma }) => {
  const { count } = tensor
  const cuts = density.map((share, m) => {
    const outliers = Math.floor((gamma?.[m] ?? 0) * count)
    const kept = gamma && !outliers ? 0 : Math.min(count, Math.floor(share * count))
    const top = Math.min(count - kept, outliers)
    return { bottom: count - kept - top, top, kept, dense: share >= 1 }
  })
  if (cuts.every(({ dense }) => dense)) return cuts.map(() => undefined)
  const offsets = offsetsInPlace()
  const passes: KeyPasses = async function* () {
    for await (const block of tensor.blocks())
      yield { first: block.first, keys: offsets(block).map(magnitudes) }
  }
  const ranks = cuts.map(({ bottom, top, kept }) =>
    kept ? (top ? [bottom, count - top - 1] : [bottom]) : [],
  )
  const bounds = await ranked(passes, ranks)
  const places = cuts.map(({ bottom, top, kept }, m) => {
    if (!kept) return []
    const [low, high = unbounded(count)] = bounds[m]
    const [nthLow, nthHigh] = quotas(low, high, count, bottom, top)
    return [
      { ...low, nth: nthLow },
      { ...high, nth: nthHigh },
    ]
  })
  const tied = places.some((own) => own.some(({ nth, equal }) => nth < equal))
  const last = tied ? await indexOfEqual(passes, places) : places.map((own) => own.map(() => Infinity))
  return cuts.map(({ dense, kept }, m) => {
    if (dense) return undefined
    if (!kept) return (delta) => void delta.fill(0)
    const [low, high] = places[m]
    return maskOf({ low: low.key, high: high.key, lastLow: last[m][0], lastHigh: last[m][1] })
  })
}

/** Zeroes each element with probability 1 - its entry of `chances`. */
const drop = (delta: Float32Array, first: number, key: Key, chances: (i: number) => number): void => {
  const draws = new Float32Array(delta.length)
  uniform(draws, key, { first })
  for (let i = 0; i < delta.length; i++) if (draws[i] >= chances(i)) delta[i] = 0
}

/** Keeps each element with probability `density` (Yu et al., "Language Models are Super Mario", 2023). */
export const atRandom: Sparsifier = async (tensor, { density }) =>
  density.map((share, m) =>
    share >= 1 ? undefined : (delta, first) => drop(delta, first, tensor.key(m), () => share),
  )

/** The place of each element among the magnitudes of its row, from 0 to 1; equal ones in the order of their index. */
const rowRanks = (delta: Float32Array, width: number): Float32Array => {
  const places = new Float32Array(delta.length)
  for (let start = 0; start < delta.length; start += width) {
    const row = delta.subarray(start, start + width)
    const order = Uint32Array.from(row, (_, i) => i).sort(
      (a, b) => Math.abs(row[a]) - Math.abs(row[b]) || a - b,
    )
    order.forEach((i, rank) => (places[start + i] = width > 1 ? rank / (width - 1) : 0.5))
  }
  return places
}

/**
 * Keeps each element with a probability that rises from density - epsilon for the smallest of its row to density +
 * epsilon for the largest (Deep et al., "DELLA-Merging", 2024). Throws UsageError where these leave (0, 1).
 */
export const byRank: Sparsifier = async (tensor, { density, epsilon }) =>
  density.map((share, m) => {
    if (share >= 1) return undefined
    if (share <= 0) return (delta) => void delta.fill(0)
    const spread = epsilon![m]
    if (share + spread >= 1 || share - spread <= 0)
      throw new UsageError(
        'BadValue',
        `${tensor.name}: density ${share} with epsilon ${spread}: density - epsilon and density + epsilon must lie between 0 and 1`,
      )
    return (delta, first) => {
      const ranks = rowRanks(delta, tensor.width)
      drop(delta, first, tensor.key(m), (i) => share - spread + 2 * spread * ranks[i])
    }
  })
