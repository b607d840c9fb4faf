/**
 * @file Tensors of the base that an adapter's file holds: PEFT writes the embeddings and the head beside an adapter that
 * targets them, and where the vocabulary was resized or it is asked to. They stand in the base's place.
 */
import type { Adapter, JsonObject } from '../../checkpoint/index.js'
import { adapterPrefix, isJsonObject } from '../../checkpoint/web.js'
import { CheckpointError } from '../../errors.js'
import type { Model, WeightSpec } from '../../models/index.js'
import { overlaid } from '../../models/overlay.js'
import { baseTensor, ownerOf } from '../../models/stored.js'
import { sameShape, type Value } from '../../tensor/index.js'
import { replacements } from './plan.js'
import type { HeldTensor, Plan } from './spec.js'

/** What PEFT puts between a module's name and its tensor's where an adapter wraps the module. */
const wrapping = /(\.token_adapter)?\.base_layer(?=\.)/g

/** The name in the file of a base's tensor that does not train by the adapter: of a wrapped module it is one level deeper. */
export const wrappedName = ({ sites, rows }: Pick<Plan, 'sites' | 'rows'>, name: string): string => {
  const dot = name.lastIndexOf('.')
  const module = name.slice(0, dot)
  const tensor = name.slice(dot)
  if (rows.some((tokenRows) => tokenRows.module === module))
    return `${adapterPrefix}${module}.token_adapter.base_layer${tensor}`
  const wrapped = sites.some(({ site }) => site.name === module)
  return `${adapterPrefix}${wrapped ? `${module}.base_layer${tensor}` : name}`
}

/** The tensors of the file that are named as tensors of the base: their names there, by those in the base. */
export const heldTensors = (base: Model, { tensors }: Pick<Adapter, 'tensors'>): Map<string, string> => {
  const known = new Set(base.architecture.table(base.config).map(({ name }) => name))
  const held = new Map<string, string>()
  for (const file of tensors.names()) {
    const name = file.slice(adapterPrefix.length).replace(wrapping, '')
    if (file.startsWith(adapterPrefix) && known.has(name)) held.set(name, file)
  }
  return held
}

const vocabularyOf = ({ vocab_size: size, text_config: text }: JsonObject): unknown =>
  size ?? (isJsonObject(text) ? text.vocab_size : undefined)

const withVocabulary = (config: JsonObject, size: number): JsonObject =>
  'vocab_size' in config || !isJsonObject(config.text_config)
    ? { ...config, vocab_size: size }
    : { ...config, text_config: { ...config.text_config, vocab_size: size } }

/** Numbers of rows that the file has in place of the vocabulary's. */
const vocabulariesIn = (base: Model, adapter: Adapter): Set<number> => {
  const table = new Map(base.architecture.table(base.config).map((spec) => [spec.name, spec.shape]))
  const size = vocabularyOf(base.checkpoint.config)
  const sizes = new Set<number>()
  for (const [name, file] of heldTensors(base, adapter)) {
    const [rows, ...rest] = adapter.tensors.info(file).shape
    const [known, ...others] = table.get(name)!
    if (known === size && rows !== known && sameShape(rest, others)) sizes.add(rows)
  }
  return sizes
}

/**
 * The base with the vocabulary that the adapter was trained with, where its file holds embeddings of another size. Throws
 * CheckpointError for tensors of several sizes, and for one of the base's that would change its size and is not in the file.
 */
export const withItsVocabulary = (base: Model, adapter: Adapter): Model => {
  const sizes = [...vocabulariesIn(base, adapter)]
  if (sizes.length === 0) return base
  const { folder } = adapter
  if (sizes.length > 1)
    throw new CheckpointError('InvalidAdapter', `${folder}: its embeddings have ${sizes.join(' and ')} rows.`)
  const resized = overlaid(base, new Map(), withVocabulary(base.checkpoint.config, sizes[0]))
  const held = heldTensors(base, adapter)
  const before = new Map(base.architecture.table(base.config).map((spec) => [spec.name, spec.shape]))
  const lacks = ({ name, tied, shape }: WeightSpec): boolean =>
    !sameShape(shape, before.get(name)!) && !held.has(name) && !(tied !== undefined && held.has(tied))
  const missing = resized.architecture.table(resized.config).find(lacks)
  if (!missing) return resized
  throw new CheckpointError(
    'TensorMismatch',
    `${folder}: its vocabulary has ${sizes[0]} tokens, and it does not hold ${missing.name}, which has ${before.get(missing.name)![0]} in the base.`,
    { hint: 'Save it with PEFT and save_embedding_layers=True.' },
  )
}

/** Whether the base has these numbers under that name. */
const isTheBases = async (base: Model, name: string, { data, shape }: Value): Promise<boolean> => {
  const known = await baseTensor(base, name)
  return sameShape(known.shape, shape) && known.data.every((x, i) => x === data[i])
}

/**
 * The plan on the base with the tensors in place that the adapter's file holds of it, those apart that train. Tied tensors
 * are one in memory: the last that is loaded is what both are.
 */
export const onHeldTensors = async (plan: Plan, adapter: Adapter): Promise<Plan> => {
  const { base } = plan
  const trained = replacements(plan)
  const held = new Map<string, HeldTensor>()
  const values = new Map<string, Value>()
  for (const [name, file] of heldTensors(base, adapter)) {
    if (trained.has(name)) continue
    const tensor = await adapter.tensors.read(file, 'float32')
    const owner = ownerOf(base, name)
    const differs = !(await isTheBases(base, owner, tensor))
    held.set(owner, { name: owner, differs })
    if (differs) values.set(owner, tensor)
    else values.delete(owner)
  }
  return { ...plan, base: values.size ? overlaid(base, values) : base, held: [...held.values()] }
}
