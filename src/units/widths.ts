/**
 * @file config.json of a model whose groups have other numbers of units: fewer after some were cut, more after two models
 * were merged in part. Its sizes are said in the words of each architecture.
 */
import type { JsonObject } from '../checkpoint/index.js'
import { UsageError } from '../errors.js'
import type { Architecture, Model, WeightSpec } from '../models/index.js'
import { sameShape, type Shape } from '../tensor/index.js'
import { outputAxis } from './permutation/groups.js'

/** Number of units by group. */
export type Widths = ReadonlyMap<string, number>

/** What a group is in the table of weights. */
interface Group {
  readonly name: string
  readonly units: number
  /** Query heads in a unit, and the size of one; both 1 where units are no heads. */
  readonly heads: number
  readonly size: number
}

/** The groups of a table, in its order. */
const groupsOf = (table: readonly WeightSpec[]): Group[] => {
  const groups = new Map<string, Group>()
  for (const spec of table)
    for (const [axis, along] of spec.axes.entries()) {
      if (!along || !['linear', 'conv'].includes(spec.kind)) continue
      const parts = axis === outputAxis(spec) ? (spec.parts?.length ?? 1) : 1
      const known = groups.get(along.group)
      const size = Math.min(known?.size ?? along.unit, along.unit)
      const unit = Math.max(known ? known.heads * known.size : 0, along.unit)
      const units = spec.shape[axis] / parts / along.unit
      groups.set(along.group, { name: along.group, units, heads: unit / size, size })
    }
  return [...groups.values()]
}

/** config.json with these widths, all groups among them. */
type Resize = (config: JsonObject, widths: Widths, groups: readonly Group[]) => JsonObject

/** What an architecture calls its sizes. */
interface SizeKeys {
  /** All query heads, key heads, and the size of one. */
  readonly heads: { readonly all: string; readonly keys?: string; readonly size: string }
  readonly hidden: string
  readonly width: string
  /** Whether layers may differ: Weft reads a list a layer under `weft`. */
  readonly perLayer: boolean
}

