/** @file The tensors of a model in memory, in another order, and as a model again. */
import type { Checkpoint, JsonObject, SafetensorsDType } from '../../checkpoint/index.js'
import { CheckpointError } from '../../errors.js'
import { type Model, openModel, type OpenModelOptions } from '../../models/index.js'
import { sameShape, sizeOf, value, type Value } from '../../tensor/index.js'
import type { GroupAxis, PermutationGroup } from './groups.js'

/** Tensors by their names in the architecture's table; tied ones once. */
export type Tensors = Readonly<Record<string, Value>>

/** Order of a tensor's elements, axis by axis: which element of the original stands where; undefined where nothing moved. */
export type Order = readonly (Int32Array | undefined)[]

/** Orders of the tensors that moved, by name. */
export type Orders = Readonly<Record<string, Order>>

/** Every tensor of a checkpoint, running statistics among them, in float32. Throws as `openModel` does. */
export const readTensors = async (checkpoint: Checkpoint): Promise<Tensors> =>
  (await openModel(checkpoint, { trainable: true, buffers: true })).parameters

/** Throws CheckpointError naming the first tensor in which two tables of one architecture differ, `except` some. */
export const checkSameTensors = (
  [a, b]: readonly [Pick<Model, 'architecture' | 'config' | 'checkpoint'>, Model],
  except: (name: string) => boolean = () => false,
): void => {
  const [first, second] = [a, b].map((m) => m.architecture.table(m.config).filter((s) => !except(s.name)))
  const shapes = new Map(second.map(({ name, shape }) => [name, shape]))
  const known = new Set(first.map(({ name }) => name))
  const odd =
    first.find(({ name, shape }) => !sameShape(shapes.get(name) ?? [-1], shape)) ??
    second.find(({ name }) => !known.has(name))
  if (a.architecture.name === b.architecture.name && !odd) return
  const shown = (m: typeof a): string => {
    const shape = m.architecture.table(m.config).find(({ name }) => name === odd?.name)?.shape
    return `${m.checkpoint.folder} (${m.architecture.name}): ${shape ? `[${shape}]` : 'none'}`
  }
  throw new CheckpointError(
    'DifferentArchitectures',
    `tensor ${JSON.stringify(odd?.name ?? '')}: ${shown(a)}; ${shown(b)}.`,
    { hint: 'It takes models of one architecture and size.' },
  )
}

/** The elements of `v` in another order along `axis`: element i of the result is element order[i]. */
export const takeAlong = (v: Value, axis: number, order: ArrayLike<number>): Value => {
  const [outer, inner] = [sizeOf(v.shape.slice(0, axis)), sizeOf(v.shape.slice(axis + 1))]
  const [size, taken] = [v.shape[axis], order.length]
  const from = v.data as Float32Array
  const out = new Float32Array(outer * taken * inner)
  for (let o = 0; o < outer; o++)
    for (let i = 0; i < taken; i++) {
      const at = (o * size + order[i]) * inner
      if (inner === 1) out[o * taken + i] = from[at]
      else out.set(from.subarray(at, at + inner), (o * taken + i) * inner)
    }
  return value(out, [...v.shape.slice(0, axis), taken, ...v.shape.slice(axis + 1)], 'float32')
}

/** `v` with every axis in its order. order: [units]. */
export const reordered = (v: Value, order: Order = []): Value =>
  order.reduce((moved, places, axis) => (places ? takeAlong(moved, axis, places) : moved), v)

/** The elements of an axis of `size` when unit order[u] of a group comes where unit u was. */
const elementsOf = ({ places, run }: GroupAxis, size: number, order: ArrayLike<number>): Int32Array => {
  const elements = Int32Array.from({ length: size }, (_, i) => i)
  for (let u = 0; u < order.length; u++)
    for (let r = 0; r < run; r++) elements[places[u * run + r]] = places[order[u] * run + r]
  return elements
}

