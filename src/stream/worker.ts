/** @file A thread of a merge: takes tasks while there are any. Runs as the module of a worker. */
import { parentPort, workerData } from 'node:worker_threads'
import { Board, failureOf, perform, Stopped, type WorkerNews, type WorkerStart } from './crew.js'
import { KernelMemory } from './kernels/index.js'
import { methods } from '../merge/tensor-methods/index.js'

const { tasks, method: name, seed, kept, shared } = workerData as WorkerStart
const tell = (news: WorkerNews): void => parentPort!.postMessage(news)

const method = methods.find((m) => m.name === name)!
const board = new Board(shared)
const memory = new KernelMemory()
const turn = (): void => {
  if (board.stopped) throw new Stopped()
}

try {
  for (let i = board.next(); i < tasks.length && !board.stopped; i = board.next()) {
    await perform(tasks[i], method, seed, { memory, kept, board, turn })
    tell({ done: i })
  }
} catch (error) {
  if (!(error instanceof Stopped)) tell({ failure: failureOf(error) })
}
