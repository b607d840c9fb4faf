/** @file Where in the sequence of a key a draw lies: the four counter words have fixed meanings. */
import { WeftError } from '../errors.js'

/**
 * A place in the sequence of one key. The counter of a block is (block low, block high, tensor, domain), so any shard
 * of any tensor is drawn without the rest.
 */
export interface Place {
  /** Block that element 0 reads from: an integer below 2^53. Default 0. */
  readonly block?: number
  /** Index of the tensor in the sorted list of names, 32 bits. Default 0. */
  readonly tensor?: number
  /** Tag that keeps the draws for different purposes apart, 32 bits. Default 0. */
  readonly domain?: number
  /**
   * Index of the first element that is written: `first: 100` gives what a whole draw has from element 100 on. Default
   * 0.
   */
  readonly first?: number
}

/** A place that lies in no sequence of draws. */
export class PlaceError extends WeftError {
  constructor(name: string, value: unknown, limit: number) {
    super('PlaceError', `${name} ${String(value)} is not an integer from 0 to ${limit}`)
  }
}

/** `value` when it is an integer in [0, limit]. Throws PlaceError with `name` otherwise. */
export const natural = (name: string, value: number, limit: number): number => {
  if (!Number.isInteger(value) || value < 0 || value > limit) throw new PlaceError(name, value, limit)
  return value
}

/** The first block of a draw with `perBlock` elements a block, and how many of its elements come before the draw. */
export interface Start {
  readonly block: number
  readonly skip: number
  readonly tensor: number
  readonly domain: number
}

/** Where a draw of `count` elements starts. Throws PlaceError when it would leave the 2^53 blocks. */
export const startOf = (place: Place, perBlock: number, count: number): Start => {
  const first = natural('first', place.first ?? 0, Number.MAX_SAFE_INTEGER)
  const block = natural('block', place.block ?? 0, Number.MAX_SAFE_INTEGER) + Math.floor(first / perBlock)
  natural('last block', block + Math.ceil(count / perBlock), Number.MAX_SAFE_INTEGER)
  return {
    block,
    skip: first % perBlock,
    tensor: natural('tensor', place.tensor ?? 0, 0xffffffff),
    domain: natural('domain', place.domain ?? 0, 0xffffffff),
  }
}
