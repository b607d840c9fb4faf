/** @file Requests to a model hub: redirects, access, patience with passing failures, downloads that resume. */
import { open, stat, truncate } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { RemoteError } from '../errors.js'
import { decodeText, type JsonObject, parseJsonObject } from './json.js'

export interface Hub {
  /** Without a slash at the end. */
  readonly endpoint: string
  readonly token?: string
  readonly signal?: AbortSignal
  readonly retries: number
  /** Milliseconds before the first repetition. */
  readonly backoff: number
  /** Milliseconds of silence after which a connection counts as cut. */
  readonly stall: number
}

/** Cuts a connection on which nothing comes. */
class Watch {
  private readonly controller = new AbortController()
  private timer?: NodeJS.Timeout
  readonly signal: AbortSignal
  constructor(private readonly hub: Hub) {
    this.signal = hub.signal ? AbortSignal.any([hub.signal, this.controller.signal]) : this.controller.signal
  }
  arm(): void {
    this.disarm()
    const silent = new Error(`nothing came for ${this.hub.stall / 1000} s`)
    this.timer = setTimeout(() => this.controller.abort(silent), this.hub.stall)
  }
  disarm(): void {
    clearTimeout(this.timer)
  }
}

/** A file as the hub's listing announces it. */
export interface RemoteFile {
  readonly name: string
  /** In bytes. */
  readonly size?: number
  readonly sha256?: string
  /** The git object of a file outside LFS. */
  readonly gitBlob?: string
}

/** A failure that may be gone at the next try. */
class PassingError extends RemoteError {
  constructor(
    message: string,
    readonly waitMs = 0,
    cause?: unknown,
  ) {
    super('Unreachable', message, { cause })
  }
}

/** An answer whose headers have come. */
export interface Answer {
  readonly response: Response
  readonly watch: Watch
  /** Of the file itself, not of the storage that a redirect led to; without quotes. */
  readonly etag?: string
  /** Of the whole file, in bytes. */
  readonly size?: number
}

const longestWait = 60_000
const mostRedirects = 10
const largestListing = 64 << 20

const refusal = (status: number, url: string): RemoteError => {
  const fail = (code: string, message: string, hint?: string): RemoteError =>
    new RemoteError(code, `${url}: ${message} (HTTP ${status}).`, { hint })
  if (status === 401)
    return fail(
      'Unauthorized',
      'no access, or no such model',
      'Check the id; for a private or gated model set HF_TOKEN to a token that may read it.',
    )
  if (status === 403)
    return fail(
      'Forbidden',
      'access was refused',
      'Accept the terms on the page of the model, and set HF_TOKEN to a token that may read it.',
    )
  if (status === 404)
    return fail('NotFound', 'no such model, revision or file', 'Check the id and the revision.')
  return fail('BadAnswer', 'an answer that was not expected')
}

/** `Retry-After` in milliseconds: seconds, or a date. */
const retryAfter = (response: Response): number => {
  const text = response.headers.get('retry-after') ?? ''
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now()
  return Number.isFinite(wait) ? Math.max(0, wait) : 0
}

const count = (text: string | null | undefined): number | undefined =>
  text && /^\d+$/.test(text) ? Number(text) : undefined

/** As a file name: quotes and the mark of weak tags removed; what is no plain word is no name. */
const cleanEtag = (text: string | null | undefined): string | undefined => {
  const tag = text?.replace(/^W\//, '').replaceAll('"', '')
  return tag && /^[\w-]+$/.test(tag) ? tag : undefined
}

const wholeSize = (response: Response): number | undefined =>
  response.status === 206
    ? count(/\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1])
    : response.headers.has('content-encoding')
      ? undefined
      : count(response.headers.get('content-length'))

/** Gives up on an answer whose body is not wanted; that its connection breaks is no matter then. */
export const cancel = async ({ response }: Pick<Answer, 'response'>): Promise<void> => {
  await response.body?.cancel().catch(() => undefined)
}

/** One GET, following redirects by hand: the token stays with the endpoint, the file's own tag is on the first hop. */
const get = async (hub: Hub, url: string, headers: Record<string, string> = {}): Promise<Answer> => {
  const origin = new URL(hub.endpoint).origin
  let at = new URL(url)
  let etag: string | undefined
  let size: number | undefined
  const watch = new Watch(hub)
  for (let hop = 0; hop < mostRedirects; hop++) {
    const authorization: Record<string, string> =
      hub.token && at.origin === origin ? { authorization: `Bearer ${hub.token}` } : {}
    watch.arm()
    const response = await fetch(at, {
      redirect: 'manual',
      signal: watch.signal,
      headers: { 'accept-encoding': 'identity', ...headers, ...authorization },
    })
      .catch((cause: unknown) => {
        hub.signal?.throwIfAborted()
        const { cause: reason, message } = cause as Error
        const why = reason instanceof Error ? reason.message : message
        throw new PassingError(`${at.origin}: no connection: ${why}.`, 0, cause)
      })
      .finally(() => watch.disarm())
    etag ??= cleanEtag(response.headers.get('x-linked-etag'))
    size ??= count(response.headers.get('x-linked-size'))
    const location = response.headers.get('location')
    if (response.status < 300 || response.status >= 400 || !location)
      return {
        response,
        watch,
        etag: etag ?? cleanEtag(response.headers.get('etag')),
        size: size ?? wholeSize(response),
      }
    await cancel({ response })
    if (!URL.canParse(location, at))
      throw new RemoteError(
        'BadAnswer',
        `${url}: a redirect to ${JSON.stringify(location)}, which is no address.`,
      )
    at = new URL(location, at)
  }
  throw new RemoteError('TooManyRedirects', `${url}: more than ${mostRedirects} redirects.`)
}

