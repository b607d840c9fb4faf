/** @file What a job's process prints, read from its file as it grows: progress events, and lines for people. */
import type { FileHandle } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { Progress } from '../../progress.js'
import { openContained } from '../../runs/index.js'
import type { JobProgress } from '../api.js'

/** Lines kept for whoever comes later. */
const linesKept = 200
const chunk = 1 << 16
const longestLine = 4000

const numbers = (values: object | undefined): Record<string, number> =>
  Object.fromEntries(Object.entries(values ?? {}).filter(([, value]) => Number.isFinite(value)))

/** A line of JSON on the standard error of a verb. */
type Printed = Omit<Progress, 'status'> & { status: string; text?: unknown; message?: unknown }

const parse = (line: string): Printed | undefined => {
  try {
    const event = JSON.parse(line) as Printed
    return typeof event.status === 'string' ? event : undefined
  } catch {
    return undefined
  }
}

/** The last lines of a job, its last progress and its last error. */
export class JobLog {
  /** Number of the first line kept. */
  first = 0
  readonly lines: string[] = []
  progress: JobProgress | null = null
  error: string | null = null
  private rest = ''
  private from = 0
  private file: FileHandle | undefined

  constructor(private readonly path: string) {}

  /** Reads what is new. Returns whether there was anything. */
  async read(): Promise<boolean> {
    this.file ??= (await openContained(dirname(this.path), basename(this.path)))?.file
    if (!this.file) return false
    const bytes = new Uint8Array(chunk)
    let any = false
    for (;;) {
      const { bytesRead } = await this.file.read(bytes, 0, chunk, this.from)
      if (bytesRead === 0) return any
      any = true
      this.from += bytesRead
      this.take(Buffer.from(bytes.subarray(0, bytesRead)).toString('latin1'))
    }
  }

  async close(): Promise<void> {
    if (this.rest) this.take('\n')
    await this.file?.close()
    this.file = undefined
  }

  /** latin1 keeps bytes apart until a line is whole: a chunk may end inside a character. */
  private take(text: string): void {
    const lines = (this.rest + text).split('\n')
    this.rest = lines.pop()!.slice(0, chunk)
    for (const line of lines) this.line(Buffer.from(line, 'latin1').toString().trimEnd())
  }

  private line(line: string): void {
    if (line.startsWith('{') && this.event(line)) return
    if (line) this.keep(line)
  }

  private keep(line: string): void {
    this.lines.push(line.slice(0, longestLine))
    if (this.lines.length <= linesKept) return
    this.lines.shift()
    this.first++
  }

  private event(line: string): boolean {
    const event = parse(line)
    if (!event) return false
    if (event.status === 'log') this.keep(String(event.text))
    else if (event.status === 'error') this.keep((this.error = String(event.message)))
    else this.progressed(event)
    return true
  }

  private progressed({ name, done, total, unit, metrics }: Omit<Progress, 'status'>): void {
    const shown = { name: name ?? null, done: done ?? null, total: total ?? null, unit: unit ?? null }
    this.progress = { ...shown, metrics: numbers(metrics) }
  }
}

const words = ({ status, name, done, total, unit, metrics, text, message }: Printed): string => {
  if (status === 'log') return String(text)
  if (status === 'error') return `error: ${String(message)}`
  const amount = done === undefined ? '' : `${done}${total ? ` of ${total}` : ''} ${unit ?? ''}`
  const values = Object.entries(numbers(metrics)).map(
    ([key, value]) => `${key} ${Number(value.toPrecision(6))}`,
  )
  return [name ?? status, amount.trim(), ...values].filter(Boolean).join('  ')
}

/** What a job has printed, for people: events in words, other lines as they are. */
export const readableLog = (printed: string): string =>
  printed
    .split('\n')
    .map((line) => {
      const event = line.startsWith('{') ? parse(line) : undefined
      return event ? words(event) : line
    })
    .join('\n')
