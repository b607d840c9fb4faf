import { Worker } from 'node:worker_threads'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { bundleForNode } from '../../test/bundle.js'
import type { JobFunctions } from '../../test/job.worker.js'
import { compile, type Tensor, toNumbers, valueOf } from '../tensor/index.js'
import { connect, type WorkerHost, workerSessions } from './worker.js'

let host: WorkerHost<JobFunctions>
let file: URL
beforeAll(async () => {
  file = await bundleForNode(new URL('../../test/job.worker.ts', import.meta.url))
})
const start = (): WorkerHost<JobFunctions> => (host = connect<JobFunctions>(new Worker(file)))
afterEach(() => host.close())

describe('the worker host', () => {
  it('calls functions with values and gives values back', async () => {
    const { y } = await start().call('double', { x: valueOf([1, 2, 3], [3]) })
    expect(y.dtype).toBe('float32')
    expect([...toNumbers(y)]).toEqual([2, 4, 6])
  })

  it('leaves this thread free while the worker runs, and delivers its events', async () => {
    let ticks = 0
    const timer = setInterval(() => ticks++, 5)
    const events: unknown[] = []
    const runs = await start().call('work', { runs: 3 }, { onEvent: (e) => events.push(e) })
    clearInterval(timer)
    expect(runs).toBe(3)
    expect(events).toEqual([{ run: 0 }, { run: 1 }, { run: 2 }])
    expect(ticks).toBeGreaterThan(5)
  })

  it('stops between runs when aborted, and goes on working', async () => {
    start()
    const controller = new AbortController()
    const events: unknown[] = []
    const stop = (e: unknown): void => {
      events.push(e)
      if (events.length === 2) controller.abort(new Error('enough'))
    }
    await expect(
      host.call('work', { runs: 10000 }, { signal: controller.signal, onEvent: stop, grace: 60_000 }),
    ).rejects.toThrow('enough')
    expect(events.length).toBeLessThan(10)
    expect([...toNumbers((await host.call('double', { x: valueOf([4], [1]) })).y)]).toEqual([8])
  })

  it('ends a worker that does not stop when asked to', async () => {
    const signal = AbortSignal.timeout(500)
    await expect(start().call('spin', { milliseconds: 3_600_000 }, { signal, grace: 100 })).rejects.toThrow(
      /timeout/,
    )
    await expect(host.call('fail', undefined as never)).rejects.toThrow(/ended/)
  })

  it('passes on errors with their code, and refuses what is not served', async () => {
    await expect(start().call('fail', undefined as never)).rejects.toMatchObject({
      code: 'BadThing',
      message: 'a bad thing: 7, expected 8',
      exitCode: 2,
    })
    await expect(host.call('nothing' as 'fail', undefined as never)).rejects.toThrow(/serves no 'nothing'/)
  })

  it('opens the sessions of compile in the worker', async () => {
    const openSession = workerSessions(start())
    const program = await compile(
      ({ x }: { x: Tensor }) => x.square().sum(),
      { x: valueOf([1, 2], [2]) },
      { openSession },
    )
    expect([...toNumbers(await program.run({ x: valueOf([3, 4], [2]) }))]).toEqual([25])
  })
})
