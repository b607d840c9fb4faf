/** @file From planned tensors to finished shards: tasks for the threads, files for the tasks, and word of how far it is. */
import { closeSync, openSync } from 'node:fs'
import { tensorBytes } from '../checkpoint/index.js'
import type { OnProgress } from '../progress.js'
import { memoryFor, runTasks } from './crew.js'
import type { MergePlan, PlannedTensor } from '../merge/core/recipe/plan.js'
import type { Shard, Staging } from './staging.js'
import { type Task, taskBytes, tasksOf } from './task.js'

export const bytesOf = ({ dtype, shape }: PlannedTensor): number => tensorBytes(dtype, shape)
export const totalBytes = (tensors: readonly PlannedTensor[]): number =>
  tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0)

export interface WorkOptions {
  readonly seed?: number
  /** How many threads compute; 1: only this one. Default: all cores, at most 8, or 1 for small models. */
  readonly threads?: number
  readonly signal?: AbortSignal
  readonly onProgress?: OnProgress
}

/** Reports the bytes that are done, of all, and the tensors. */
const counter = (tensors: readonly PlannedTensor[], onProgress?: OnProgress) => {
  const total = totalBytes(tensors)
  let [before, finished] = [0, 0]
  return {
    /** Bytes and tensors that an earlier run has done. */
    skip: (bytes: number, count: number): void => {
      before += bytes
      finished += count
    },
    finish: (): void => void finished++,
    report: (bytes: number): void =>
      onProgress?.({
        ...{ status: 'progress', name: 'merge', unit: 'bytes', total },
        done: before + bytes,
        metrics: { tensors: finished },
      }),
  }
}

/** Input files, each opened once, whoever reads it. */
class InputFiles implements Disposable {
  readonly #open = new Map<string, number>()
  readonly of = (path: string): number => {
    const file = this.#open.get(path) ?? openSync(path, 'r')
    this.#open.set(path, file)
    return file
  };
  [Symbol.dispose](): void {
    for (const file of this.#open.values()) closeSync(file)
  }
}

/** Large ones first, so that the threads end together; those of a size in the order of the files. */
const bySize = (tasks: readonly Task[]): Task[] => [...tasks].sort((a, b) => taskBytes(b) - taskBytes(a))

/** Calls `then` with what a task belongs to when the last of its tasks is done. */
const whenAllDone = <T>(owners: ReadonlyMap<Task, T>, then: (owner: T) => void): ((task: Task) => void) => {
  const left = new Map<T, number>()
  for (const owner of owners.values()) left.set(owner, (left.get(owner) ?? 0) + 1)
  return (task) => {
    const owner = owners.get(task)!
    left.set(owner, left.get(owner)! - 1)
    if (left.get(owner) === 0) then(owner)
  }
}

/**
 * Writes what `shards` lacks of the merge to the staging folder. Nothing is left of a shard that was not finished when an
 * error, or the signal, ends it.
 */
export const writeShards = async (
  { method, tensors }: MergePlan,
  staging: Staging,
  shards: readonly (readonly PlannedTensor[])[],
  { seed = 0, threads, signal, onProgress }: WorkOptions,
): Promise<void> => {
  const count = counter(tensors, onProgress)
  using inputs = new InputFiles()
  const [shardOf, tensorOf] = [new Map<Task, Shard>(), new Map<Task, PlannedTensor>()]
  const begun: Shard[] = []
  const sealing: Promise<void>[] = []
  try {
    for (const [i, planned] of shards.entries()) {
      if (await staging.has(i, shards.length)) {
        count.skip(totalBytes(planned), planned.length)
        continue
      }
      const shard = await staging.shard(i, shards.length, planned)
      begun.push(shard)
      const tasks = planned.flatMap((tensor) => {
        const out = { file: shard.file, offset: shard.offsetOf(tensor.name) }
        const own = tasksOf(tensor, method, inputs.of, out)
        own.forEach((task) => tensorOf.set(task, tensor))
        return own
      })
      bySize(tasks).forEach((task) => shardOf.set(task, shard))
      if (!tasks.length) await shard.finish()
    }
    const tensorDone = whenAllDone(tensorOf, count.finish)
    const shardDone = whenAllDone(shardOf, (shard) => void sealing.push(shard.finish()))
    const onDone = (task: Task): void => {
      tensorDone(task)
      shardDone(task)
    }
    await runTasks([...shardOf.keys()], { method, seed, threads, signal, onDone, onBytes: count.report })
    await Promise.all(sealing)
  } catch (error) {
    await Promise.allSettled(sealing)
    await Promise.all(begun.map((shard) => shard.discard()))
    throw error
  }
}

/** Bytes of memory that writing `plan` takes at its peak, about. */
export const memoryOf = ({ method, tensors }: MergePlan, { threads }: WorkOptions): number => {
  const tasks = tensors.flatMap((tensor) => tasksOf(tensor, method, () => -1, { file: -1, offset: 0 }))
  return memoryFor(tasks, method, threads)
}

/** Reads every number of the sources of `plan`. Throws CheckpointError at one that is not finite. */
export const checkInputs = async (
  { method, tensors }: MergePlan,
  { threads, signal, onProgress }: WorkOptions,
): Promise<void> => {
  const count = counter(tensors, onProgress)
  using inputs = new InputFiles()
  const tensorOf = new Map(
    tensors.flatMap((tensor) =>
      tasksOf(tensor, method, inputs.of).map((task): [Task, PlannedTensor] => [task, tensor]),
    ),
  )
  let done = 0
  const tensorDone = whenAllDone(tensorOf, (tensor) => {
    count.finish()
    done += bytesOf(tensor)
    count.report(done)
  })
  const tasks = bySize([...tensorOf.keys()])
  await runTasks(tasks, { method, seed: 0, threads, signal, onDone: tensorDone })
}
