/** @file Which of a task vector's elements are kept: the largest, all but outliers, or some at random. */
import { UsageError } from '../../errors.js'
import { type Key, uniform } from '../../random/index.js'
import { distancesInPlace } from '../core/gram.js'
import { countEqual, keep } from '../../stream/kernels/index.js'
import { orderByMagnitude } from '../../stream/kernels/order.js'
import type { AlignedTensor } from '../core/method.js'
import { type KeyPasses, type Ranked, ranked } from '../../stream/kernels/select.js'

/** Zeroes in place the elements of `delta`, the first of which has index `first`, that are dropped. Called on all blocks in order. */
export type Mask = (delta: Float32Array, first: number) => void

/** What the kinds of masks are told of each model, and of all. */
export interface Sparsity {
  readonly density: readonly number[]
  readonly gamma?: readonly number[]
  readonly epsilon?: readonly number[]
  /** Whether outliers are left out as Model Breadcrumbs has it, and not as mergekit has it. */
  readonly paper_masks?: boolean
  /** Of the paper's masks: whether each row of the last axis is ranked by itself. */
  readonly row_wise?: boolean
  /** Of the paper's masks: whether vectors are masked too. */
  readonly mask_vectors?: boolean
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
    const equalCount = countEqual(delta, key)
    const place = equalCount > left[b] ? placeAfter(delta, key, left[b]) : delta.length
    left[b] = Math.max(0, left[b] - equalCount)
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
  const fewer = bottom - low.below
  const more = top - (count - high.below - high.equal)
  const same = low.key === high.key
  return [low.equal - fewer - (same ? more : 0), high.equal - more - (same ? fewer : 0)]
}

/** How many elements of `count` go at each end, and how many stay between. */
interface Cut {
  readonly bottom: number
  readonly top: number
  readonly kept: number
}

/** mergekit's: nothing at all stays where gamma is given and its share is less than one element. */
const mergekitCut = (count: number, density: number, gamma: number | undefined): Cut => {
  const outliers = Math.floor((gamma ?? 0) * count)
  const kept = gamma !== undefined && !outliers ? 0 : Math.min(count, Math.floor(density * count))
  const top = Math.min(count - kept, outliers)
  return { bottom: count - kept - top, top, kept }
}

/** The paper's: the share gamma goes, then the share density stays, and at least one element where that is not 0. */
const paperCut = (count: number, density: number, gamma: number): Cut => {
  const top = Math.floor(gamma * count)
  const kept = Math.min(count - top, density > 0 ? Math.max(1, Math.floor(density * count)) : 0)
  return { bottom: count - kept - top, top, kept }
}

/** Masks of `tensor` that leave between the ends what `cuts` say of each model; undefined where all stays. */
const cutMasks = async (
  tensor: AlignedTensor,
  cuts: readonly (Cut | undefined)[],
): Promise<(Mask | undefined)[]> => {
  if (cuts.every((cut) => cut === undefined)) return cuts.map(() => undefined)
  const { count } = tensor
  const distances = distancesInPlace()
  const passes: KeyPasses = async function* () {
    for await (const block of tensor.blocks()) yield { first: block.first, keys: distances(block) }
  }
  const ranks = cuts.map((cut) => {
    if (!cut?.kept) return []
    return cut.top ? [cut.bottom, count - cut.top - 1] : [cut.bottom]
  })
  const bounds = await ranked(passes, ranks)
  return cuts.map((cut, m) => {
    if (!cut) return undefined
    if (!cut.kept) return (delta) => void delta.fill(0)
    const [low, high = unbounded(count)] = bounds[m]
    const [nthLow, nthHigh] = quotas(low, high, count, cut.bottom, cut.top)
    return maskOf({ ...low, nth: nthLow }, { ...high, nth: nthHigh })
  })
}

/**
 * Zeroes in place all of `delta` but `kept` elements: those that are left when the `top` largest magnitudes are gone, the
 * largest. Of equal magnitudes the lowest index stays.
 */
export const keepBetween = (delta: Float32Array, { kept, top }: Pick<Cut, 'kept' | 'top'>): void => {
  if (kept === 0) return void delta.fill(0)
  const sorted = delta.map(Math.abs).sort()
  const count = delta.length
  const high = sorted[count - top - 1]
  const low = sorted[count - top - kept]
  // Of the elements equal to the upper bound, as many go as there are removed ones not above it: the last ones.
  let above = 0
  let equal = 0
  let between = 0
  for (const x of delta) {
    const size = Math.abs(x)
    if (size > high) above++
    else if (size === high) equal++
    else if (size > low) between++
  }
  let stay = Math.min(equal - (top - above), kept)
  let left = low === high ? 0 : kept - between - stay
  for (let i = 0; i < count; i++) {
    const size = Math.abs(delta[i])
    if (size > low && size < high) continue
    if (size === high && stay > 0) stay--
    else if (size === low && left > 0) left--
    else delta[i] = 0
  }
}

