/**
 * @file The threads of a merge. They all have the list of tasks from the beginning, and a counter in shared memory says
 * which is next; each reads, computes and writes a task by itself, so that no numbers pass between them and while one
 * waits for a disk the others compute.
 */
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { CheckpointError, exitCodes, MemoryError, UsageError, WeftError } from '../errors.js'
import { KernelMemory } from './kernels/index.js'
import type { MergeMethod } from '../merge/core/method.js'
import { check, type Desk, layoutOf, runsOf, type Turn } from './stream.js'
import { isLocal, type Task, taskBytes, writeAll } from './task.js'

/** Threads beyond these wait for memory, as a rule. */
const mostThreads = 8
/** Bytes of inputs that all threads together keep in memory between passes. */
const keptBytes = 256 << 20
/** What the program itself takes, and a thread of it. */
const [runtimeBytes, threadBytes] = [80e6, 20e6]
/** Inputs that take less are merged before another thread would have begun. */
const worthwhileBytes = 64 << 20

/** How many threads `tasks` are given by default. */
export const threadsFor = (tasks: readonly Task[]): number => {
  const bytes = tasks.reduce((sum, task) => sum + taskBytes(task), 0)
  return bytes < worthwhileBytes ? 1 : Math.min(mostThreads, availableParallelism())
}

/** Bytes of inputs that each of so many threads may keep. */
const keptFor = (threads: number): number => Math.floor(keptBytes / threads)

/** Bytes of memory that `tasks` take at the peak, as far as tensors go: of each thread, the most that a task needs. */
export const memoryFor = (
  tasks: readonly Task[],
  method: MergeMethod,
  threads: number = threadsFor(tasks),
): number => {
  const needs = tasks.map((task) => layoutOf(task, method, keptFor(threads)).bytes)
  const largest = needs.reduce((a, b) => Math.max(a, b), 0)
  return runtimeBytes + Math.min(threads, tasks.length) * (largest + threadBytes)
}

/** What all threads see: the next task, whether to stop, and the bytes written. */
export class Board {
  readonly #words: Int32Array
  readonly #bytes: BigInt64Array
  constructor(readonly shared: SharedArrayBuffer = new SharedArrayBuffer(16)) {
    this.#words = new Int32Array(shared, 0, 2)
    this.#bytes = new BigInt64Array(shared, 8, 1)
  }

