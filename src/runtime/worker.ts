/**
 * @file Work in a worker, for callers that must stay responsive (a server, a page): ONNX Runtime holds its thread
 * while it runs. A worker's module serves functions; the caller connects to the worker and calls them, with types,
 * events and cancellation. The same in Node (worker_threads) and in browsers.
 *
 *     // job.worker.ts
 *
 *     const functions = { fit: async (job: Job, { signal, emit }: WorkerContext) => { ... } }
 *
 *     export type Functions = typeof functions
 *
 *     serve(functions)
 *
 *     // the caller
 *
 *     const host = connect<Functions>(new Worker(new URL('./job.worker.js', import.meta.url), { type: 'module' }))
 *
 *     const result = await host.call('fit', job, { signal, onEvent: show })
 *
 * Values in arguments are copied; those in results and events are moved: the worker loses them.
 */
import { openSession } from '#sessions'
import { mapTree } from '../tensor/tree.js'
import { type Value, value } from '../tensor/value.js'
import { EngineError, type OpenSession, type Session, type SessionOptions } from './session.js'
import { WeftError } from '../errors.js'

/** Means of a served function to speak with its caller. */
export interface WorkerContext {
  /** Aborted when the caller's signal is: look at it between runs, after `turn`. */
  readonly signal: AbortSignal
  /** Sends an event to the caller. */
  emit(event: unknown): void
  /**
   * Lets messages in: a loop of runs alone may keep the abort from ever being seen. Throws once the signal is
   * aborted.
   */
  turn(): Promise<void>
}

/** Functions that a worker serves, by name. */
export type WorkerFunctions = Readonly<Record<string, (argument: never, context: WorkerContext) => unknown>>

/** Options of a call. */
export interface WorkerCallOptions {
  /** Signal whose abort asks the function to stop, and ends the worker if it has not within `grace` milliseconds. */
  readonly signal?: AbortSignal
  /** Milliseconds that the function has to stop once asked. Default 2000. */
  readonly grace?: number
  /** Listener of the events that the function emits. */
  readonly onEvent?: (event: never) => void
}

/** A worker that serves functions, as its caller sees it. */
export interface WorkerHost<F extends WorkerFunctions> {
  /**
   * Result of the function. Rejects with its error, with the signal's reason, or with EngineError when the worker
   * ends.
   */
  call<K extends keyof F & string>(
    name: K,
    argument: Parameters<F[K]>[0],
    options?: WorkerCallOptions,
  ): Promise<Awaited<ReturnType<F[K]>>>
  /** Ends the worker; calls under way reject. */
  close(): Promise<void>
}

/** A Worker of either platform, or the parent as its worker sees it. */
interface Port {
  postMessage(message: unknown, transfer: ArrayBuffer[]): void
  on?(type: never, listener: never): unknown
  addEventListener?(type: never, listener: never): unknown
}
interface WorkerLike extends Port {
  terminate(): unknown
  ref?(): void
  unref?(): void
}

interface Failure {
  readonly code?: string
  readonly message: string
  readonly exitCode?: number
}
type Request = { id: number; kind: 'call'; name: string; argument: unknown } | { id: number; kind: 'abort' }
type Reply =
  { id: number; kind: 'result' | 'event'; body: unknown } | { id: number; kind: 'error'; failure: Failure }

interface WireValue {
  readonly wire: 'value'
  readonly value: Pick<Value, 'dtype' | 'shape' | 'data'>
}

const isValue = (x: unknown): x is Value =>
  typeof x === 'object' && x !== null && 'dtype' in x && 'shape' in x && 'data' in x

/** A tree as messages carry it, and the buffers of its values. */
const pack = (tree: unknown): { body: unknown; buffers: ArrayBuffer[] } => {
  const buffers = new Set<ArrayBuffer>()
  const body = mapTree(tree, (leaf: unknown) => {
    if (!isValue(leaf)) return leaf
    const { dtype, shape, data } = leaf
    if (data.byteLength === data.buffer.byteLength) buffers.add(data.buffer as ArrayBuffer)
    return { wire: 'value', value: { dtype, shape, data } } satisfies WireValue
  })
  return { body, buffers: [...buffers] }
}

const unpack = (body: unknown): unknown => {
  if (typeof body !== 'object' || body === null) return body
  if ((body as WireValue).wire === 'value') {
    const { data, shape, dtype } = (body as WireValue).value
    return value(data, shape, dtype)
  }
  if (Array.isArray(body)) return body.map(unpack)
  if (Object.getPrototypeOf(body) !== Object.prototype) return body
  return Object.fromEntries(Object.entries(body).map(([k, v]) => [k, unpack(v)]))
}

const listen = <T>(port: Port, type: string, listener: (data: T) => void): void => {
  if (port.on) return void port.on(type as never, listener as never)
  const unwrapped = (event: { data: T }): void => listener('data' in event ? event.data : event)
  port.addEventListener?.(type as never, unwrapped as never)
}

const failureOf = (error: unknown): Failure => {
  const { code, message, exitCode } = error as Partial<WeftError>
  return error instanceof WeftError
    ? { code, message: message!, exitCode }
    : { message: message ?? String(error) }
}

const errorOf = ({ code, message, exitCode }: Failure): Error =>
  code ? Object.assign(new WeftError(code, message), { exitCode }) : new Error(message)

/** The caller, as a worker sees it. */
const parent = (): Port => {
  if (typeof process === 'undefined' || !process.versions?.node) return globalThis as unknown as Port
  const { parentPort } = process.getBuiltinModule('node:worker_threads')
  if (!parentPort)
    throw new EngineError('serve is called by the module of a worker, and this is the main thread')
  return parentPort as unknown as Port
}