/** Puts the units of a group in another order, in every tensor that has them: unit order[u] comes to place u. */
export const moveUnits = (
  { tensors, orders }: { readonly tensors: Tensors; readonly orders: Orders },
  { axes }: PermutationGroup,
  order: ArrayLike<number>,
): { tensors: Tensors; orders: Orders } => {
  const [moved, composed] = [{ ...tensors }, { ...orders }]
  for (const group of axes) {
    const { tensor, axis } = group
    const elements = elementsOf(group, moved[tensor].shape[axis], order)
    moved[tensor] = takeAlong(moved[tensor], axis, elements)
    const before = composed[tensor]?.[axis]
    const next = [...(composed[tensor] ?? moved[tensor].shape.map(() => undefined))]
    next[axis] = before ? elements.map((i) => before[i]) : elements
    composed[tensor] = next
  }
  return { tensors: moved, orders: composed }
}

/** The model of `config` with these tensors, in memory. */
export const modelOf = async (
  config: JsonObject,
  tensors: Tensors,
  options: OpenModelOptions = { trainable: true, buffers: true },
): Promise<Model> => {
  const { encode, formatJson, layOut, openBytes } = await import('../../checkpoint/index.js')
  const stored = Object.entries(tensors).map(([name, v]) => ({ name, ...encode(v) }))
  const { header, tensors: infos, size } = layOut(stored, { format: 'pt' }, 'model.safetensors')
  const file = new Uint8Array(size)
  file.set(header)
  const bytes = new Map(stored.map(({ name, data }) => [name, data]))
  for (const { name, offset } of infos) file.set(bytes.get(name)!, offset)
  const json = new TextEncoder().encode(formatJson(config))
  return openModel(await openBytes({ 'config.json': json, 'model.safetensors': file }, 'merged'), options)
}

const narrow: Readonly<Record<string, 'float16' | 'bfloat16'>> = { F16: 'float16', BF16: 'bfloat16' }

/** The element type that `checkpoint` has most of its numbers in, among those that floats are written in. */
export const storedDType = (checkpoint: Checkpoint): 'F32' | 'F16' | 'BF16' => {
  const sizes = new Map<SafetensorsDType, number>()
  for (const name of checkpoint.names()) {
    const { dtype, length } = checkpoint.info(name)
    sizes.set(dtype, (sizes.get(dtype) ?? 0) + length)
  }
  const [most] = [...sizes].sort(([, a], [, b]) => b - a)[0] ?? ['F32']
  return most === 'F16' || most === 'BF16' ? most : 'F32'
}

/**
 * Writes a folder that loads as `source` does: these tensors, floats in the source's element type, `config`, and the
 * source's tokenizer and other companions. shapes: of all tensors; `tensorOf` gives them one at a time.
 */
export const saveTensors = async (
  folder: string,
  source: Checkpoint,
  config: JsonObject,
  specs: readonly { readonly name: string; readonly shape: readonly number[]; readonly integer: boolean }[],
  tensorOf: (name: string) => Value | Promise<Value>,
): Promise<void> => {
  const { CheckpointWriter, convertValue, copyCompanions } = await import('../../checkpoint/index.js')
  const dtype = storedDType(source)
  const plans = specs.map(({ name, shape, integer }) => ({
    name,
    shape,
    dtype: integer ? ('I64' as const) : dtype,
  }))
  await using writer = await CheckpointWriter.create(folder, plans)
  for (const plan of plans) {
    const v = await tensorOf(plan.name)
    const host = value(await v.read(), v.shape, v.dtype)
    await writer.writeValue(plan.name, plan.dtype in narrow ? convertValue(host, narrow[plan.dtype]) : host)
  }
  await writer.finish({ 'config.json': config })
  const { stat } = await import('node:fs/promises')
  const onDisk = await stat(source.folder).catch(() => undefined)
  if (onDisk?.isDirectory()) await copyCompanions(source.folder, folder)
}

/** Names, shapes and kinds of tensors in memory, as `saveTensors` needs them. */
export const specsOf = (tensors: Tensors): { name: string; shape: readonly number[]; integer: boolean }[] =>
  Object.entries(tensors).map(([name, { shape, dtype }]) => ({ name, shape, integer: dtype === 'int64' }))
