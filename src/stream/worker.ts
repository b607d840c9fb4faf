/** @file A thread of a stream: takes tasks while there are any. Runs as the module of a worker. */
import { parentPort, workerData } from 'node:worker_threads'
import { Board } from './board.js'
import { KernelMemory } from './kernels/index.js'
import { loadMethod } from './method.js'
import { failureOf, perform, Stopped, type WorkerNews, type WorkerStart } from './work.js'

const { tasks, method: address, seed, kept, shared } = workerData as WorkerStart
const tell = (news: WorkerNews): void => parentPort!.postMessage(news)

const board = new Board(shared)
const turn = (): void => {
  if (board.stopped) throw new Stopped()
}

try {
  const method = await loadMethod(address)
  const memory = new KernelMemory()
  for (let i = board.next(); i < tasks.length && !board.stopped; i = board.next()) {
    await perform(tasks[i], method, seed, { memory, kept, board, turn })
    tell({ done: i })
  }
} catch (error) {
  if (!(error instanceof Stopped)) tell({ failure: failureOf(error) })
}
