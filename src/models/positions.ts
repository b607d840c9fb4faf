/** @file Where the tokens of a batch stand: their positions, which keys they may see, and what a cache already holds. */
import { range, type Tensor } from '../tensor/index.js'

/** Positions of the tokens of a batch, and the keys that they may see. */
export interface Positions {
  /** Position of each token: [batch or 1, time] int32. */
  readonly ids: Tensor
  /** Position of each key, cached ones first: [batch or 1, keys] int32. */
  readonly keys: Tensor
  /** Keys that are there at all (padding is not): [batch, keys] bool. Default all. */
  readonly valid?: Tensor
  /** Whether a token sees only keys at its own position and before. */
  readonly causal: boolean
  /** Whether this is a pass of cached generation, of which nothing but logits and new keys is wanted. Default false. */
  readonly cached?: boolean
  /** Every position is below it. Default: the model's own maximum. */
  readonly limit?: number
}

/** Tokens 0 to time - 1 in every row, padded rows too. mask: [batch, time] int, 0 where padded. */
export const positionsFrom = (
  time: number,
  { causal, mask }: { causal: boolean; mask?: Tensor },
): Positions => {
  const ids = range(0, time).unsqueeze(0)
  return { ids, keys: ids, valid: mask?.notEqual(0), causal, limit: time }
}

const known = new WeakMap<Positions, Map<number | undefined, Tensor | undefined>>()

/**
 * Keys that each token sees: bool, broadcastable to [batch, heads, time, keys]; undefined for all. With a `window`, only
 * the last `window` positions up to the token's own; where keys behind it are seen too, those nearer than `window`. Layers that see the same positions share it.
 */
export const visible = (at: Positions, window?: number): Tensor | undefined => {
  const made = known.get(at) ?? new Map<number | undefined, Tensor | undefined>()
  known.set(at, made)
  if (!made.has(window)) made.set(window, mask(at, window))
  return made.get(window)
}

const mask = ({ ids, keys, valid, causal }: Positions, window: number | undefined): Tensor | undefined => {
  const distance = ids.unsqueeze(-1).sub(keys.unsqueeze(-2))
  let seen = causal ? distance.greaterEqual(0) : undefined
  if (window !== undefined) {
    const near = (causal ? distance : distance.abs()).less(window)
    seen = seen ? seen.and(near) : near
  }
  if (valid) seen = seen ? seen.and(valid.unsqueeze(-2)) : valid.unsqueeze(-2)
  return seen?.unsqueeze(1)
}
