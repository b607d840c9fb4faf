/**
 * @file Heads and hidden channels left out of a checkpoint: which there are, the config.json of the model without some of
 * them, and its tensors. The axis groups of the table of weights say what goes together.
 */
import type { Bytes, JsonObject } from '../checkpoint/index.js'
import { UsageError } from '../errors.js'
import type { Model, WeightSpec } from '../models/index.js'
import { sameShape, type Shape } from '../tensor/index.js'
import { entriesOf } from '../adapt/s2ft/selection.js'
import { type Site, sitesOf } from '../models/sites.js'

/** Units that stay, ascending, by the name of their axis group. */
export type Kept = ReadonlyMap<string, readonly number[]>

/** The units that a linear module reads. */
export interface UnitGroup {
  readonly group: string
  readonly kind: 'heads' | 'hidden'
  /** How many there are: key heads with the query heads that share them, or hidden channels. */
  readonly count: number
  /** Consecutive entries of the module's inputs that are one. */
  readonly unit: number
  /** Query heads in one; 1 for a hidden channel. */
  readonly heads: number
}

/** The units that enter the module `site`; undefined where its inputs are none. */
export const unitsInto = (
  { architecture, config }: Model,
  { name, in: width, inputUnits }: Site,
): UnitGroup | undefined => {
  if (!inputUnits) return undefined
  const { group, unit } = inputUnits
  const attention = architecture.attention?.(config) ?? architecture.cache?.(config) ?? []
  const size = attention.find(({ module }) => name.startsWith(`${module}.`))?.size ?? unit
  const kind = unit === 1 ? 'hidden' : 'heads'
  return { group, kind, count: width / unit, unit, heads: unit / size }
}

interface SizeKeys {
  /** All query heads, key heads, and the size of one: a config.json without the last ties heads to the width. */
  readonly heads?: { readonly all: string; readonly keys?: string; readonly size: string }
  readonly hidden: string
}

/** What config.json calls these sizes. */
const sizeKeys: Readonly<Record<string, SizeKeys>> = {
  llama: {
    heads: { all: 'num_attention_heads', keys: 'num_key_value_heads', size: 'head_dim' },
    hidden: 'intermediate_size',
  },
  t5: { heads: { all: 'num_heads', size: 'd_kv' }, hidden: 'd_ff' },
  gpt2: { hidden: 'n_inner' },
  bert: { hidden: 'intermediate_size' },
  vit: { hidden: 'intermediate_size' },
}

const sized = (model: Model, { kind, unit, heads }: UnitGroup, count: number): JsonObject => {
  const { name } = model.architecture
  const keys = (sizeKeys as Partial<typeof sizeKeys>)[name]
  if (keys && kind === 'hidden') return { [keys.hidden]: count }
  if (keys?.heads) {
    const { all, keys: keyHeads, size } = keys.heads
    return { [all]: count * heads, [size]: unit / heads, ...(keyHeads && { [keyHeads]: count }) }
  }
  const what =
    kind === 'heads'
      ? 'no size of a head: fewer heads would mean larger ones'
      : 'no one width of its hidden channels'
  throw new UsageError('CannotExpress', `config.json of ${name} has ${what}`, {
    hint:
      kind === 'heads'
        ? 'Leave out hidden channels instead (units), as many in every layer.'
        : 'Prune single entries instead (sparsity).',
  })
}

/** The axis along which the parts of a fused tensor lie. */
const fusedAxis = ({ layout }: WeightSpec): number => (layout === 'in-out' ? 1 : 0)

/** The entries of each axis that stay; undefined for an axis that stays whole. */
const entriesKept = (spec: WeightSpec, kept: Kept): (readonly number[] | undefined)[] =>
  spec.axes.map((axis, i) => {
    const units = axis && kept.get(axis.group)
    if (!units) return undefined
    const parts = i === fusedAxis(spec) ? (spec.parts?.length ?? 1) : 1
    const { group, unit } = axis
    return entriesOf({ axis: 'in', group, unit, parts, count: spec.shape[i] / parts / unit }, units)
  })

/** The shape of a tensor without the units that go. */
export const cutShape = (spec: WeightSpec, kept: Kept): Shape => {
  const entries = entriesKept(spec, kept)
  return spec.shape.map((size, axis) => entries[axis]?.length ?? size)
}

/**
 * What config.json of `model` says otherwise when it has the units `kept` alone. Throws UsageError where it cannot say so: heads whose size is the
 * width divided by their number, and layers that differ.
 */
export const cutConfig = (model: Model, kept: Kept): JsonObject => {
  const { architecture, config, checkpoint } = model
  const sizes = sitesOf(model, ['linear']).flatMap((site) => {
    const units = unitsInto(model, site)
    const own = units && kept.get(units.group)
    return own ? [sized(model, units, own.length)] : []
  })
  const changes = Object.assign({}, ...sizes) as JsonObject
  const json = { ...checkpoint.config, ...changes }
  const wanted = new Map(architecture.table(config).map((spec) => [spec.name, cutShape(spec, kept)]))
  const differs = architecture
    .table(architecture.readConfig(json))
    .find(({ name, shape }) => !sameShape(shape, wanted.get(name) ?? []))
  if (!differs) return changes
  throw new UsageError(
    'CannotExpress',
    `config.json of ${architecture.name} has one ${Object.keys(changes).join(', one ')} for all layers, and ${differs.name} would be [${wanted.get(differs.name) ?? []}] where it says [${differs.shape}]`,
    { hint: 'Leave as many out of every layer: without exclude and layers.' },
  )
}

/** The slices `entries` of one axis. */
const takenAlong = (
  bytes: Uint8Array,
  shape: Shape,
  axis: number,
  entries: readonly number[],
): Uint8Array => {
  const outer = shape.slice(0, axis).reduce((n, d) => n * d, 1)
  const inner = bytes.length / outer / shape[axis]
  const out = new Uint8Array(outer * entries.length * inner)
  for (let o = 0; o < outer; o++)
    entries.forEach((entry, i) => {
      const from = (o * shape[axis] + entry) * inner
      out.set(bytes.subarray(from, from + inner), (o * entries.length + i) * inner)
    })
  return out
}

const gathered = async (bytes: Bytes): Promise<Uint8Array> => {
  if (bytes instanceof Uint8Array) return bytes
  const blocks: Uint8Array[] = []
  for await (const block of bytes) blocks.push(Uint8Array.from(block))
  const all = new Uint8Array(blocks.reduce((n, { length }) => n + length, 0))
  blocks.reduce((at, block) => (all.set(block, at), at + block.length), 0)
  return all
}

/** A tensor's bytes without the units that go; as they are where none of its axes has any. */
export const cutBytes = async (bytes: Bytes, spec: WeightSpec, kept: Kept): Promise<Bytes> => {
  const entries = entriesKept(spec, kept)
  if (entries.every((own) => !own)) return bytes
  let [left, shape]: [Uint8Array, Shape] = [await gathered(bytes), spec.shape]
  for (const [axis, own] of entries.entries()) {
    if (!own) continue
    left = takenAlong(left, shape, axis, own)
    shape = shape.map((size, i) => (i === axis ? own.length : size))
  }
  return left
}
