/** @file Opens a checkpoint as a model: strictly checked, what trains read into memory, everything else left in its file. */
import { checkNames, type Checkpoint, type TensorInfo, valueDType } from '../checkpoint/web.js'
import { CheckpointError } from '../errors.js'
import { bound, isFloat, type Source, type Tensor, type Value } from '../tensor/index.js'
import { type Architecture, layoutsOf, type WeightSpec } from './architecture.js'
import { architectureFor } from './architectures.js'
import { type Model, type Parameters, requireSame } from './model.js'
import { plainWeights } from './weights.js'

export interface OpenModelOptions {
  /** Which tensors train: all, none (the default), or those whose names it accepts. Buffers never do. */
  readonly trainable?: boolean | ((name: string) => boolean)
  /**
   * Whether buffers (running statistics of batch norm) are among the parameters all the same: no optimiser moves them, but
   * a training step writes back what the model reports of them. Default false: they stay as they are in the file.
   */
  readonly buffers?: boolean
  /** In place of the one that config.json's model_type names: a part of a model, a variant of one's own. */
  readonly architecture?: Architecture
}

/** The tensors of a checkpoint under the architecture's names. */
export interface Stored {
  readonly table: readonly WeightSpec[]
  /** Where the tensor `name` lies. */
  info(name: string): TensorInfo
  has(name: string): boolean
}

/** Compares the checkpoint's tensors with the architecture's table. Throws one CheckpointError that lists every difference. */
const check = (architecture: Architecture, table: readonly WeightSpec[], checkpoint: Checkpoint): Stored => {
  const known = new Set(table.map(({ name }) => name))
  const canonical = (given: string): string => {
    const name = (architecture.renamed ?? []).reduce((n, [from, to]) => n.replace(from, to), given)
    const full = `${architecture.prefix}.${name}`
    return !known.has(name) && known.has(full) ? full : name
  }
  const stored = new Map(checkpoint.names().map((name) => [canonical(name), name]))
  const info = (name: string): TensorInfo => checkpoint.info(stored.get(name) ?? name)
  const has = (name: string): boolean => stored.has(name)
  checkNames(
    table.filter(({ name, tied }) => tied === undefined || has(name)),
    { folder: checkpoint.folder, names: () => [...stored.keys()], has, info },
    { allow: architecture.harmless },
  )
  return { table, info, has }
}

const sameBytes = async (checkpoint: Checkpoint, a: TensorInfo, b: TensorInfo): Promise<boolean> => {
  if (a.length !== b.length) return false
  const others = checkpoint.rows(b.name)
  for await (const { bytes } of checkpoint.rows(a.name)) {
    const other = (await others.next()).value?.bytes
    for (let i = 0; i < bytes.length; i++) if (bytes[i] !== other?.[i]) return false
  }
  return true
}

/** The tied tensors that the checkpoint holds all the same, with other numbers than the ones they are tied to. */
const loose = async (checkpoint: Checkpoint, { table, info, has }: Stored): Promise<string[]> => {
  const found: string[] = []
  for (const { name, tied } of table)
    if (tied !== undefined && has(name) && !(await sameBytes(checkpoint, info(name), info(tied))))
      found.push(name)
  return found
}

/**
 * What config.json and the tensors say together: a head that was stored with numbers of its own is not tied, whatever
 * config.json says (as Transformers has it). Throws CheckpointError where another tied tensor differs from its owner.
 */
const understand = async (
  architecture: Architecture,
  checkpoint: Checkpoint,
): Promise<{ config: unknown; stored: Stored }> => {
  const config = architecture.readConfig(checkpoint.config)
  const stored = check(architecture, architecture.table(config), checkpoint)
  const names = await loose(checkpoint, stored)
  if (names.length === 0) return { config, stored }
  const untied = architecture.readConfig({ ...checkpoint.config, tie_word_embeddings: false })
  const table = architecture.table(untied)
  const still = names.filter((name) => table.some((spec) => spec.name === name && spec.tied !== undefined))
  if (still.length === 0) return { config: untied, stored: check(architecture, table, checkpoint) }
  throw new CheckpointError(
    'TiedTensorsDiffer',
    `${checkpoint.folder}: ${still.join(', ')} should be the same as the tensors they are tied to, but hold other numbers.`,
    { hint: `Remove them from the checkpoint, if it is meant to be ${architecture.name}.` },
  )
}