/** A size that layers share: one number, or, where they differ, Weft's list of them beside the first. */
const withSizes = (
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

/** Blocks of attention and a feed-forward part. Of several experts a layer the first says how wide they are. */
const transformer =
  ({ heads: keys, hidden, width, perLayer }: SizeKeys): Resize =>
  (config, widths, groups) => {
    const changed = (some: readonly Group[]): boolean => some.some((g) => widths.get(g.name) !== g.units)
    const heads = groups.filter(({ name }) => /heads$/i.test(name))
    const channels = groups.filter(({ name }) => /^(?!.*\.experts\.[1-9]).*hidden$/.test(name))
    const residual = groups.filter(({ name }) => name === 'residual')
    const unitsOf = ({ name }: Group): number => widths.get(name)!
    const set = (json: JsonObject, key: string, some: readonly Group[], size: (g: Group) => number) =>
      withSizes(json, key, some.map(size), perLayer)
    let json = config
    if (changed(residual)) json = set(json, width, residual, unitsOf)
    if (changed(heads) || changed(residual)) {
      json = set(json, keys.all, heads, (g) => unitsOf(g) * g.heads)
      json = set(json, keys.size, heads, (g) => g.size)
      if (keys.keys !== undefined && keys.keys in config) json = set(json, keys.keys, heads, unitsOf)
    }
    return changed(channels) || changed(residual) ? set(json, hidden, channels, unitsOf) : json
  }

const mlp: Resize = (config, widths) => {
  const sizes = config.sizes as number[]
  return {
    ...config,
    sizes: sizes.map((size, i) => widths.get(`layers.${i - 1}.hidden`) ?? size),
    ...(widths.has('residual') ? { width: widths.get('residual') } : {}),
  }
}

/** A stage's channels are those of its shortcut's group, or else what enters it. */
const resnet: Resize = (config, widths) => {
  const stem = widths.get('stem')!
  const stages = (config.depths as number[] | undefined) ?? [3, 4, 6, 3]
  let channels = stem
  const hidden = stages.map((_, s) => (channels = widths.get(`stages.${s}.layers.0`) ?? channels))
  return { ...config, embedding_size: stem, hidden_sizes: hidden }
}

const encoder: SizeKeys = {
  heads: { all: 'num_attention_heads', size: 'head_dim' },
  hidden: 'intermediate_size',
  width: 'hidden_size',
  perLayer: true,
}

const resizes: Readonly<Record<string, Resize>> = {
  mlp,
  resnet,
  bert: transformer(encoder),
  vit: transformer(encoder),
  llama: transformer({ ...encoder, heads: { ...encoder.heads, keys: 'num_key_value_heads' } }),
  gpt2: transformer({
    heads: { all: 'n_head', size: 'head_dim' },
    hidden: 'n_inner',
    width: 'n_embd',
    perLayer: true,
  }),
  t5: transformer({
    heads: { all: 'num_heads', size: 'd_kv' },
    hidden: 'd_ff',
    width: 'd_model',
    perLayer: false,
  }),
}

/** Architectures for which Transformers divides the width by the number of heads, and reads no head_dim. */
const dividesWidth: ReadonlySet<string> = new Set(['bert', 'vit', 'gpt2'])

/** In which multiples a group of `model` may widen: a bottleneck's channels are four times those inside it. */
export const stepsOf = ({ architecture, checkpoint: { config } }: Model): ((group: string) => number) => {
  const bottleneck = architecture.name === 'resnet' && (config.layer_type ?? 'bottleneck') === 'bottleneck'
  return (group) => (bottleneck && !group.includes('.inner.') ? 4 : 1)
}

/** The model whose groups change. */
type Resized = Pick<Model, 'architecture' | 'config'> & {
  readonly checkpoint: { readonly config: JsonObject }
}

/** `config` of `model` with other widths; groups that are not among them stay as they are. */
export const resizedConfig = (
  { architecture, config: parsed, checkpoint }: Resized,
  widths: Widths,
  config: JsonObject = checkpoint.config,
): JsonObject => {
  const groups = groupsOf(architecture.table(parsed))
  const all = new Map([...groups.map(({ name, units }) => [name, units] as const), ...widths])
  if (groups.every(({ name, units }) => all.get(name) === units)) return config
  return resizes[architecture.name]?.(config, all, groups) ?? config
}

/**
 * Throws UsageError where a config.json cannot say that the tensors of a model have these shapes, naming a tensor and both
 * shapes. shapes: of all tensors of the table; hint: what to do instead.
 */
export const requireShapes = (
  architecture: Architecture,
  config: JsonObject,
  shapes: ReadonlyMap<string, Shape>,
  hint: string,
): void => {
  const table = architecture.table(architecture.readConfig(config))
  const odd = table.find(({ name, shape }) => !sameShape(shape, shapes.get(name) ?? []))
  if (!odd) return
  const wanted = shapes.get(odd.name) ?? []
  throw new UsageError(
    'CannotExpress',
    `${architecture.name}: ${odd.name} would be [${wanted}], and its config.json can only say [${odd.shape}]`,
    { hint },
  )
}

/** What of the sizes in a config.json only Weft reads: a sentence; undefined where Transformers reads all. */
export const sizesForWeftAlone = (
  { name }: Pick<Architecture, 'name'>,
  config: JsonObject,
): string | undefined => {
  const { weft } = config
  if (weft !== undefined)
    return `config.json lists sizes a layer under weft (${Object.keys(weft as JsonObject).join(', ')}), which Transformers does not read.`
  if (!dividesWidth.has(name) || config.head_dim === undefined) return undefined
  return 'config.json says head_dim: Weft reads it; Transformers derives it from the width for this architecture.'
}