/** Answers calls to `functions`; a worker's module ends with it. Throws EngineError in the main thread. */
export const serve = (functions: WorkerFunctions): void => {
  const port = parent()
  const running = new Map<number, AbortController>()
  const answer = async (id: number, name: string, argument: unknown): Promise<void> => {
    const controller = new AbortController()
    running.set(id, controller)
    const { signal } = controller
    const send = (kind: 'result' | 'event', tree: unknown): void => {
      const { body, buffers } = pack(tree)
      port.postMessage({ id, kind, body }, buffers)
    }
    const turn = async (): Promise<void> => {
      await new Promise((resolve) => setTimeout(resolve))
      signal.throwIfAborted()
    }
    try {
      if (!Object.hasOwn(functions, name))
        throw new WeftError('UnknownFunction', `the worker serves no '${name}'`)
      send(
        'result',
        await functions[name](argument as never, { signal, emit: (event) => send('event', event), turn }),
      )
    } catch (error) {
      port.postMessage({ id, kind: 'error', failure: failureOf(error) } satisfies Reply, [])
    } finally {
      running.delete(id)
    }
  }
  listen<Request>(port, 'message', (request) => {
    if (request.kind === 'abort') running.get(request.id)?.abort()
    else void answer(request.id, request.name, unpack(request.argument))
  })
}

interface Pending {
  readonly resolve: (result: unknown) => void
  readonly reject: (error: unknown) => void
  readonly onEvent?: (event: never) => void
}

/** Connects to a worker whose module calls `serve`. The worker keeps Node alive only while a call is under way. Calls
 * throw EngineError once the worker has ended. */
export const connect = <F extends WorkerFunctions>(worker: WorkerLike): WorkerHost<F> => {
  const pending = new Map<number, Pending>()
  let next = 0
  let ended: EngineError | undefined
  const end = (message: string): void => {
    ended ??= new EngineError(message)
    for (const { reject } of pending.values()) reject(ended)
    pending.clear()
  }
  listen<Reply>(worker, 'message', (reply) => {
    const call = pending.get(reply.id)
    if (!call) return
    if (reply.kind === 'event') return call.onEvent?.(unpack(reply.body) as never)
    pending.delete(reply.id)
    if (pending.size === 0) worker.unref?.()
    if (reply.kind === 'error') call.reject(errorOf(reply.failure))
    else call.resolve(unpack(reply.body))
  })
  listen<Error>(worker, 'error', (error) => end(`the worker failed: ${error.message}`))
  listen<number>(worker, 'exit', () => end('the worker has ended'))
  worker.unref?.()

  const stop = async (message: string): Promise<void> => {
    end(message)
    await worker.terminate()
  }
  return {
    async call(name, argument, { signal, grace = 2000, onEvent } = {}) {
      signal?.throwIfAborted()
      if (ended) throw ended
      const id = next++
      worker.ref?.()
      let timer: ReturnType<typeof setTimeout> | undefined
      const abort = (): void => {
        worker.postMessage({ id, kind: 'abort' } satisfies Request, [])
        timer = setTimeout(() => void stop('the worker was ended: it did not stop when asked to'), grace)
      }
      try {
        const result = await new Promise((resolve, reject) => {
          pending.set(id, { resolve, reject, onEvent })
          signal?.addEventListener('abort', abort, { once: true })
          worker.postMessage({ id, kind: 'call', name, argument: pack(argument).body } satisfies Request, [])
        })
        return result as never
      } catch (error) {
        signal?.throwIfAborted()
        throw error
      } finally {
        clearTimeout(timer)
        signal?.removeEventListener('abort', abort)
      }
    },
    close: () => stop('the worker was closed'),
  }
}

type Opened = Omit<SessionOptions, 'memory'> & { model: Uint8Array; memory: Readonly<Record<string, Value>> }

/** Functions that a worker serves so that `workerSessions` can open sessions in it: `serve(sessionFunctions())`. */
export const sessionFunctions = (): {
  open(argument: Opened): Promise<number>
  run(argument: {
    session: number
    feeds: Readonly<Record<string, Value>>
    outputs: readonly string[]
  }): Promise<Value[]>
  release(argument: number): Promise<void>
} => {
  const sessions = new Map<number, Session>()
  let next = 0
  return {
    open: async ({ model, memory, ...options }) => {
      const session = await openSession(model, { ...options, memory: new Map(Object.entries(memory)) })
      sessions.set(next, session)
      return next++
    },
    run: async ({ session, feeds, outputs }) => {
      const results = await sessions.get(session)!.run(feeds, outputs)
      return Promise.all(results.map(async (v) => value(await v.read(), v.shape, v.dtype)))
    },
    release: async (session) => void sessions.delete(session),
  }
}
/** Functions of a worker that opens sessions. */
export type SessionFunctions = ReturnType<typeof sessionFunctions>

/**
 * Opens the sessions of `compile` in a worker that serves `sessionFunctions()`, so that a program's runs leave this
 * thread free: `compile(f, inputs, { openSession: workerSessions(host) })`.
 */
export const workerSessions = (host: WorkerHost<SessionFunctions>): OpenSession => {
  const released = new FinalizationRegistry<number>(
    (id) => void host.call('release', id).catch(() => undefined),
  )
  return async (model, { memory, graph: _graph, prepare, ...options }) => {
    await prepare?.()
    const id = await host.call('open', { model, memory: Object.fromEntries(memory), ...options })
    const session: Session = {
      run: (feeds, outputs) => host.call('run', { session: id, feeds, outputs }),
    }
    released.register(session, id)
    return session
  }
}
