/**
 * @file Asking a server politely: not too often, not for what has not changed, and not for ever. What a server said of
 * an answer's version (ETag, Last-Modified) is kept, and sent with the next question.
 */
import { mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { writeFileAtomic } from '../../checkpoint/index.js'
import { RemoteError } from '../../errors.js'

interface Version {
  readonly etag?: string
  readonly modified?: string
}

/** How a client asks. */
export interface ClientOptions {
  /** The file that remembers versions. */
  readonly memory: string
  /** Milliseconds between two questions to one host. */
  readonly pause: number
  readonly signal?: AbortSignal
}

const timeout = 30_000
const largest = 32 * 2 ** 20
const attempts = 3
const longestWait = 60

/** A client that remembers. */
export class Client {
  private versions?: Record<string, Version>
  private readonly asked = new Map<string, number>()

  constructor(private readonly options: ClientOptions) {}

  /**
   * The text at `url`; undefined when it is what it was (304). `keep` makes the answer's version remembered: call it
   * once the answer has been used, so that a crash in between does not lose it. Throws RemoteError.
   */
  async get(url: string, accept: string): Promise<{ text: string; keep: () => Promise<void> } | undefined> {
    this.versions ??= await readVersions(this.options.memory)
    const known = Object.hasOwn(this.versions, url) ? this.versions[url] : {}
    for (let attempt = 1; ; attempt++) {
      const answer = await this.ask(url, accept, known)
      if (answer.status === 304) return undefined
      if (answer.ok)
        return { text: await bodyOf(answer, url), keep: () => this.remember(url, answer.headers) }
      await answer.body?.cancel()
      const again = answer.status === 429 || answer.status >= 500
      const wait = Number(answer.headers.get('retry-after') ?? 2 ** attempt)
      if (!again || attempt === attempts || !(wait <= longestWait))
        throw new RemoteError('SyncRefused', `${url} answered ${answer.status} ${answer.statusText}`.trim())
      await sleep(Math.max(wait * 1000, this.options.pause), undefined, { signal: this.options.signal })
    }
  }

  private async ask(url: string, accept: string, { etag, modified }: Version): Promise<Response> {
    await this.takeTurn(new URL(url).host)
    const { signal } = this.options
    const headers = {
      accept,
      'user-agent': 'weft-ml',
      ...(etag ? { 'if-none-match': etag } : {}),
      ...(modified ? { 'if-modified-since': modified } : {}),
    }
    const limit = AbortSignal.timeout(timeout)
    const stop = signal ? AbortSignal.any([signal, limit]) : limit
    return fetch(url, { headers, signal: stop }).catch((cause: Error) => {
      signal?.throwIfAborted()
      const why = cause.cause instanceof Error ? cause.cause.message : cause.message
      throw new RemoteError('SyncFailed', `${url} cannot be reached: ${why}`, { cause })
    })
  }

  private async takeTurn(host: string): Promise<void> {
    const last = this.asked.get(host)
    const wait = last === undefined ? 0 : last + this.options.pause - Date.now()
    if (wait > 0) await sleep(wait, undefined, { signal: this.options.signal })
    this.asked.set(host, Date.now())
  }

  private async remember(url: string, headers: Headers): Promise<void> {
    const [etag, modified] = [headers.get('etag') ?? undefined, headers.get('last-modified') ?? undefined]
    if (!etag && !modified) return
    this.versions = { ...this.versions, [url]: { etag, modified } }
    await mkdir(dirname(this.options.memory), { recursive: true })
    await writeFileAtomic(this.options.memory, `${JSON.stringify(this.versions, null, 2)}\n`)
  }
}

/** What is broken or missing is forgotten: the price is one full answer. */
const readVersions = async (memory: string): Promise<Record<string, Version>> => {
  try {
    const known: unknown = JSON.parse(await readFile(memory, 'utf8'))
    return typeof known === 'object' && known !== null ? (known as Record<string, Version>) : {}
  } catch {
    return {}
  }
}

/** The body, read no further than the limit. */
const bodyOf = async (answer: Response, url: string): Promise<string> => {
  const decoder = new TextDecoder()
  let [text, size] = ['', 0]
  try {
    for await (const chunk of answer.body ?? []) {
      size += (chunk as Uint8Array).length
      if (size > largest) throw new RemoteError('SyncRefused', `${url} sent more than ${largest} bytes`)
      text += decoder.decode(chunk as Uint8Array, { stream: true })
    }
  } catch (cause) {
    if (cause instanceof RemoteError) throw cause
    throw new RemoteError('SyncFailed', `${url} broke off: ${(cause as Error).message}`, { cause })
  }
  return text + decoder.decode()
}
