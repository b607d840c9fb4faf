/** @file Which of a task vector's elements are kept: the largest, all but outliers, or some at random. */
import { UsageError } from '../../errors.js'
import { type Key, uniform } from '../../random/index.js'
import { distancesInPlace } from '../core/gram.js'
import { countEqual, keep } from '../../stream/kernels/index.js'
import type { AlignedTensor } from '../core/method.js'
import { type KeyPasses, type Ranked, ranked } from '../../stream/kernels/select.js'

/** Zeroes in place the elements of `delta`, the first of which has index `first`, that are dropped. Called on all blocks in order. */
export type Mask = (delta: Float32Array, first: number) => void

/** What the kinds of masks are told of each model. */
export interface Sparsity {
  readonly density: readonly number[]
  readonly gamma?: readonly number[]
  readonly epsilon?: readonly number[]
}

/** Finds every model's mask for a tensor; undefined where all is kept. */
export type Sparsifier = (tensor: AlignedTensor, sparsity: Sparsity) => Promise<(Mask | undefined)[]>

/** A bound of the magnitudes kept, and of those equal to it how many: the first ones. */
interface Bound extends Ranked {
  readonly nth: number
}

/** The place after the `nth` number whose magnitude has these bits. */
const placeAfter = (delta: Float32Array, bits: number, nth: number): number => {
  const words = new Uint32Array(delta.buffer, delta.byteOffset, delta.length)
  let seen = 0
  return 1 + words.findIndex((word) => (word & 0x7fffffff) === bits && ++seen === nth)
}

/** Magnitudes between two bounds stay. A mask counts what is equal to them, so it is given all blocks, in order. */
const maskOf = (...bounds: readonly [low: Bound, high: Bound]): Mask => {
  const left = [0, 0]
  /** How much of the block comes before the quota of a bound runs out. */
  const cut = (delta: Float32Array, { key, nth, equal }: Bound, b: number): number => {
    if (nth >= equal) return delta.length
    if (left[b] === 0) return 0
    const found = countEqual(delta, key)
    const place = found > left[b] ? placeAfter(delta, key, left[b]) : delta.length
    left[b] = Math.max(0, left[b] - found)
    return place
  }
  return (delta, first) => {
    if (first === 0) bounds.forEach(({ nth }, b) => (left[b] = nth))
    const cuts = bounds.map((bound, b) => cut(delta, bound, b))
    const [low, high] = bounds
    let start = 0
    for (const end of [...cuts].sort((a, b) => a - b).concat(delta.length)) {
      const part = delta.subarray(start, end)
      keep(part, low.key + (start >= cuts[0] ? 1 : 0), high.key - (start >= cuts[1] ? 1 : 0))
      start = end
    }
  }
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
  const distances = distancesInPlace()
  const passes: KeyPasses = async function* () {
    for await (const block of tensor.blocks()) yield { first: block.first, keys: distances(block) }
  }
  const ranks = cuts.map(({ bottom, top, kept }) =>
    kept ? (top ? [bottom, count - top - 1] : [bottom]) : [],
  )
  const bounds = await ranked(passes, ranks)
  return cuts.map(({ dense, bottom, top, kept }, m) => {
    if (dense) return undefined
    if (!kept) return (delta) => void delta.fill(0)
    const [low, high = unbounded(count)] = bounds[m]
    const [nthLow, nthHigh] = quotas(low, high, count, bottom, top)
    return maskOf({ ...low, nth: nthLow }, { ...high, nth: nthHigh })
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
