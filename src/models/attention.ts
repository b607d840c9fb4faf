/** @file What the attention modules of all architectures share: heads, and the core that the seam's `attend` is given. */
import { attention, type AttentionOptions, range, type Shape, type Tensor } from '../tensor/index.js'
import type { ModelInputs } from './architecture.js'
import { visible } from './positions.js'
import type { AttentionCore } from './weights.js'

/** x: [batch, time, heads * size] -> [batch, heads, time, size]. */
export const splitHeads = (x: Tensor, heads: number): Tensor =>
  x.reshape([x.shape[0], x.shape[1], heads, -1]).transpose([0, 2, 1, 3])

/** x: [batch, heads, time, size] -> [batch, time, heads * size]. */
export const mergeHeads = (x: Tensor): Tensor =>
  x.transpose([0, 2, 1, 3]).reshape([x.shape[0], x.shape[2], x.shape[1] * x.shape[3]])

/** Options of an attention core. */
export interface CoreOptions extends Pick<AttentionOptions, 'scale' | 'softcap' | 'drop'> {
  /** A token sees itself and the `window` - 1 tokens before, and as many behind where these are seen at all. Default: all. */
  readonly window?: number
}

/** Scaled dot-product attention over the keys that each token sees, as `attend` takes it. */
export const attentionCore =
  ({ window, ...options }: CoreOptions = {}): AttentionCore =>
  ({ q, k, v, bias, at }) =>
    attention(q, k, v, { ...options, bias, mask: visible(at, window) })

/**
 * The last token of each text, [batch, 1] int32, by which a causal model classifies it: of ids the last that is not
 * `padding`, else the last that the mask has. shape: [batch, time, width] of the tokens.
 */
export const lastOf = ({ ids, mask }: ModelInputs, shape: Shape, padding?: number): Tensor => {
  const [batch, time] = shape
  const there = ids && padding !== undefined ? ids.notEqual(padding) : mask?.notEqual(0)
  const places = range(0, time).unsqueeze(0)
  if (!there) return places.slice(1, time - 1).expand([batch, 1])
  return places.mul(there.cast('int32')).max(-1, { keep: true })
}

/** The rows `at` (int, [batch, n]) of x: [batch, time, width] -> [batch, n, width]. */
export const rowsAt = (x: Tensor, at: Tensor): Tensor =>
  x.gatherElements(at.unsqueeze(-1).expand([...at.shape, x.shape[2]]), 1)
