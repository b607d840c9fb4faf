/** @file Sizes of layers in config.json: one number where all layers agree, else a list of them under `weft`. */
import type { JsonObject } from '../checkpoint/web.js'
import type { LayerStack, SizeKeys } from './declarations.js'

/**
 * `config` with a size for every layer, sizes: [layers]: under `key` the number that all have, or the first; and where they differ, and
 * `perLayer` says that they may, Weft's list of all of them under `weft`. Without sizes, `config` is given back.
 */
export const withSizes = (
  config: JsonObject,
  key: string,
  sizes: readonly number[],
  perLayer: boolean,
): JsonObject => {
  if (sizes.length === 0) return config
  const { weft = {}, ...plain } = config
  const lists = { ...(weft as JsonObject) }
  delete lists[key]
  if (perLayer && sizes.some((size) => size !== sizes[0])) lists[key] = [...sizes]
  return { ...plain, [key]: sizes[0], ...(Object.keys(lists).length > 0 && { weft: lists }) }
}

/** What encoders call their sizes. */
export const encoderSizes: SizeKeys = {
  heads: { all: 'num_attention_heads', size: 'head_dim' },
  hidden: 'intermediate_size',
  width: 'hidden_size',
  perLayer: true,
}

/** The sizes of an encoder's layers, and what leaving one out means. */
export const encoderLayerSizes: LayerStack['sizes'] = {
  num_attention_heads: () => 12,
  head_dim: ({ hidden_size: width = 768, num_attention_heads: heads = 12 }) =>
    Math.floor(Number(width) / Number(heads)),
  intermediate_size: () => 3072,
}
