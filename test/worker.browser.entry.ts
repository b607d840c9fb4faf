/** @file The worker host in a page. */
import { connect, workerSessions } from '../src/runtime/index.js'
import { compile, type Tensor, toNumbers, valueOf } from '../src/tensor/index.js'
import type { JobFunctions } from './job.worker.js'

const start = (): ReturnType<typeof connect<JobFunctions>> =>
  connect<JobFunctions>(new Worker('/job.js', { type: 'module' }))

export const cases = {
  ticks: async (): Promise<{ ticks: number; runs: number }> => {
    const host = start()
    let ticks = 0
    const timer = setInterval(() => ticks++, 5)
    const runs = await host.call('work', { runs: 2 })
    clearInterval(timer)
    await host.close()
    return { ticks, runs }
  },
  abort: async (): Promise<{ message: string; events: number }> => {
    const host = start()
    const controller = new AbortController()
    let events = 0
    const onEvent = (): void => {
      if (++events === 1) controller.abort(new Error('enough'))
    }
    const call = host.call('work', { runs: 10000 }, { signal: controller.signal, onEvent, grace: 60_000 })
    const message = await call.then(String, (error: Error) => error.message)
    await host.close()
    return { message, events }
  },
  sessions: async (): Promise<number[]> => {
    const host = start()
    const x = valueOf([1, 2], [2])
    const program = await compile(
      ({ x }: { x: Tensor }) => x.square().sum(),
      { x },
      { openSession: workerSessions(host) },
    )
    const y = await program.run({ x })
    await host.close()
    return [...toNumbers(y)]
  },
}
