/**
 * @file config.json of a model whose groups have other numbers of units: fewer after some were cut, more after two models
 * were merged in part. Its sizes are said in the words of each architecture.
 */
import type { JsonObject } from '../checkpoint/index.js'
import { UsageError } from '../errors.js'
import {
  type Architecture,
  type Model,
  runsAlong,
  type SizeKeys,
  type WeightSpec,
  type Widths,
  withSizes,
} from '../models/index.js'
import { sameShape, type Shape } from '../tensor/index.js'
import { maxOf, minOf } from '../tensor/numbers.js'

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
      const runs = runsAlong(spec, axis)
      const known = groups.get(along.group)
      const size = minOf([known?.size ?? Infinity, ...runs.map(({ unit }) => unit)])
      const unit = maxOf([known ? known.heads * known.size : 0, ...runs.map(({ unit }) => unit)])
      const { units } = runs[0]
      groups.set(along.group, { name: along.group, units, heads: unit / size, size })
    }
  return [...groups.values()]
}

/**
 * config.json of blocks of attention and a feed-forward part, with these widths of all groups. Of several experts a layer the
 * first says how wide they are.
 */
const resizedBlocks = (
  { heads: keys, hidden, width, perLayer }: SizeKeys,
  config: JsonObject,
  widths: Widths,
  groups: readonly Group[],
): JsonObject => {
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

/** Multiples in which a group of `model` may widen. */
export const stepsOf =
  ({ architecture, checkpoint: { config } }: Model): ((group: string) => number) =>
  (group) =>
    architecture.widthStep?.(config, group) ?? 1

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
  const { resized, sizeKeys } = architecture
  if (resized) return resized(config, all)
  return sizeKeys ? resizedBlocks(sizeKeys, config, all, groups) : config
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

/** Sentence about the sizes in a config.json that only Weft reads; undefined where Transformers reads all. */
export const sizesForWeftAlone = (
  { derivesHeadSize = false }: Pick<Architecture, 'derivesHeadSize'>,
  config: JsonObject,
): string | undefined => {
  const { weft } = config
  if (weft !== undefined)
    return `config.json lists sizes a layer under weft (${Object.keys(weft as JsonObject).join(', ')}), which Transformers does not read.`
  if (!derivesHeadSize || config.head_dim === undefined) return undefined
  return 'config.json says head_dim: Weft reads it; Transformers derives it from the width for this architecture.'
}
