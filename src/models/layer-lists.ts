/**
 * @file The lists of config.json that say something of each layer, for models whose layers are those of others: cut, repeated
 * and joined with the layers, so that the result opens.
 */
import { keepNumeral, numeralOf } from '../checkpoint/numerals.js'
import { isJsonObject, type Json, type JsonObject } from '../checkpoint/web.js'
import { CheckpointError } from '../errors.js'

/** Origin of a layer. */
export interface LayerOrigin {
  /** config.json of its model. */
  readonly config: JsonObject
  /** The model's folder, for messages. */
  readonly folder: string
  /** Number of the layer there, from 0. */
  readonly layer: number
  /** How many layers there are. */
  readonly count: number
}

/** Keys of Transformers' configurations whose list has an entry a layer. */
const entryKeys: readonly string[] = [
  'activation_sparsity_pattern',
  'attention_layers',
  'attn_type_list',
  'block_configs',
  'ffn_multipliers',
  'head_dim',
  'intermediate_size',
  'layer_types',
  'layers_block_type',
  'mlp_layer_types',
  'moe_intermediate_size',
  'moe_layer_freq',
  'moe_topk',
  'no_rope_layers',
  'num_attention_heads',
  'num_experts',
  'num_key_value_heads',
  'num_key_value_heads_per_layer',
  'num_kv_heads',
  'num_query_heads',
]

/** Keys whose list names layers by their numbers. */
const numberKeys: readonly string[] = [
  'attn_layer_indices',
  'cross_attention_layers',
  'dense_layers',
  'full_attn_idxs',
  'global_attn_layers',
  'hybrid_layer_ids',
  'mlp_only_layers',
  'moe_layers',
]

/** The list `key` of `from`, if it has an entry for each layer of `origin`'s model. */
const listOf = (from: JsonObject, key: string, { count }: LayerOrigin): Json[] | undefined => {
  const value = from[key]
  return Array.isArray(value) && value.length === count ? value : undefined
}

/** Appends `value`, which was written as `text`, to `list`. */
const append = (list: Json[], value: Json, text?: string): void => {
  if (typeof value === 'number' && text !== undefined) keepNumeral(list, String(list.length), value, text)
  list.push(value)
}

/**
 * One entry a layer under `key`, each from its own model: of a list there, or the one value that holds for all its layers.
 * `of`: where in a model's config.json the list stands; `whole`: where the one value does. Undefined where no model has a
 * list. Throws CheckpointError where a model has neither.
 */
const joinedList = (
  key: string,
  origins: readonly LayerOrigin[],
  of: (config: JsonObject) => JsonObject,
  whole: (config: JsonObject) => Json | undefined,
): Json[] | undefined => {
  if (!origins.some((origin) => listOf(of(origin.config), key, origin))) return undefined
  const joined: Json[] = []
  for (const origin of origins) {
    const list = listOf(of(origin.config), key, origin)
    const value = list ? list[origin.layer] : whole(origin.config)
    if (value === undefined || Array.isArray(value))
      throw new CheckpointError(
        'NoLayerList',
        `${origin.folder}/config.json: ${key} says nothing of each of its ${origin.count} layers, but that of another model of the slices does.`,
        { hint: `Write ${key} into it: a list of ${origin.count} entries.` },
      )
    const text = typeof value === 'number' && list ? numeralOf(list, String(origin.layer), value) : undefined
    append(joined, value, text)
  }
  return joined
}

/** The numbers that layers have now of those that lists under `key` name; undefined where no model has such a list. */
const renumbered = (key: string, origins: readonly LayerOrigin[]): Json[] | undefined => {
  const lists = origins.map(({ config }) => config[key])
  if (!lists.some(Array.isArray)) return undefined
  return origins.flatMap(({ layer }, i) => {
    const list = lists[i]
    return Array.isArray(list) && list.includes(layer) ? [i] : []
  })
}

const weftOf = ({ weft }: JsonObject): JsonObject => (isJsonObject(weft) ? weft : {})

/**
 * `config` with the lists that say something of each layer made of those of the layers' own models, and nothing else
 * changed. `origins`: where each layer of the result comes from, in order. Throws CheckpointError (NoLayerList) where one
 * model has such a list, and another neither it nor one value for all layers.
 */
export const withLayers = (config: JsonObject, origins: readonly LayerOrigin[]): JsonObject => {
  const out: JsonObject = { ...config }
  for (const key of entryKeys) {
    const list = joinedList(
      key,
      origins,
      (json) => json,
      (json) => json[key],
    )
    if (list) out[key] = list
  }
  for (const key of numberKeys) {
    const list = renumbered(key, origins)
    if (list) out[key] = list
  }
  const sizes: JsonObject = { ...weftOf(config) }
  for (const key of new Set(origins.flatMap((origin) => Object.keys(weftOf(origin.config))))) {
    const list = joinedList(key, origins, weftOf, (json) => json[key])
    if (list) sizes[key] = list
  }
  return Object.keys(sizes).length ? { ...out, weft: sizes } : out
}
