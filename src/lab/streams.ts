/**
 * @file Server-Sent Events. A stream pulls what it tells: it sends the next event when the client has taken the last,
 * so a slow reader costs no memory.
 */
import { HttpError } from './errors.js'

/** Sends one event; resolves when there is room for the next. */
export type Send = (event: string, data: unknown, id?: string | number) => Promise<void>

/** Something to wait for: `wake` ends the wait that is going on, or the next one. */
export class Bell {
  private rung = false
  private ring = (): void => undefined

  wake(): void {
    this.rung = true
    this.ring()
  }

  /** Until `wake`, `milliseconds`, or the abort of `signal`. */
  async wait(signal: AbortSignal, milliseconds = 60_000): Promise<void> {
    if (!this.rung && !signal.aborted)
      await new Promise<void>((done) => {
        const end = (): void => {
          clearTimeout(timer)
          signal.removeEventListener('abort', end)
          done()
        }
        const timer = setTimeout(end, milliseconds)
        signal.addEventListener('abort', end)
        this.ring = end
      })
    this.rung = false
  }
}

const heartbeat = 15_000
const frame = (event: string, data: unknown, id?: string | number): string =>
  `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`

/** The open streams of the lab. */
export class Streams {
  private readonly open = new Set<AbortController>()

  constructor(private readonly limit: number = 512) {}

  /**
   * Answers `request` with what `work` sends, until it returns, the client leaves, or the lab closes. Throws HttpError
   * 503 when too many streams are open.
   */
  respond(request: Request, work: (send: Send, signal: AbortSignal) => Promise<void>): Response {
    if (this.open.size >= this.limit)
      throw new HttpError(503, 'TooManyStreams', `${this.limit} streams are open; close one first`)
    const stop = new AbortController()
    this.open.add(stop)
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
    const writer = writable.getWriter()
    const encoder = new TextEncoder()
    // A write that waits for a client which has left fails, and so ends the work.
    stop.signal.addEventListener('abort', () => void writer.abort().catch(() => undefined))
    writer.closed.catch(() => stop.abort())
    request.signal.addEventListener('abort', () => stop.abort(), { once: true })
    const beat = setInterval(
      () => void writer.write(encoder.encode(':\n\n')).catch(() => stop.abort()),
      heartbeat,
    )
    beat.unref()
    const send: Send = async (event, data, id) => {
      stop.signal.throwIfAborted()
      await writer.ready
      await writer.write(encoder.encode(frame(event, data, id)))
    }
    void work(send, stop.signal)
      .catch(() => undefined)
      .finally(() => {
        clearInterval(beat)
        this.open.delete(stop)
        return writer.close().catch(() => undefined)
      })
    return new Response(readable, {
      headers: {
        'content-type': 'text/event-stream',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      },
    })
  }

  /** Ends every stream. */
  close(): void {
    for (const stop of this.open) stop.abort()
  }
}
