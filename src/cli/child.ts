/** @file `weft` in a process of its own, as a part of a larger piece of work: its result, its progress, its end. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { WeftError } from '../errors.js'
import { weftCommand } from '../lab/self.js'
import type { OnProgress, Progress } from '../progress.js'

/** What a call says on stderr with --json: progress, a line for the log, or why it failed. */
type Event = Progress | { status: 'log'; text: string } | { status: 'error'; code: string; message: string }

export interface ChildOptions {
  readonly signal?: AbortSignal
  readonly onProgress?: OnProgress
  /** WEFT_HOME of the child. */
  readonly home?: string
}

/** `weft ...args --json`: what it printed. Throws WeftError with what it said where it failed; stops with the signal. */
export const weftChild = async (
  args: readonly string[],
  { signal, onProgress, home }: ChildOptions = {},
): Promise<unknown> => {
  signal?.throwIfAborted()
  const child = spawn(process.execPath, [...weftCommand(), ...args, '--json'], {
    env: { ...process.env, ...(home === undefined ? {} : { WEFT_HOME: home }) },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const stop = (): void => void child.kill('SIGTERM')
  signal?.addEventListener('abort', stop, { once: true })
  let [out, failure] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
  createInterface({ input: child.stderr }).on('line', (line) => {
    const event = eventIn(line)
    if (event?.status === 'error') failure = event.message
    else if (event && event.status !== 'log') onProgress?.(event)
  })
  const code = await new Promise<number | null>((done, fail) => {
    child.once('error', fail)
    child.once('close', done)
  }).finally(() => signal?.removeEventListener('abort', stop))
  signal?.throwIfAborted()
  if (code === 0) return JSON.parse(out)
  throw new WeftError('ChildFailed', failure || `weft ${args.join(' ')} ended with code ${code}`)
}

const eventIn = (line: string): Event | undefined => {
  try {
    return JSON.parse(line) as Event
  } catch {
    return undefined
  }
}
