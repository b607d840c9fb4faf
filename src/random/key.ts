/** @file Seeds: how an integer or a name becomes the 64-bit key of the generator. */
import { sha256 } from '@noble/hashes/sha2.js'
import { WeftError } from '../errors.js'
import type { Key } from './philox.js'

/** Name of a sequence of draws: a 64-bit integer, any string, or a key already made. */
export type Seed = number | bigint | string | Key

/** A seed that names no sequence of draws. */
export class SeedError extends WeftError {
  constructor(message: string, hint?: string) {
    super('SeedError', message, { hint })
  }
}

const words = (integer: bigint): Key => {
  const bits = BigInt.asUintN(64, integer)
  return [Number(bits & 0xffffffffn), Number(bits >> 32n)]
}

const digestKey = (name: string): Key => {
  const view = new DataView(sha256(new TextEncoder().encode(name)).buffer)
  return [view.getUint32(0, true), view.getUint32(4, true)]
}

/**
 * The key of a seed. An integer is its own 64 bits (negative ones in two's complement); a string gives the first
 * 8 bytes of the SHA-256 of its UTF-8, little-endian. Throws SeedError for a number that is not a safe integer or a
 * bigint that does not fit 64 bits: two such seeds could silently be the same.
 */
export const keyOf = (seed: Seed): Key => {
  if (typeof seed === 'string') return digestKey(seed)
  if (typeof seed === 'object') return seed
  if (typeof seed === 'number' && !Number.isSafeInteger(seed))
    throw new SeedError(`seed ${seed} is not an integer of at most 53 bits`, 'Use a bigint or a string.')
  const integer = BigInt(seed)
  if (BigInt.asUintN(64, integer) !== integer && BigInt.asIntN(64, integer) !== integer)
    throw new SeedError(`seed ${integer} does not fit in 64 bits`, 'Use a string: it is hashed.')
  return words(integer)
}