/** Element types that a session reads from the file as they are. */
const mappable: ReadonlySet<string> = new Set(['F32', 'F16', 'BF16'])

const sourceOf = async (
  checkpoint: Checkpoint,
  { name, path, dtype, ...info }: TensorInfo,
): Promise<Source> => {
  const { shape, offset, length } = info
  if (path !== undefined && mappable.has(dtype))
    return {
      kind: 'file',
      dtype: valueDType[dtype],
      shape,
      path,
      offset,
      length,
      read: () => checkpoint.read(name),
    }
  const value = await checkpoint.read(name, isFloat(valueDType[dtype]) ? 'float32' : undefined)
  return { kind: 'memory', dtype: value.dtype, shape, value }
}

/** What never changes while a model trains. */
interface Base {
  readonly architecture: Architecture
  readonly config: unknown
  readonly checkpoint: Checkpoint
  readonly stored: Stored
  /** Of the frozen tensors. */
  readonly sources: ReadonlyMap<string, Source>
}

/** The tensors by name in one trace: parameters as given, frozen ones bound, in float32. */
const lookupIn = (base: Base, parameters: Parameters<Tensor>): ((name: string) => Tensor | undefined) => {
  const owner = new Map(base.stored.table.map(({ name, tied }) => [name, tied ?? name]))
  const made = new Map<string, Tensor>()
  return (asked) => {
    const name = owner.get(asked)
    if (name === undefined) return undefined
    const known = Object.hasOwn(parameters, name) ? parameters[name] : made.get(name)
    if (known) return known
    const t = bound(base.sources.get(name)!)
    const usable = isFloat(t.dtype) ? t.cast('float32') : t
    made.set(name, usable)
    return usable
  }
}

const assemble = (base: Base, parameters: Parameters<Value>): Model => ({
  architecture: base.architecture,
  config: base.config,
  checkpoint: base.checkpoint,
  parameters,
  weights: (tensors, trace) =>
    plainWeights(lookupIn(base, tensors), () => base.stored.table.map(({ name }) => name), {
      layouts: layoutsOf(base.stored.table),
      ...trace,
    }),
  with(values) {
    requireSame(parameters, values)
    return assemble(base, values)
  },
  async save(folder) {
    const { saveModel } = await import('./save.js')
    await saveModel(base.checkpoint, base.stored, parameters, folder)
  },
})

/**
 * The model in `checkpoint`. Tensors that train are read as float32; the others stay where they are, and programs are
 * bound to them (float32 as it lies in the file, float16 and bfloat16 widened as they are used). The checkpoint must
 * stay open. Throws CheckpointError for an unknown architecture, an unusable configuration, and tensors that are
 * missing, unexpected or of another shape.
 */
export const openModel = async (
  checkpoint: Checkpoint,
  {
    trainable = false,
    buffers = false,
    architecture = architectureFor(checkpoint.config),
  }: OpenModelOptions = {},
): Promise<Model> => {
  const { config, stored } = await understand(architecture, checkpoint)
  const trains = typeof trainable === 'function' ? trainable : (): boolean => trainable
  const parameters: Record<string, Value> = {}
  const sources = new Map<string, Source>()
  for (const { name, kind, dtype, tied } of stored.table) {
    if (tied !== undefined) continue
    const info = stored.info(name)
    if (kind === 'buffer' ? buffers : trains(name))
      parameters[name] = await checkpoint.read(info.name, dtype ?? 'float32')
    else sources.set(name, await sourceOf(checkpoint, info))
  }
  return assemble({ architecture, config, checkpoint, stored, sources }, parameters)
}
