/**
 * @file Hearing what happens in the lab. A browser has six connections for all pages of a host, and a stream of events
 * keeps one for as long as it is heard: so a hidden page hears nothing, and the pages that can be seen share a few streams.
 */

/** By event, what is done with its data. */
export type Handlers<E> = { readonly [K in keyof E]?: (data: E[K]) => void }

/** What a page listens to. */
export interface Listening<E> {
  /** Address of the stream, asked for at each opening. */
  readonly path: () => string
  readonly handlers: Handlers<E>
  /** Called at each opening: what happened before it was not heard. */
  readonly onOpen: () => void
  /** Reads the state again: called now and then while no stream is to be had. */
  readonly poll: () => void
}

/** Streams that the pages of a browser hold at once; the other connections are for requests. */
const streams = 4
/** Milliseconds between two readings of a page without a stream. */
const pause = 3000

/** Hears events while the page can be seen, until the returned function is called. */
export const listen = <E extends object>(listening: Listening<E>): (() => void) => {
  const end = new AbortController()
  void follow(listening, end.signal)
  return () => end.abort()
}

const follow = async <E extends object>(listening: Listening<E>, ended: AbortSignal): Promise<void> => {
  while (!ended.aborted) {
    await untilSeen(ended)
    if (await withStream(() => hear(listening, ended))) continue
    await sleep(pause, ended)
    if (!ended.aborted && !document.hidden) listening.poll()
  }
}

/** Until the page can be seen, or `ended`. */
const untilSeen = (ended: AbortSignal): Promise<void> =>
  new Promise((done) => {
    const seen = new AbortController()
    const check = (): void => {
      if (document.hidden && !ended.aborted) return
      seen.abort()
      done()
    }
    document.addEventListener('visibilitychange', check, { signal: seen.signal })
    ended.addEventListener('abort', check, { signal: seen.signal })
    check()
  })

const sleep = (milliseconds: number, ended: AbortSignal): Promise<void> =>
  new Promise((done) => {
    const timer = setTimeout(done, milliseconds)
    ended.addEventListener('abort', () => (clearTimeout(timer), done()), { once: true })
  })

/** Does `work` with one of the streams that pages share; false where none is free. The browser frees that of a closed page. */
const withStream = async (work: () => Promise<void>): Promise<boolean> => {
  // Pages over plain HTTP from another machine have no locks.
  const { locks } = navigator as Partial<Pick<Navigator, 'locks'>>
  if (!locks) return work().then(() => true)
  for (let number = 0; number < streams; number++) {
    const isDone = await locks.request(`weft-stream-${number}`, { ifAvailable: true }, (lock) =>
      lock ? work().then(() => true) : false,
    )
    if (isDone) return true
  }
  return false
}

/** Hears until the page is hidden, or `ended`; a cut connection is taken up again by the browser. */
const hear = <E extends object>(
  { path, handlers, onOpen }: Listening<E>,
  ended: AbortSignal,
): Promise<void> =>
  new Promise((done) => {
    if (ended.aborted) return done()
    const source = new EventSource(path())
    const over = new AbortController()
    const check = (): void => {
      if (!document.hidden && !ended.aborted) return
      source.close()
      over.abort()
      done()
    }
    source.addEventListener('open', onOpen)
    for (const [name, handle] of Object.entries(handlers))
      source.addEventListener(name, (event) =>
        (handle as (data: unknown) => void)(JSON.parse((event as MessageEvent<string>).data)),
      )
    document.addEventListener('visibilitychange', check, { signal: over.signal })
    ended.addEventListener('abort', check, { signal: over.signal })
  })
