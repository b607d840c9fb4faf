/** @file The engine's process as the lab sees it: started when it is needed, ended when it has been idle. */
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { HttpError } from '../errors.js'
import { loader, moduleFile } from '../self.js'
import type { Answer, Order } from './messages.js'

/** Milliseconds after which an idle engine ends, and its memory with it. */
const idleTime = 5 * 60_000
/** Orders that may wait. */
const longestQueue = 16

type Listener = (answer: Answer) => void

type Unnumbered<T> = T extends { call: number } ? Omit<T, 'call'> : never

/** What an engine that has gone answers to what it was asked. */
const ended = {
  code: 'EngineEnded',
  message: 'the process that computes has ended; the memory may be too small',
}

/** Sends orders and gives back their answers. */
export class EngineProcess {
  private child: ChildProcess | undefined
  private calls = 0
  private readonly waiting = new Map<number, { child: ChildProcess; listener: Listener }>()
  private idle: NodeJS.Timeout | undefined

  /** Answers of one order, until its last. Aborting `signal` cancels it. Throws HttpError 429 when too many wait. */
  async order(
    order: Unnumbered<Exclude<Order, { type: 'cancel' }>>,
    listener: Listener,
    signal?: AbortSignal,
  ): Promise<void> {
    if (this.waiting.size >= longestQueue)
      throw new HttpError(429, 'EngineBusy', `${longestQueue} requests are waiting for the engine already`)
    const call = this.calls++
    const child = this.running()
    clearTimeout(this.idle)
    const cancel = (): void => void (child.connected && child.send({ type: 'cancel', call }))
    signal?.addEventListener('abort', cancel, { once: true })
    await new Promise<void>((done) => {
      const hear = (answer: Answer): void => {
        listener(answer)
        if (answer.type !== 'token') done()
      }
      this.waiting.set(call, { child, listener: hear })
      child.send({ ...order, call })
      if (signal?.aborted) cancel()
    })
    signal?.removeEventListener('abort', cancel)
    this.waiting.delete(call)
    if (this.waiting.size > 0) return
    this.idle = setTimeout(() => this.close(), idleTime)
    this.idle.unref()
  }

  private running(): ChildProcess {
    if (this.child) return this.child
    const child = fork(moduleFile('./playground/engine'), [], {
      execArgv: loader(),
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      // Arrays of numbers go over as they are.
      serialization: 'advanced',
    })
    child.on('message', (answer: Answer) => this.waiting.get(answer.call)?.listener(answer))
    const gone = (): void => {
      if (this.child === child) this.child = undefined
      for (const [call, asked] of [...this.waiting])
        if (asked.child === child) asked.listener({ type: 'error', call, data: ended })
    }
    child.once('exit', gone)
    child.once('error', gone)
    return (this.child = child)
  }

  /** Ends the process. */
  close(): void {
    clearTimeout(this.idle)
    this.child?.kill('SIGKILL')
    this.child = undefined
  }
}
