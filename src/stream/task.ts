/** @file The pieces of work that a stream is cut into: plain data, so that any thread can do them. */
import { readSync, writeSync } from 'node:fs'
import type { Checkpoint } from '../checkpoint/index.js'
import {
  type SafetensorsDType,
  tensorBytes,
  type TensorInfo,
  type TensorPlan,
} from '../checkpoint/safetensors.js'
import { CheckpointError } from '../errors.js'
import { sizeOf } from '../tensor/shape.js'
import type { BlockMethod } from './method.js'

/** A tensor of an open checkpoint that is read. */
export interface TensorSource {
  readonly checkpoint: Checkpoint
  readonly info: TensorInfo
  /** Element type in its file, where `info` is a reordered view of it, which only the checkpoint can read. */
  readonly stored?: SafetensorsDType
}

/** One tensor that is written, and what it is made of. */
export interface TensorJob extends TensorPlan {
  /** Sources that it is computed from; of a copy, the one source. */
  readonly inputs: readonly TensorSource[]
  /** `copy`: the input's bytes are taken as they are, or rounded to `dtype`. */
  readonly action: 'compute' | 'copy'
  /** Parameters of the method for this tensor: plain data. */
  readonly parameters: unknown
}

/** Tensors, and the method that makes them. */
export interface StreamPlan {
  readonly method: BlockMethod
  readonly tensors: readonly TensorJob[]
}

/** A tensor of a model, as a thread reads it. */
export interface Input {
  /** The model's folder, for messages. */
  readonly folder: string
  readonly info: TensorInfo
  /** The descriptor of its file. */
  readonly file?: number
  /** Reads what is in no file of its own, on the thread that has its checkpoint. */
  readonly read?: (into: Uint8Array, at: number) => Promise<void>
}

/** Elements `from` to `to` (exclusive) of a tensor that is written. */
export interface Task {
  readonly name: string
  readonly shape: readonly number[]
  readonly dtype: SafetensorsDType
  readonly action: TensorJob['action']
  readonly inputs: readonly Input[]
  readonly parameters: unknown
  readonly from: number
  readonly to: number
  /** The file, and the place in it of the element `from`. Absent: the inputs are only checked. */
  readonly out?: { readonly file: number; readonly offset: number }
}

/** Bytes that a task reads, of which a method with a first pass may read each several times. */
export const taskBytes = ({ inputs, from, to }: Task): number =>
  inputs.reduce((sum, { info }) => sum + tensorBytes(info.dtype, [to - from]), 0)

/** Elements of a task, where a tensor may be cut: a multiple of what a block takes. */
const taskElements = 1 << 23

/** How many elements at once a method can be given: whole rows where it asks for them. */
export const unitOf = (shape: readonly number[], method: Pick<BlockMethod, 'rows'>): number =>
  method.rows ? Math.max(1, shape.at(-1) ?? 1) : 1

/**
 * The tasks that the tensor is cut into. One task where the method has a first pass over all of it. `fileOf` opens a
 * file; `out`: where the tensor is written.
 */
export const tasksOf = (
  job: TensorJob,
  method: BlockMethod,
  fileOf: (path: string) => number,
  out?: { readonly file: number; readonly offset: number },
): Task[] => {
  const { name, shape, dtype, action, parameters } = job
  const inputs = job.inputs.map((source) => inputOf(source, fileOf))
  const count = sizeOf(shape)
  const isWhole = action === 'compute' && method.prepare !== undefined && out !== undefined
  const unit = action === 'compute' ? unitOf(shape, method) : 1
  const step = isWhole ? count : Math.ceil(taskElements / unit) * unit
  const tasks: Task[] = []
  for (let from = 0; from < count; from += step) {
    const place = out && { file: out.file, offset: out.offset + tensorBytes(dtype, [from]) }
    const to = Math.min(count, from + step)
    tasks.push({ name, shape, dtype, action, inputs, parameters, from, to, out: place })
  }
  return tasks
}

/** All of a tensor as one task, which the thread that has the checkpoints does. */
export const wholeTask = ({ name, shape, dtype, action, inputs, parameters }: TensorJob): Task => ({
  name,
  shape,
  dtype,
  action,
  inputs: inputs.map((source) => inputOf(source)),
  parameters,
  from: 0,
  to: sizeOf(shape),
})

/** A view of a tensor that reorders it (`stored`) is not what lies in the file. */
const inputOf = ({ checkpoint, info, stored }: TensorSource, fileOf?: (path: string) => number): Input => ({
  folder: checkpoint.folder,
  info,
  ...(fileOf && info.path !== undefined && stored === undefined
    ? { file: fileOf(info.path) }
    : { read: (into, at) => checkpoint.readInto(info.name, into, at) }),
})

/** Whether only the thread that made the task can do it. */
export const isLocal = ({ inputs }: Task): boolean => inputs.some(({ file }) => file === undefined)

/**
 * Fills `into` with the stored bytes of `input` from byte `at` on. Gives a promise only where it must be waited for.
 * Throws CheckpointError (ReadFailed) where the file has become shorter.
 */
export const readInput = (
  { folder, info, file, read }: Input,
  into: Uint8Array,
  at: number,
): Promise<void> | void => {
  if (file === undefined) return read!(into, at)
  for (let done = 0; done < into.length;) {
    const bytes = readSync(file, into, done, into.length - done, info.offset + at + done)
    if (bytes === 0)
      throw new CheckpointError(
        'ReadFailed',
        `${folder}: ${info.file}: tensor ${JSON.stringify(info.name)}: the file ends ${into.length - done} bytes early; it was changed while open.`,
      )
    done += bytes
  }
}

/** Writes all of `bytes` to the descriptor `file`, from `offset` on. */
export const writeAll = (file: number, bytes: Uint8Array, offset: number): void => {
  for (let done = 0; done < bytes.length;)
    done += writeSync(file, bytes, done, bytes.length - done, offset + done)
}
