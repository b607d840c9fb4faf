/** @file Philox 4x32-10: a block of four random words as a pure function of a counter and a key. */

/** The four 32-bit words of a counter or of the block drawn for it. */
export type Block = [number, number, number, number]
/** A 64-bit key: low word, high word. */
export type Key = readonly [low: number, high: number]

/** The constants of Salmon et al. 2011: two multipliers, and the Weyl steps by which the key is bumped each round. */
export const M0 = 0xd2511f53
export const M1 = 0xcd9e8d57
export const W0 = 0x9e3779b9
export const W1 = 0xbb67ae85
export const rounds = 10

/**
 * The high 32 bits of the 64-bit product of two unsigned words, signed. Four 16-bit products, as no sum may pass
 * 2^53.
 */
const mulHigh = (a: number, b: number): number => {
  const aLow = a & 0xffff
  const aHigh = a >>> 16
  const bLow = b & 0xffff
  const bHigh = b >>> 16
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  const carry = (middle & 0xffff) + aLow * bHigh
  return (aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(carry / 65536)) | 0
}

/** Writes the block for a counter and a key to `out` from `at` on. */
export const philoxInto = (
  out: Uint32Array | Block,
  at: number,
  [c0, c1, c2, c3]: Readonly<Block>,
  [k0, k1]: Key,
): void => {
  for (let round = 0; round < rounds; round++) {
    const high0 = mulHigh(M0, c0)
    const high1 = mulHigh(M1, c2)
    const low0 = Math.imul(M0, c0)
    c0 = high1 ^ c1 ^ k0
    c1 = Math.imul(M1, c2)
    c2 = high0 ^ c3 ^ k1
    c3 = low0
    k0 = (k0 + W0) | 0
    k1 = (k1 + W1) | 0
  }
  out[at] = c0 >>> 0
  out[at + 1] = c1 >>> 0
  out[at + 2] = c2 >>> 0
  out[at + 3] = c3 >>> 0
}

/**
 * Philox 4x32 with ten rounds: the block of four unsigned words that belongs to `counter` under `key`.
 *
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 3.3.
 */
export const philox = (counter: Readonly<Block>, key: Key): Block => {
  const out: Block = [0, 0, 0, 0]
  philoxInto(out, 0, counter, key)
  return out
}
