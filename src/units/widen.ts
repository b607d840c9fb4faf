/** @file The config.json of a partially merged model: its widths in the words of each architecture. */
import type { JsonObject } from '../checkpoint/index.js'
import { UsageError } from '../errors.js'
import type { Architecture, Model } from '../models/index.js'
import { sameShape } from '../tensor/index.js'
import type { WideAxis } from '../merge/pleas/split.js'

/** How many units each group has now. */
export type Widths = ReadonlyMap<string, number>

type Widen = (config: JsonObject, widths: Widths) => JsonObject

const mlp: Widen = (config, widths) => {
  const sizes = config.sizes as number[]
  return {
    ...config,
    sizes: sizes.map((size, i) => widths.get(`layers.${i - 1}.hidden`) ?? size),
    ...(widths.has('residual') ? { width: widths.get('residual') } : {}),
  }
}

/** A stage's channels are those of its shortcut's group, or else what enters it. */
const resnet: Widen = (config, widths) => {
  const stem = widths.get('stem')!
  const stages = (config.depths as number[] | undefined) ?? [3, 4, 6, 3]
  let channels = stem
  const hidden = stages.map((_, s) => (channels = widths.get(`stages.${s}.layers.0`) ?? channels))
  return { ...config, embedding_size: stem, hidden_sizes: hidden }
}

/** A size for every layer: the number that config.json has, or, where layers differ, Weft's list of them. */
const perLayer = (config: JsonObject, key: string, sizes: readonly (number | undefined)[]): JsonObject => {
  const known = sizes.filter((size) => size !== undefined)
  if (known.length === 0) return config
  const weft = (config.weft ?? {}) as JsonObject
  const { [key]: _, ...others } = weft
  const alike = known.every((size) => size === known[0])
  const list = alike ? others : { ...others, [key]: known }
  const { weft: __, ...plain } = config
  return { ...plain, [key]: known[0], ...(Object.keys(list).length ? { weft: list } : {}) }
}

/** Blocks of attention and a feed-forward part; a unit of heads is a key head with the query heads that share it. */
const transformer: Widen = (config, widths) => {
  const layers = Number(config.num_hidden_layers ?? 12)
  const each = (part: string): (number | undefined)[] =>
    Array.from({ length: layers }, (_, i) => widths.get(`layers.${i}.${part}`))
  const heads = Number(config.num_attention_heads ?? 12)
  const perHead = heads / Number(config.num_key_value_heads ?? heads)
  const width = Number(config.hidden_size ?? 768)
  const units = each('heads')
  const hidden = each('hidden').map((size, i) => size ?? widths.get(`layers.${i}.experts.0.hidden`))
  const sized = { ...config, head_dim: config.head_dim ?? Math.floor(width / heads) }
  const keyed =
    config.num_key_value_heads === undefined ? sized : perLayer(sized, 'num_key_value_heads', units)
  const queries = perLayer(
    keyed,
    'num_attention_heads',
    units.map((n) => n && n * perHead),
  )
  return { ...perLayer(queries, 'intermediate_size', hidden), hidden_size: widths.get('residual') ?? width }
}

const widen: Readonly<Record<string, Widen>> = {
  mlp,
  resnet,
  llama: transformer,
  vit: transformer,
  bert: transformer,
}

/** In which multiples a group of `model` may widen: a bottleneck's channels are four times those inside it. */
export const stepsOf = ({ architecture, checkpoint: { config } }: Model): ((group: string) => number) => {
  const bottleneck = architecture.name === 'resnet' && (config.layer_type ?? 'bottleneck') === 'bottleneck'
  return (group) => (bottleneck && !group.includes('.inner.') ? 4 : 1)
}

/**
 * `config` with the widths of a merged model. Throws UsageError where the architecture's config.json cannot say them,
 * naming a tensor and both shapes.
 */
export const widenedConfig = (
  architecture: Architecture,
  config: JsonObject,
  widths: Widths,
  wide: ReadonlyMap<string, readonly WideAxis[]>,
): JsonObject => {
  const said = widen[architecture.name]?.(config, widths) ?? config
  for (const { name, shape } of architecture.table(architecture.readConfig(said))) {
    const wanted = wide.get(name)?.map(({ from }) => from.length)
    if (wanted && sameShape(wanted, shape)) continue
    throw new UsageError(
      'UnsayableWidths',
      `${architecture.name}: the merged tensor ${JSON.stringify(name)} would be [${wanted}], but its config.json can only say [${shape}]`,
      { hint: 'Merge at budget = 1, or with one ratio for all groups (no gains).' },
    )
  }
  return said
}
