/** @file Asking the lab's server: JSON, and answers that come as events. */
import type { ErrorBody } from '../src/lab/api.js'
import type { Handlers } from './listen.js'

/** An answer that is no success, in the server's words. */
export class RequestError extends Error {
  constructor(
    readonly status: number,
    { message, hint }: ErrorBody['error'],
  ) {
    super(hint ? `${message} ${hint}` : message)
  }
}

const token = (): string => document.querySelector<HTMLMetaElement>('meta[name="weft-token"]')?.content ?? ''

const answer = async <T>(response: Response): Promise<T> => {
  if (response.ok) return (await response.json()) as T
  const body = (await response.json().catch(() => undefined)) as ErrorBody | undefined
  throw new RequestError(
    response.status,
    body?.error ?? { code: 'Failed', message: `The lab answered ${response.status}.` },
  )
}

/** `path` with the members of `query` that say something. */
export const address = (path: string, query: object = {}): string => {
  const given = Object.entries(query).filter(([, v]) => v !== undefined && v !== '' && v !== 0)
  const search = new URLSearchParams(given.map(([k, v]) => [k, String(v)])).toString()
  return search ? `${path}?${search}` : path
}

/** Throws RequestError. */
export const get = async <T>(path: string, query: object = {}, signal?: AbortSignal): Promise<T> =>
  answer(await fetch(address(path, query), { signal }))

const posted = (path: string, body: unknown, signal?: AbortSignal): Promise<Response> =>
  fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-weft-token': token() },
    body: JSON.stringify(body),
    signal,
  })

/** Throws RequestError. */
export const post = async <T>(path: string, body: unknown = {}): Promise<T> =>
  answer(await posted(path, body))

/** Posts `body` and hears the events in the answer. Throws RequestError. */
export const stream = async <E extends object>(
  path: string,
  body: unknown,
  handlers: Handlers<E>,
  signal: AbortSignal,
): Promise<void> => {
  const response = await posted(path, body, signal)
  if (!response.ok || !response.body) return answer(response)
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    const frames = (rest + value).split('\n\n')
    rest = frames.pop() ?? ''
    for (const frame of frames) {
      const name = /^event: (.*)$/m.exec(frame)?.[1] as keyof E | undefined
      const data = /^data: (.*)$/m.exec(frame)?.[1]
      if (name !== undefined && data !== undefined) handlers[name]?.(JSON.parse(data))
    }
  }
}
