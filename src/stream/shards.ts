/** @file From planned tensors to finished shards: tasks for the threads, files for the tasks, and word of how far it is. */
import { closeSync, openSync } from 'node:fs'
import { tensorBytes, type TensorPlan } from '../checkpoint/index.js'
import type { OnProgress } from '../progress.js'
import { memoryFor, runTasks } from './crew.js'
import type { BlockMethod } from './method.js'
import type { Shard, Staging } from './staging.js'
import { type StreamPlan, type Task, taskBytes, tasksOf, type TensorJob } from './task.js'

/** Bytes that a tensor takes in a file. */
export const bytesOf = ({ dtype, shape }: TensorPlan): number => tensorBytes(dtype, shape)

/** Bytes that tensors take in files. */
export const totalBytes = (tensors: readonly TensorPlan[]): number =>
  tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0)

/** How shards are written. */
export interface WorkOptions {
  /** Name under which progress is reported. */
  readonly name: string
  /** Seed of everything drawn at random: the streams of two seeds have nothing in common. Default ''. */
  readonly seed?: string
  /** How many threads compute; 1: only this one. Default: all cores, at most 8, or 1 for small models. */
  readonly threads?: number
  /** Aborts between two tasks. */
  readonly signal?: AbortSignal
  /** Hears the bytes that are done. */
  readonly onProgress?: OnProgress
}

/** Reports the bytes that are done, of all, and the tensors. */
const counter = (tensors: readonly TensorPlan[], { name, onProgress }: WorkOptions) => {
  const total = totalBytes(tensors)
  let before = 0
  let finished = 0
  return {
    /** Bytes and tensors that an earlier run has done. */
    skip: (bytes: number, count: number): void => {
      before += bytes
      finished += count
    },
    finish: (): void => void finished++,
    report: (bytes: number): void =>
      onProgress?.({
        status: 'progress',
        name,
        done: before + bytes,
        total,
        unit: 'bytes',
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

/** The tasks of shards, and what each belongs to. */
interface Division {
  readonly tensorOf: Map<Task, TensorJob>
  readonly shardOf: Map<Task, Shard>
}

/** Cuts the tensors of a shard into tasks that write to it. */
const divide = (
  division: Division,
  shard: Shard,
  jobs: readonly TensorJob[],
  method: BlockMethod,
  inputs: InputFiles,
): Task[] => {
  const tasks = jobs.flatMap((job) => {
    const out = { file: shard.file, offset: shard.offsetOf(job.name) }
    const parts = tasksOf(job, method, inputs.of, out)
    parts.forEach((task) => division.tensorOf.set(task, job))
    return parts
  })
  bySize(tasks).forEach((task) => division.shardOf.set(task, shard))
  return tasks
}

/**
 * Writes those of `shards` that the staging folder lacks. Nothing is left of a shard that was not finished when an error,
 * or the signal, ends it. Throws CheckpointError (NotFinite) for inputs with NaN or infinities.
 */
export const writeShards = async (
  { method, tensors }: StreamPlan,
  staging: Staging,
  shards: readonly (readonly TensorJob[])[],
  options: WorkOptions,
): Promise<void> => {
  const { seed = '', threads, signal } = options
  const count = counter(tensors, options)
  using inputs = new InputFiles()
  const division: Division = { tensorOf: new Map(), shardOf: new Map() }
  const begun: Shard[] = []
  const sealing: Promise<void>[] = []
  try {
    for (const [i, jobs] of shards.entries()) {
      if (await staging.has(i, shards.length)) {
        count.skip(totalBytes(jobs), jobs.length)
        continue
      }
      const shard = await staging.shard(i, shards.length, jobs)
      begun.push(shard)
      if (!divide(division, shard, jobs, method, inputs).length) await shard.finish()
    }
    const tensorDone = whenAllDone(division.tensorOf, count.finish)
    const shardDone = whenAllDone(division.shardOf, (shard) => void sealing.push(shard.finish()))
    const onDone = (task: Task): void => {
      tensorDone(task)
      shardDone(task)
    }
    const tasks = [...division.shardOf.keys()]
    await runTasks(tasks, { method, seed, threads, signal, onDone, onBytes: count.report })
    await Promise.all(sealing)
  } catch (error) {
    await Promise.allSettled(sealing)
    await Promise.all(begun.map((shard) => shard.discard()))
    throw error
  }
}

/** Bytes of memory that writing `plan` takes at its peak, about. */
export const memoryOf = (
  { method, tensors }: StreamPlan,
  { threads }: Pick<WorkOptions, 'threads'>,
): number => {
  const tasks = tensors.flatMap((job) => tasksOf(job, method, () => -1, { file: -1, offset: 0 }))
  return memoryFor(tasks, method, threads)
}

/** Reads every number of the inputs of `plan`. Throws CheckpointError (NotFinite) at one that is not finite. */
export const checkInputs = async ({ method, tensors }: StreamPlan, options: WorkOptions): Promise<void> => {
  const { threads, signal } = options
  const count = counter(tensors, options)
  using inputs = new InputFiles()
  const tensorOf = new Map<Task, TensorJob>()
  for (const job of tensors) for (const task of tasksOf(job, method, inputs.of)) tensorOf.set(task, job)
  let done = 0
  const tensorDone = whenAllDone(tensorOf, (job) => {
    count.finish()
    done += bytesOf(job)
    count.report(done)
  })
  await runTasks(bySize([...tensorOf.keys()]), { method, seed: '', threads, signal, onDone: tensorDone })
}
