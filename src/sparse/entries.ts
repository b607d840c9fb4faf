/**
 * @file Some entries of a matrix as one packed parameter: their values, which the optimiser keeps packed moments of, and
 * their places, an input of the program. Where the places may change, the present weight is kept whole beside them: what
 * leaves keeps its value, what stays its moments, what is new begins with none. Shapes stay as they are, so nothing is
 * compiled again.
 */
import type { Model, Parameters } from '../models/index.js'
import type { Site } from '../models/sites.js'
import { siteWeight } from '../models/stored.js'
import { type Tensor, type Value, value } from '../tensor/index.js'
import type { TrainingState } from '../train/index.js'

/** Entries of a matrix [out, in]. */
export interface Entries {
  /** Flat places. */
  readonly indices: Int32Array
  readonly values: Float32Array
}

/** Entries that train at one module. */
export interface EntrySettings {
  /** How many there are. */
  readonly count: number
  /** Their places before training, ascending; absent where they are read from a file. */
  readonly first?: Int32Array
  /** Whether the places may change, so that the present weight is kept whole. */
  readonly refreshed: boolean
}

/** What follows the module's name in files and in the model's parameters. */
const keys = { values: 'lift_values', indices: 'lift_indices', weight: 'lift_weight' } as const

const int32 = (data: Int32Array): Value => value(data, [data.length], 'int32')
const float32 = (data: Float32Array): Value => value(data, [data.length], 'float32')

/** The numbers of `data` at `indices`. data: [elements], indices: [n] -> [n]. */
export const gathered = (data: ArrayLike<number>, indices: Int32Array): Float32Array => {
  const out = new Float32Array(indices.length)
  for (let i = 0; i < out.length; i++) out[i] = data[indices[i]]
  return out
}

/** A copy of `data` with the entries in it. data: [n]. */
export const placed = (data: Float32Array, { indices, values }: Entries): Float32Array => {
  const out = Float32Array.from(data)
  for (let i = 0; i < indices.length; i++) out[indices[i]] = values[i]
  return out
}

/**
 * Packed numbers of the entries `before`, as far as they are among `after` too; 0 for those that are new. Both
 * ascending. packed: [entries], before, after: [entries] -> [entries].
 */
export const migrated = (packed: ArrayLike<number>, before: Int32Array, after: Int32Array): Float32Array => {
  const out = new Float32Array(after.length)
  for (let i = 0, j = 0; i < after.length; i++) {
    while (j < before.length && before[j] < after[i]) j++
    if (before[j] === after[i]) out[i] = packed[j]
  }
  return out
}

type OfWeight = (context: { readonly weight: () => Promise<Value> }) => Promise<Value>

/** The parameters of a module with packed entries, as an adapter describes them. first: [entries]. */
export const entryParameters = (
  { in: width, out }: Pick<Site, 'in' | 'out'>,
  { count, first, refreshed }: EntrySettings,
) => {
  const initial: OfWeight = async ({ weight }) =>
    float32(gathered((await weight()).data as Float32Array, first!))
  const whole: OfWeight = ({ weight }) => weight()
  const shape = [count]
  return {
    values: { key: keys.values, shape, initial },
    indices: { key: keys.indices, shape, initial: () => int32(first!), still: true as const },
    ...(refreshed && {
      weight: {
        key: keys.weight,
        shape: [out, width],
        axes: ['out', 'in'] as const,
        initial: whole,
        still: true as const,
      },
    }),
  }
}

type Named<T> = Readonly<Record<string, T>>

/** W with the trained entries in it. W: [out, in]; p: values and indices of [count] each, and the weight where it is kept. */
export const tuned = (W: Tensor, { values, indices, weight }: Partial<Named<Tensor>>): Tensor => {
  const whole = weight ?? W
  return whole.reshape([whole.size]).scatter(indices!, values!).reshape(whole.shape)
}

/** The output of a linear module with the trained entries in its weight. x: [..., in] -> [..., out]. */
export const tunedLinear = (
  x: Tensor,
  p: Partial<Named<Tensor>>,
  { weight, bias }: { weight(): Tensor; bias(): Tensor | undefined },
): Tensor => {
  const y = x.matmul(tuned(p.weight ?? weight(), p).t())
  const b = bias()
  return b ? y.add(b) : y
}

/** The entries of `module`, and its weight where that is kept whole. */
export const readEntries = async (
  module: string,
  parameters: Parameters<Value>,
): Promise<Entries & { readonly weight?: Float32Array }> => {
  const read = async (key: string): Promise<unknown> =>
    (parameters as Partial<typeof parameters>)[`${module}.${key}`]?.read()
  return {
    values: (await read(keys.values)) as Float32Array,
    indices: (await read(keys.indices)) as Int32Array,
    weight: (await read(keys.weight)) as Float32Array | undefined,
  }
}

/** Lets the entries at `after` train in place of those at `before`, both ascending. weight: the present one, [out, in]. */
export const moveEntries = async (
  state: TrainingState,
  module: string,
  before: Int32Array,
  after: Int32Array,
  weight: Value,
): Promise<void> => {
  const name = `${module}.${keys.values}`
  state.parameters[`${module}.${keys.weight}`] = weight
  state.parameters[`${module}.${keys.indices}`] = int32(after)
  state.parameters[name] = float32(gathered(weight.data as Float32Array, after))
  for (const [i, slots] of state.optimizers.entries()) {
    if (!Object.hasOwn(slots, name)) continue
    const moved = Object.entries(slots[name]).map(async ([slot, v]) => {
      const packed = (await v.read()) as Float32Array
      return [slot, float32(migrated(packed, before, after))] as const
    })
    state.optimizers[i] = { ...slots, [name]: Object.fromEntries(await Promise.all(moved)) }
  }
}

/** The entries, and behind them every other one in which `weight` differs from `base`, ascending. */
const withChanged = (entries: Entries, weight: Float32Array, base: Float32Array): Entries => {
  const isOwn = new Uint8Array(base.length)
  for (const i of entries.indices) isOwn[i] = 1
  let count = entries.indices.length
  for (let i = 0; i < base.length; i++) if (!isOwn[i] && weight[i] !== base[i]) count++
  const indices = new Int32Array(count)
  const values = new Float32Array(count)
  indices.set(entries.indices)
  values.set(entries.values)
  let next = entries.indices.length
  for (let i = 0; i < base.length; i++)
    if (!isOwn[i] && weight[i] !== base[i]) {
      indices[next] = i
      values[next++] = weight[i]
    }
  return { indices, values }
}

/**
 * Packed entries as a file holds them: those that train and all others that were ever changed, by module how many these
 * are, and the parameters by their names.
 */
export const exportedEntries = async (
  base: Model,
  sites: readonly Site[],
  parameters: Parameters<Value>,
): Promise<{ counts: Record<string, number>; parameters: Record<string, Value> }> => {
  const counts: Record<string, number> = {}
  const exported: Record<string, Value> = {}
  for (const site of sites) {
    const { weight, ...entries } = await readEntries(site.name, parameters)
    const all = weight
      ? withChanged(entries, weight, (await siteWeight(base, site)).data as Float32Array)
      : entries
    counts[site.name] = all.indices.length
    exported[`${site.name}.${keys.values}`] = float32(all.values)
    exported[`${site.name}.${keys.indices}`] = int32(all.indices)
  }
  return { counts, parameters: exported }
}