/** Throws for everything but 200, 206 and 416; what may pass is a PassingError. */
const getChecked = async (hub: Hub, url: string, headers?: Record<string, string>): Promise<Answer> => {
  const answer = await get(hub, url, headers)
  const { status } = answer.response
  if (status === 200 || status === 206 || status === 416) return answer
  await cancel(answer)
  if (status === 408 || status === 429 || status >= 500)
    throw new PassingError(`${url}: HTTP ${status}, after every repetition.`, retryAfter(answer.response))
  throw refusal(status, url)
}

/** Repeats `attempt` after passing failures, with growing pauses; one that got further counts as a new start. */
const patiently = async <T>(hub: Hub, attempt: (progressed: () => void) => Promise<T>): Promise<T> => {
  for (let failures = 0; ;) {
    try {
      return await attempt(() => (failures = 0))
    } catch (error) {
      if (!(error instanceof PassingError) || failures >= hub.retries) throw error
      const wait = Math.max(error.waitMs, hub.backoff * 2 ** failures++)
      await sleep(Math.min(longestWait, wait), undefined, { signal: hub.signal })
    }
  }
}

const cutOff = (hub: Hub, url: string, cause: unknown): PassingError => {
  hub.signal?.throwIfAborted()
  return new PassingError(`${url}: the connection was cut: ${(cause as Error).message}.`, 0, cause)
}

/** The body in pieces. A connection that breaks or falls silent is a PassingError. */
async function* pieces(hub: Hub, url: string, { response, watch }: Answer): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader()
  try {
    while (reader) {
      watch.arm()
      const { done, value } = await reader
        .read()
        .catch((cause: unknown) => {
          throw cutOff(hub, url, cause)
        })
        .finally(() => watch.disarm())
      if (done) return
      yield value
    }
  } finally {
    await reader?.cancel().catch(() => undefined)
  }
}

/** The JSON object at `url`. */
export const hubJson = (hub: Hub, url: string): Promise<JsonObject> =>
  patiently(hub, async () => {
    const parts: Uint8Array[] = []
    let size = 0
    for await (const part of pieces(hub, url, await getChecked(hub, url))) {
      parts.push(part)
      size += part.length
      if (size > largestListing)
        throw new RemoteError('BadAnswer', `${url}: more than ${largestListing} bytes of JSON.`)
    }
    try {
      return parseJsonObject(decodeText(Buffer.concat(parts), url), url)
    } catch (cause) {
      throw new RemoteError('BadAnswer', (cause as Error).message, { cause })
    }
  })

/** The answer to a download: its tag and size are known, its body waits. */
export const startDownload = (hub: Hub, url: string): Promise<Answer> =>
  patiently(hub, () => getChecked(hub, url))

const sizeOfFile = async (path: string): Promise<number> =>
  (await stat(path).catch(() => undefined))?.size ?? 0

/** Where the body of `response` belongs in the file of which `have` bytes are here. */
const positionOf = (response: Response, have: number, url: string): number => {
  if (response.status !== 206) return 0
  const from = count(/^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1])
  if (from === have) return have
  throw new RemoteError('BadAnswer', `${url}: asked for bytes from ${have} on, the answer begins at ${from}.`)
}

/**
 * Fills `partial` with the file at `url`: what it holds already is kept where the server can go on from there.
 * `start`: the answer that has begun. `size`: of the whole file, where known. Returns when all bytes are on disk.
 */
export const download = (
  hub: Hub,
  url: string,
  start: Answer,
  partial: string,
  size: number | undefined,
  report: (loaded: number, total: number) => void,
): Promise<void> => {
  let begun: Answer | undefined = start
  let furthest = 0
  return patiently(hub, async (progressed) => {
    const first = begun
    begun = undefined
    const have = await sizeOfFile(partial)
    if (first && have > 0) await cancel(first)
    if (have > 0 && have === size) return
    const resume = have > 0 && (size === undefined || have < size)
    const answer =
      first && have === 0 ? first : await getChecked(hub, url, resume ? { range: `bytes=${have}-` } : {})
    if (answer.response.status === 416) {
      await truncate(partial)
      throw cutOff(hub, url, new Error('the server cannot go on from where the last one stopped'))
    }
    if (answer.etag !== start.etag)
      throw new RemoteError('Changed', `${url}: the file changed on the server meanwhile; pull again.`)
    const position = positionOf(answer.response, have, url)
    const loaded = await append(partial, position, pieces(hub, url, answer), (loaded) => {
      if (size !== undefined && loaded > size)
        throw new RemoteError('Corrupted', `${url}: more than the announced ${size} bytes.`)
      // A server that cannot resume and always cuts at the same byte makes no progress.
      if (loaded > furthest) progressed()
      furthest = Math.max(furthest, loaded)
      report(loaded, size ?? 0)
    })
    if (size !== undefined && loaded < size)
      throw cutOff(hub, url, new Error(`${loaded} of ${size} bytes arrived`))
  })
}

/** Writes `body` from `position` on, cuts the file there, and brings it to the disk. Returns its length. */
const append = async (
  path: string,
  position: number,
  body: AsyncIterable<Uint8Array>,
  report: (loaded: number) => void,
): Promise<number> => {
  const handle = await open(path, 'a')
  let at = position
  try {
    await handle.truncate(position)
    for await (const piece of body) {
      await handle.appendFile(piece)
      at += piece.length
      report(at)
    }
  } finally {
    await handle.sync()
    await handle.close()
  }
  return at
}
