/** @file The model under an adapter: its tensors as numbers, as bound weights, and as the fingerprint that names it. */
import { CheckpointError } from '../errors.js'
import { bound, type MemorySource, type Tensor, value, type Value } from '../tensor/index.js'
import { canonicalNames, type CanonicalNames } from './canonical.js'
import type { Model } from './model.js'
import type { Site } from './sites.js'

const namesByModel = new WeakMap<Model, CanonicalNames>()

/** The name under which the checkpoint's file has the tensor `name`; undefined where it has none. */
export const storedName = (model: Model, name: string): string | undefined => {
  const { architecture, config, checkpoint } = model
  const names =
    namesByModel.get(model) ?? canonicalNames(architecture, architecture.table(config), checkpoint)
  namesByModel.set(model, names)
  return names.stored.get(name)
}

/** The name whose tensor `name` is, where it is tied and not stored itself. */
export const ownerOf = (model: Model, name: string): string =>
  model.architecture.table(model.config).find((spec) => spec.name === name)?.tied ?? name

/** A model some of whose tensors are not those of its checkpoint: rounded ones. */
export interface Rewritten {
  /** The tensor `name` in the layout of the file, as float32; undefined where it is that of the checkpoint. */
  readonly rewritten?: (name: string) => Value | undefined
}

/** The tensor `name` where it is not what the checkpoint has: rewritten, or trained. */
export const ownTensor = async (model: Model & Rewritten, name: string): Promise<Value | undefined> => {
  const rewritten = model.rewritten?.(name)
  if (rewritten) return rewritten
  const trained = model.parameters[name]
  return trained && value(await trained.read(), trained.shape, trained.dtype)
}

/** The tensor `name` of the base as float32: trained where the base has trained, else from its file. */
export const baseTensor = async (model: Model, name: string): Promise<Value> => {
  const owner = ownerOf(model, name)
  const held = await ownTensor(model, owner)
  if (held) return held
  const stored = storedName(model, owner)
  if (stored === undefined)
    throw new CheckpointError('NoSuchTensor', `${model.checkpoint.folder}: no tensor '${name}' to adapt.`)
  return model.checkpoint.read(stored, 'float32')
}

/** A [rows, columns] value with its axes swapped. */
export const transposed = ({ data, shape: [rows, columns] }: Value): Value => {
  const out = new Float32Array(data.length)
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) out[j * rows + i] = Number(data[i * columns + j])
  return value(out, [columns, rows], 'float32')
}

/** The weight of a module as [out, in], float32, however it is stored. Throws CheckpointError where the base has none. */
export const siteWeight = async (model: Model, { name, transposed: turned }: Site): Promise<Value> => {
  const stored = await baseTensor(model, `${name}.weight`)
  return turned ? transposed(stored) : stored
}

const sources = new WeakMap<Value, MemorySource>()

/** The base's own parameters as weights bound to a program: they are frozen under the adapter. */
export const frozen = ({ parameters }: Pick<Model, 'parameters'>): Record<string, Tensor> =>
  Object.fromEntries(
    Object.entries(parameters).map(([name, v]) => {
      const source = sources.get(v) ?? { kind: 'memory', dtype: v.dtype, shape: v.shape, value: v }
      sources.set(v, source)
      return [name, bound(source)]
    }),
  )

/** SHA-256 over names and stored bytes of the tensors `names`, hexadecimal: an adapter keeps it and refuses another base. */
export const fingerprint = async (model: Model, names: readonly string[]): Promise<string> => {
  const { createHash } = await import('node:crypto')
  const hash = createHash('sha256')
  for (const name of [...names].sort()) {
    const owner = ownerOf(model, name)
    hash.update(`${name}\n`)
    const trained = model.parameters[owner]
    if (trained) {
      const data = await trained.read()
      hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    } else
      for await (const { bytes } of model.checkpoint.rows(storedName(model, owner) ?? owner))
        hash.update(bytes)
  }
  return hash.digest('hex')
}