/** A mask that ranks each row of `width` elements by itself. It is given whole rows. */
const rowMask =
  (width: number, cut: Cut): Mask =>
  (delta) => {
    for (let start = 0; start < delta.length; start += width)
      keepBetween(delta.subarray(start, start + width), cut)
  }

/** Throws UsageError for shares that leave out more than there is. */
const checkShares = (name: string, density: number, gamma: number): void => {
  if (density + gamma > 1)
    throw new UsageError(
      'BadValue',
      `${name}: density ${density} and gamma ${gamma}: expected shares that add up to at most 1`,
      { hint: 'density is the share of the changes that stays, gamma the share of the largest that goes.' },
    )
}

/** The masks of Model Breadcrumbs. Scalars stay whole, and so do vectors unless they are masked. */
const paperMasks: Sparsifier = async (tensor, { density, gamma = [], row_wise: rows, mask_vectors }) => {
  const { count, width, shape, name } = tensor
  density.forEach((share, m) => checkShares(name, share, gamma[m]))
  if (shape.length === 0 || (shape.length === 1 && mask_vectors === false))
    return density.map(() => undefined)
  const cutOf = (size: number, m: number): Cut | undefined =>
    density[m] === 1 ? undefined : paperCut(size, density[m], gamma[m])
  if (!rows)
    return cutMasks(
      tensor,
      density.map((_, m) => cutOf(count, m)),
    )
  return density.map((_, m) => {
    const cut = cutOf(width, m)
    return cut && rowMask(width, cut)
  })
}

/**
 * Drops the smallest magnitudes, and before them the share `gamma` of the largest, so that the share `density` stays
 * (Davari and Belilovsky, "Model Breadcrumbs", 2023; without gamma: Yadav et al., "TIES-Merging", 2023). Of equal
 * magnitudes at a bound, those of the lowest index stay. Without `paper_masks` as mergekit has it, where nothing at all
 * stays if gamma is given and its share is less than one element. Throws UsageError for shares of the paper's masks that
 * add up to more than 1.
 */
export const byMagnitude: Sparsifier = async (tensor, sparsity) => {
  const { density, gamma, paper_masks } = sparsity
  if (paper_masks) return paperMasks(tensor, sparsity)
  if (density.every((share) => share >= 1)) return density.map(() => undefined)
  return cutMasks(
    tensor,
    density.map((share, m) => (share >= 1 ? undefined : mergekitCut(tensor.count, share, gamma?.[m]))),
  )
}

/** Random numbers in [0, 1) of the elements of a block, the first of which has index `first`. */
const drawsOf = (count: number, first: number, key: Key): Float32Array => {
  const draws = new Float32Array(count)
  uniform(draws, key, { first })
  return draws
}

/** Zeroes each element with probability 1 - `share`. */
const drop = (delta: Float32Array, first: number, key: Key, share: number): void => {
  const draws = drawsOf(delta.length, first, key)
  for (let i = 0; i < delta.length; i++) if (draws[i] >= share) delta[i] = 0
}

/** Keeps each element with probability `density` (Yu et al., "Language Models are Super Mario", 2023). */
export const atRandom: Sparsifier = async (tensor, { density }) =>
  density.map((share, m) =>
    share >= 1 ? undefined : (delta, first) => drop(delta, first, tensor.key(m), share),
  )

/** Places of the elements of a row by rank, from 0 to 1: [width]. */
const placesOf = (width: number): Float32Array =>
  Float32Array.from({ length: width }, (_, rank) => (width > 1 ? rank / (width - 1) : 0.5))

/** Zeroes elements with a probability that falls with their place among the magnitudes of their row. */
const dropByRank = (tensor: AlignedTensor, m: number, share: number, spread: number): Mask => {
  const { width } = tensor
  const order = orderByMagnitude(width)
  const chances = Float64Array.from(placesOf(width), (place) => share - spread + 2 * spread * place)
  return (delta, first) => {
    const draws = drawsOf(delta.length, first, tensor.key(m))
    for (let start = 0; start < delta.length; start += width) {
      const ranks = order(delta.subarray(start, start + width))
      for (let rank = 0; rank < width; rank++) {
        const i = start + ranks[rank]
        if (draws[i] >= chances[rank]) delta[i] = 0
      }
    }
  }
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
    return dropByRank(tensor, m, share, spread)
  })
