/** @file Opens a checkpoint as a model: strictly checked, what trains read into memory, everything else left in its file. */
import { type Checkpoint, type TensorInfo, valueDType } from '../checkpoint/web.js'
import { bound, isFloat, type Source, type Tensor, type Value } from '../tensor/index.js'
import { type Architecture, layoutsOf } from './architecture.js'
import { architectureFor } from './architectures.js'
import { type Model, type Parameters, requireSame } from './model.js'
import { reconcile, type Stored } from './reconcile.js'
import { plainWeights } from './weights.js'

/** Options of `openModel`. */
export interface OpenModelOptions {
  /** Tensors that train: all, none (the default), or those whose names it accepts. Buffers never do. */
  readonly trainable?: boolean | ((name: string) => boolean)
  /**
   * Whether buffers (running statistics of batch norm) are among the parameters all the same: no optimiser moves them, but
   * a training step writes back what the model reports of them. Default false: they stay as they are in the file.
   */
  readonly buffers?: boolean
  /** Architecture in place of the one that config.json's model_type names: a part of a model, a variant of one's own. */
  readonly architecture?: Architecture
  /** Is told of tensors that no model needs: scalars and empty ones. Default: console.warn. */
  readonly onWarning?: (message: string) => void
}

const idleWarning = ({ folder }: Checkpoint, names: readonly string[]): string => {
  const shown = names.slice(0, 5).join(', ')
  const more = names.length > 5 ? `, and ${names.length - 5} more` : ''
  return `${folder}: passed over ${names.length} scalar or empty tensor${names.length > 1 ? 's' : ''} that the model has no use for: ${shown}${more}`
}

/** Element types that a session reads from the file as they are. */
const mappable: ReadonlySet<string> = new Set(['F32', 'F16', 'BF16'])

const sourceOf = async (
  checkpoint: Checkpoint,
  { name, path, dtype, ...info }: TensorInfo,
): Promise<Source> => {
  const { shape, offset, length } = info
  const copy = await checkpoint.floatPlace(name)
  if (copy)
    return { kind: 'file', dtype: 'float32', shape, ...copy, read: () => checkpoint.read(name, 'float32') }
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
 * bound to them (float32 as it lies in the file, float16 and bfloat16 as their copy in float32 where the checkpoint has one, else
 * widened as they are used). The checkpoint must stay open. Throws CheckpointError for an unknown architecture, an unusable configuration, and tensors that are
 * missing, unexpected or of another shape.
 */
export const openModel = async (
  checkpoint: Checkpoint,
  {
    trainable = false,
    buffers = false,
    architecture = architectureFor(checkpoint.config),
    onWarning = console.warn,
  }: OpenModelOptions = {},
): Promise<Model> => {
  const { config, stored } = await reconcile(architecture, checkpoint)
  if (stored.idle.length) onWarning(idleWarning(checkpoint, stored.idle))
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
