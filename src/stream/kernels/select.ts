/** @file Order statistics of streams too long to sort: exact, in two passes over 16 bits each. */
import { countHigh, countLow, wordsBeside } from './index.js'

/** Keys of each list, block by block; gone through anew at every call. */
export type KeyPasses = () => AsyncIterable<{ readonly first: number; readonly keys: readonly Uint32Array[] }>

/** A key at a wanted rank, how many keys are smaller, and how many are the same. */
export interface Ranked {
  readonly key: number
  readonly below: number
  readonly equal: number
}

const half = 1 << 16

/** The bin of `histogram` in which the element of rank `rank` lies, and how many elements lie before that bin. */
const binOf = (histogram: Uint32Array, rank: number): { bin: number; before: number } => {
  let before = 0
  for (let bin = 0; bin < histogram.length; bin++) {
    if (before + histogram[bin] > rank) return { bin, before }
    before += histogram[bin]
  }
  throw new RangeError(`rank ${rank} is beyond the ${before} elements`)
}

/**
 * The keys at `ranks[l]` (0 the smallest) of list l, for every list. Two passes, whatever the number of lists and ranks.
 */
export const ranked = async (
  passes: KeyPasses,
  ranks: readonly (readonly number[])[],
): Promise<Ranked[][]> => {
  const high: Uint32Array[] = []
  for await (const { keys } of passes())
    keys.forEach((list, l) => countHigh(list, (high[l] ??= wordsBeside(list, half))))
  const places = ranks.map((wanted, l) => wanted.map((rank) => binOf(high[l], rank)))
  const low = places.map(
    (binsOfLayer, l) => new Map(binsOfLayer.map(({ bin }) => [bin, wordsBeside(high[l], half)])),
  )
  for await (const { keys } of passes())
    keys.forEach((list, l) => low[l].forEach((bins, bin) => countLow(list, bins, bin)))
  return places.map((binsOfLayer, l) =>
    binsOfLayer.map(({ bin, before }, r) => {
      const bins = low[l].get(bin)!
      const inner = binOf(bins, ranks[l][r] - before)
      return {
        key: bin * half + inner.bin,
        below: before + inner.before,
        equal: bins[inner.bin],
      }
    }),
  )
}

/** Of each list, the index of the `nth` (from 1) key that equals `key`; -1 for nth = 0. One pass. */
export const indexOfEqual = async (
  passes: KeyPasses,
  wanted: readonly (readonly { readonly key: number; readonly nth: number }[])[],
): Promise<number[][]> => {
  const seen = wanted.map((own) => own.map(() => 0))
  const found = wanted.map((own) => own.map(() => -1))
  for await (const { first, keys } of passes())
    wanted.forEach((own, l) =>
      own.forEach(({ key, nth }, w) => {
        const list = keys[l]
        for (let i = 0; i < list.length && seen[l][w] < nth; i++)
          if (list[i] === key && ++seen[l][w] === nth) found[l][w] = first + i
      }),
    )
  return found
}