  /** The index of a task that nobody else gets. */
  next(): number {
    return Atomics.add(this.#words, 0, 1)
  }

  get stopped(): boolean {
    return Atomics.load(this.#words, 1) !== 0
  }

  stop(): void {
    Atomics.store(this.#words, 1, 1)
  }

  get bytes(): number {
    return Number(Atomics.load(this.#bytes, 0))
  }

  add(bytes: number): void {
    Atomics.add(this.#bytes, 0, BigInt(bytes))
  }
}

/** Does one task: writes what its `out` says, or checks its inputs. */
export const perform = async (
  task: Task,
  method: MergeMethod,
  seed: number,
  { board, ...desk }: Desk & { readonly board: Board; readonly turn: Turn },
): Promise<void> => {
  if (!task.out) return check(task, desk)
  const { file, offset } = task.out
  let at = offset
  for await (const bytes of runsOf(task, method, seed, desk)) {
    writeAll(file, bytes, at)
    at += bytes.length
    board.add(bytes.length)
    await desk.turn()
  }
}

/** Thrown within a thread to leave its task when another has failed. */
export class Stopped extends Error {}

/** What a worker is given. */
export interface WorkerStart {
  readonly tasks: readonly Task[]
  readonly method: string
  readonly seed: number
  readonly kept: number
  readonly shared: SharedArrayBuffer
}

/** What a worker says: a task is done, or how it failed. */
export type WorkerNews = { readonly done: number } | { readonly failure: Failure }

interface Failure {
  readonly code?: string
  readonly message: string
  readonly hint?: string
  readonly exitCode?: number
}

/** An error as a message carries it. */
export const failureOf = (error: unknown): Failure => {
  const { code, message, hint, exitCode } = error as WeftError
  return error instanceof WeftError
    ? { code, message, hint, exitCode }
    : { code, message: message ?? String(error) }
}

const errorOf = ({ code, message, hint, exitCode }: Failure): Error => {
  if (exitCode === undefined) return Object.assign(new Error(message), { code })
  const kinds = {
    [exitCodes.usage]: UsageError,
    [exitCodes.checkpoint]: CheckpointError,
    [exitCodes.memory]: MemoryError,
  } as Record<number, typeof WeftError | undefined>
  // The message ends with the hint already.
  return Object.assign(new (kinds[exitCode] ?? WeftError)(code!, message), { hint })
}

/** The worker's module. From the sources a loader of TypeScript comes first, as workers do not inherit it. */
const startWorker = (workerData: WorkerStart): Worker => {
  if (!import.meta.url.endsWith('.ts'))
    return new Worker(new URL('./worker.js', import.meta.url), { workerData })
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx'))
  const loader = new URL('./esm/api/index.mjs', tsx).href
  const file = new URL('./worker.ts', import.meta.url).href
  const code = `import('${loader}').then(({ register }) => (register(), import('${file}')))`
  return new Worker(code, { eval: true, workerData, execArgv: [] })
}

/** A thread that does tasks of the list until there are no more. */
const hire = (
  start: WorkerStart,
  onDone: (index: number) => void,
): { worker: Worker; ended: Promise<void> } => {
  const worker = startWorker(start)
  const ended = new Promise<void>((resolve, reject) => {
    worker.on('message', (news: WorkerNews) => {
      if ('done' in news) onDone(news.done)
      else reject(errorOf(news.failure))
    })
    worker.on('error', reject)
    worker.on('exit', (code) =>
      code ? reject(new WeftError('WorkerEnded', `a thread of the merge ended with ${code}`)) : resolve(),
    )
  })
  return { worker, ended }
}

export interface CrewOptions {
  readonly method: MergeMethod
  readonly seed: number
  /** 1: all is done on this thread. Default: `threadsFor`. */
  readonly threads?: number
  readonly signal?: AbortSignal
  /** Called after every task, on this thread. */
  readonly onDone: (task: Task) => void
  /** Called every now and then with the bytes written so far. */
  readonly onBytes?: (bytes: number) => void
}

/** This thread holds back others no longer than this, in milliseconds. */
const turnTime = 10
const reportTime = 100

/**
 * Does `tasks`, in about their order. What is written does not depend on the number of threads. Rejects with the first
 * error or the signal's reason, when no thread is at work any more.
 */
export const runTasks = async (tasks: readonly Task[], options: CrewOptions): Promise<void> => {
  const { method, seed, signal, onDone, onBytes } = options
  const [local, open] = [tasks.filter(isLocal), tasks.filter((task) => !isLocal(task))]
  const board = new Board()
  const stop = (): void => board.stop()
  const report = (): void => onBytes?.(board.bytes)
  const helpers = Math.min((options.threads ?? threadsFor(open)) - 1, open.length - (local.length ? 0 : 1))
  const kept = keptFor(1 + Math.max(0, helpers))
  const start = { tasks: open, method: method.name, seed, kept, shared: board.shared }
  const hired = Array.from({ length: Math.max(0, helpers) }, () =>
    hire(start, (index) => onDone(open[index])),
  )
  const timer = hired.length ? setInterval(report, reportTime) : undefined
  signal?.addEventListener('abort', stop)
  const own = ownWork({ local, open, board, method, seed, kept, signal, onDone, report })
  const all = [own, ...hired.map(({ ended }) => ended)]
  all.forEach((each) => each.catch(stop))
  try {
    const outcomes = await Promise.allSettled(all)
    const failed = outcomes.flatMap((o) => (o.status === 'rejected' ? [o.reason as Error] : []))
    signal?.throwIfAborted()
    if (failed.length) throw failed.find((error) => !(error instanceof Stopped)) ?? failed[0]
    report()
  } finally {
    clearInterval(timer)
    signal?.removeEventListener('abort', stop)
    await Promise.all(hired.map(({ worker }) => worker.terminate()))
  }
}

interface Own extends Pick<CrewOptions, 'method' | 'seed' | 'signal' | 'onDone'> {
  readonly local: readonly Task[]
  readonly open: readonly Task[]
  readonly board: Board
  readonly kept: number
  readonly report: () => void
}

/** This thread's part: first what no other can do. */
const ownWork = async ({
  local,
  open,
  board,
  method,
  seed,
  kept,
  signal,
  onDone,
  report,
}: Own): Promise<void> => {
  const memory = new KernelMemory()
  let since = performance.now()
  const turn = async (): Promise<void> => {
    report()
    signal?.throwIfAborted()
    if (board.stopped) throw new Stopped()
    if (performance.now() - since < turnTime) return
    await new Promise((resolve) => setImmediate(resolve))
    since = performance.now()
  }
  const one = async (task: Task): Promise<void> => {
    await perform(task, method, seed, { memory, kept, board, turn })
    onDone(task)
    await turn()
  }
  for (const task of local) await one(task)
  for (let i = board.next(); i < open.length; i = board.next()) await one(open[i])
}
