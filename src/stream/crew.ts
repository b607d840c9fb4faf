/**
 * @file The threads of a stream. They all have the list of tasks from the beginning, and a counter in shared memory says
 * which is next; each reads, computes and writes a task by itself, so that no numbers pass between them and while one
 * waits for a disk the others compute.
 */
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { WeftError } from '../errors.js'
import { Board } from './board.js'
import { KernelMemory } from './kernels/index.js'
import type { BlockMethod } from './method.js'
import { layoutOf } from './stream.js'
import { isLocal, type Task, taskBytes } from './task.js'
import { errorOf, perform, Stopped, type WorkerNews, type WorkerStart } from './work.js'

/** Threads beyond these wait for memory, as a rule. */
const mostThreads = 8
/** Bytes of inputs that all threads together keep in memory between passes. */
const keptBytes = 256 << 20
/** Bytes that the program itself takes. */
const runtimeBytes = 80e6
/** Bytes that a thread takes. */
const threadBytes = 20e6
/** Inputs that take less are done before another thread would have begun. */
const worthwhileBytes = 64 << 20

/** How many threads `tasks` are given by default. */
export const threadsFor = (tasks: readonly Task[]): number => {
  const bytes = tasks.reduce((sum, task) => sum + taskBytes(task), 0)
  return bytes < worthwhileBytes ? 1 : Math.min(mostThreads, availableParallelism())
}

/** Bytes of inputs that each of so many threads may keep. */
const keptFor = (threads: number): number => Math.floor(keptBytes / threads)

/** Bytes of memory that `tasks` take at the peak, as far as tensors go: for each thread, the most that a task needs. */
export const memoryFor = (
  tasks: readonly Task[],
  method: BlockMethod,
  threads: number = threadsFor(tasks),
): number => {
  const needs = tasks.map((task) => layoutOf(task, method, keptFor(threads)).bytes)
  const largest = needs.reduce((a, b) => Math.max(a, b), 0)
  return runtimeBytes + Math.min(threads, tasks.length) * (largest + threadBytes)
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

/** A thread at work. `ended` rejects with what it failed of. */
interface Helper {
  readonly worker: Worker
  readonly ended: Promise<void>
}

/** A thread that does tasks of the list until there are no more. */
const hire = (start: WorkerStart, onDone: (index: number) => void): Helper => {
  const worker = startWorker(start)
  const ended = new Promise<void>((resolve, reject) => {
    worker.on('message', (news: WorkerNews) => {
      if ('done' in news) onDone(news.done)
      else reject(errorOf(news.failure))
    })
    worker.on('error', reject)
    worker.on('exit', (code) =>
      code ? reject(new WeftError('WorkerEnded', `a worker thread ended with ${code}`)) : resolve(),
    )
  })
  return { worker, ended }
}

export interface CrewOptions {
  readonly method: BlockMethod
  readonly seed: string
  /** Number of threads; 1: all is done on this one, as is what names no module for others. Default: `threadsFor`. */
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

/** As many threads beside this one as there is work for. */
const hireAll = (open: readonly Task[], most: number, board: Board, options: CrewOptions): Helper[] => {
  const { method, seed, onDone } = options
  const { module, name } = method
  if (module === undefined || most < 1) return []
  const start: WorkerStart = {
    tasks: open,
    method: { module, name },
    seed,
    kept: keptFor(1 + most),
    shared: board.shared,
  }
  return Array.from({ length: most }, () => hire(start, (index) => onDone(open[index])))
}

/**
 * Does `tasks`, in about their order. What is written does not depend on the number of threads. Rejects with the first
 * error or the signal's reason, when no thread is at work any more.
 */
export const runTasks = async (tasks: readonly Task[], options: CrewOptions): Promise<void> => {
  const { signal, onBytes } = options
  const local = tasks.filter(isLocal)
  const open = tasks.filter((task) => !isLocal(task))
  const board = new Board()
  const stop = (): void => board.stop()
  const report = (): void => onBytes?.(board.bytes)
  const most = Math.min((options.threads ?? threadsFor(open)) - 1, open.length - (local.length ? 0 : 1))
  const helpers = hireAll(open, most, board, options)
  const timer = helpers.length ? setInterval(report, reportTime) : undefined
  signal?.addEventListener('abort', stop)
  const kept = keptFor(1 + helpers.length)
  const all = [
    ownWork(local, open, { ...options, board, kept, report }),
    ...helpers.map(({ ended }) => ended),
  ]
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
    await Promise.all(helpers.map(({ worker }) => worker.terminate()))
  }
}

/** What this thread works with. */
interface OwnDesk extends CrewOptions {
  readonly board: Board
  readonly kept: number
  readonly report: () => void
}

/** This thread's part: first the `local` tasks, which no other can do. */
const ownWork = async (local: readonly Task[], open: readonly Task[], desk: OwnDesk): Promise<void> => {
  const { method, seed, signal, onDone, board, kept, report } = desk
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
