/** @file The config.json of a model that is put together of layers, of one model or several: recipes slice and stack them. */
import type { JsonObject } from '../checkpoint/web.js'
import { UsageError } from '../errors.js'
import { relativeOf } from './architectures.js'
import type { LayerSize, LayerStack } from './declarations.js'
import { type LayerOrigin, withLayers } from './layer-lists.js'
import { withSizes } from './widths.js'

const stackOf = ({ model_type: type }: JsonObject, count: string): LayerStack | undefined =>
  relativeOf(String(type))?.stacks?.find((stack) => stack.count === count)

const listsOf = ({ weft }: JsonObject): JsonObject => (weft ?? {}) as JsonObject

/** The size `key` of the layer that comes from `origin`: Weft's entry, the number for all layers, or what none means. */
const sizeOf = (key: string, { config, layer }: LayerOrigin, fallback: LayerSize): number => {
  const list = listsOf(config)[key]
  return Number((Array.isArray(list) ? list[layer] : config[key]) ?? fallback(config, layer))
}

/** Sizes that may be one a layer. Where any is not as `base` says, all are said: what is left out goes by the others. */
const withOwnSizes = (
  base: JsonObject,
  origins: readonly LayerOrigin[],
  { sizes }: LayerStack,
): JsonObject => {
  const all = Object.entries(sizes).map(([key, fallback]) => {
    const usual = Number(base[key] ?? fallback(base, 0))
    return { key, usual, each: origins.map((origin) => sizeOf(key, origin, fallback)) }
  })
  const asBefore = all.every(({ usual, each }) => each.every((size) => size === usual))
  return all.reduce((json, { key, usual, each }) => {
    if (asBefore) return withSizes(json, key, json[key] === undefined ? [] : each, true)
    const written = withSizes(json, key, each, true)
    // The number for all layers stays what it was where it holds for none: others may be derived from it.
    return key in listsOf(written) ? { ...written, [key]: usual } : written
  }, base)
}

/** Lists that the architecture fills by a rule where they are absent: written where the rule would say otherwise now. */
const withRules = (
  base: JsonObject,
  origins: readonly LayerOrigin[],
  lists: NonNullable<LayerStack['lists']>,
): JsonObject => {
  const entries = origins.map(({ config, layer }) =>
    Object.fromEntries(Object.entries(lists(config)).map(([key, list]) => [key, list[layer]])),
  )
  return Object.keys(entries[0] ?? {}).reduce((json, key) => {
    const { [key]: writtenList, ...without } = json
    const list = entries.map((entry) => entry[key])
    const byRule = lists(without)[key]
    const agrees = writtenList === undefined && list.every((entry, i) => entry === byRule[i])
    return agrees ? without : { ...without, [key]: list }
  }, base)
}

/** Throws UsageError for layers that must stand where they stood. */
const checkNumbers = (origins: readonly LayerOrigin[], { byNumber = {} }: LayerStack): void => {
  if (origins.every(({ layer }, i) => layer === i)) return
  for (const [key, harmless] of Object.entries(byNumber))
    for (const { config, folder } of origins)
      if ((config[key] ?? harmless) !== harmless)
        throw new UsageError(
          'LayersMoved',
          `${folder}/config.json: ${key} goes by a layer's number, and these slices move layers.`,
          { hint: 'Keep the layers in their places.' },
        )
}

/**
 * `base`, the config.json of a model whose layers are those of `origins` in this order: their number under `count`, lists
 * with an entry a layer cut and joined, sizes that differ listed, and what an architecture says by a layer's number
 * (windows that alternate) said layer by layer. Throws CheckpointError where a model lacks a list that another has, and
 * UsageError for layers that cannot be moved.
 */
export const stackedConfig = (
  base: JsonObject,
  origins: readonly LayerOrigin[],
  count: string,
): JsonObject => {
  const stack = stackOf(base, count)
  const rules = stack?.lists
  const ruled = new Set(rules ? origins.flatMap(({ config }) => Object.keys(rules(config))) : [])
  // What the architecture knows by rule is no list that a model might lack.
  const bare = (json: JsonObject): JsonObject => {
    const copy = { ...json }
    for (const key of ruled) delete copy[key]
    return copy
  }
  if (stack) checkNumbers(origins, stack)
  const listed = withLayers(
    base,
    origins.map((origin) => ({ ...origin, config: bare(origin.config) })),
  )
  const counted = { ...listed, [count]: origins.length }
  const sized = stack ? withOwnSizes(counted, origins, stack) : counted
  return rules ? withRules(sized, origins, rules) : sized
}
