/** @file The pieces of work that a merge is cut into: plain data, so that any thread can do them. */
import { readSync, writeSync } from 'node:fs'
import { type SafetensorsDType, tensorBytes, type TensorInfo } from '../checkpoint/safetensors.js'
import { CheckpointError } from '../errors.js'
import type { SourceTensor } from '../merge/core/recipe/align.js'
import type { MergeMethod, Parameters } from '../merge/core/method.js'
import type { PlannedTensor } from '../merge/core/recipe/plan.js'

/** A tensor of a model, as a thread reads it. */
export interface Input {
  /** The model's folder, for messages. */
  readonly folder: string
  readonly info: TensorInfo
  /** The descriptor of its file. */
  readonly file?: number
  /** What is in no file of its own is read by the thread that has its checkpoint. */
  readonly read?: (into: Uint8Array, at: number) => Promise<void>
}

/** Elements `from` to `to` (exclusive) of a planned tensor. */
export interface Task {
  readonly name: string
  readonly shape: readonly number[]
  readonly dtype: SafetensorsDType
  readonly action: 'merge' | 'copy'
  readonly base?: Input
  readonly models: readonly Input[]
  readonly parameters: Parameters
  readonly from: number
  readonly to: number
  /** The file, and the place in it of the element `from`. Absent: the inputs are only checked. */
  readonly out?: { readonly file: number; readonly offset: number }
}

export const countOf = (shape: readonly number[]): number => shape.reduce((n, size) => n * size, 1)

export const inputsOf = ({ base, models }: Pick<Task, 'base' | 'models'>): readonly Input[] =>
  base ? [base, ...models] : models

/** Bytes that a task reads, of which a method with a first pass may read each several times. */
export const taskBytes = (task: Task): number =>
  inputsOf(task).reduce((sum, { info }) => sum + tensorBytes(info.dtype, [task.to - task.from]), 0)

/** Elements of a task, where a tensor may be cut: a multiple of what a block takes. */
const taskElements = 1 << 23

/** How many elements at once a method can be given: whole rows where it asks for them. */
export const unitOf = (shape: readonly number[], method: Pick<MergeMethod, 'rows'>): number =>
  method.rows ? Math.max(1, shape.at(-1) ?? 1) : 1

/**
 * The tasks that the tensor is cut into. One task where the method has a first pass over all of it. `fileOf` opens a
 * file; `out`: where the tensor is written.
 */
export const tasksOf = (
  plan: PlannedTensor,
  method: MergeMethod,
  fileOf: (path: string) => number,
  out?: { readonly file: number; readonly offset: number },
): Task[] => {
  const { name, shape, dtype, action, parameters } = plan
  const base = plan.base && inputOf(plan.base, fileOf)
  const models = plan.models.map((model) => inputOf(model, fileOf))
  const count = countOf(shape)
  const whole = action === 'merge' && method.prepare !== undefined && out !== undefined
  const unit = action === 'merge' ? unitOf(shape, method) : 1
  const step = whole ? count : Math.ceil(taskElements / unit) * unit
  const tasks: Task[] = []
  for (let from = 0; from < count; from += step) {
    const there = out && { file: out.file, offset: out.offset + tensorBytes(dtype, [from]) }
    const to = Math.min(count, from + step)
    tasks.push({ name, shape, dtype, action, base, models, parameters, from, to, out: there })
  }
  return tasks
}

/** A view of a tensor that reorders it (`stored`) is not what lies in the file. */
export const inputOf = (
  { checkpoint, info, stored }: SourceTensor,
  fileOf?: (path: string) => number,
): Input => ({
  folder: checkpoint.folder,
  info,
  ...(fileOf && info.path !== undefined && stored === undefined
    ? { file: fileOf(info.path) }
    : { read: (into, at) => checkpoint.readInto(info.name, into, at) }),
})

/** Whether only the thread that made the task can do it. */
export const isLocal = (task: Task): boolean => inputsOf(task).some(({ file }) => file === undefined)

/** Fills `into` with the stored bytes of `input` from byte `at` on. Gives a promise only where it must be waited for. */
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

export const writeAll = (file: number, bytes: Uint8Array, offset: number): void => {
  for (let done = 0; done < bytes.length;)
    done += writeSync(file, bytes, done, bytes.length - done, offset + done)
}
