/**
 * @file Draws progress on stderr: a bar on a terminal, a plain line every few seconds elsewhere, JSON lines for
 * programs. Draws are limited in rate, so a library may report every step.
 */
import type { OnProgress, Progress } from '../progress.js'
import type { Environment, Output } from './verb.js'
import { maxOf } from '../tensor/numbers.js'

/** How to draw. `now` is a clock in milliseconds, given by tests. */
export interface ProgressOptions {
  json?: boolean
  quiet?: boolean
  env?: Environment
  now?: () => number
}

/** A display of progress. `clear` removes the bar, so that other text can be written. */
export interface ProgressDisplay {
  report: OnProgress
  clear(): void
}

const barInterval = 100
const lineInterval = 5000

/** The display that fits `output`. */
export const progressDisplay = (output: Output, options: ProgressOptions = {}): ProgressDisplay => {
  if (options.json)
    return { report: (event) => void output.write(`${JSON.stringify(event)}\n`), clear: () => {} }
  if (options.quiet) return { report: () => {}, clear: () => {} }
  const env = options.env ?? {}
  const live = output.isTTY === true && !env.CI && env.TERM !== 'dumb'
  return live ? bar(output, options.now, colored(output, env)) : lines(output, options.now)
}

/** Whether `output` takes colors: NO_COLOR forbids them, FORCE_COLOR demands them, else a terminal has them. */
export const colored = (output: Output, env: Environment): boolean => {
  if (env.NO_COLOR) return false
  if (env.FORCE_COLOR !== undefined && env.FORCE_COLOR !== '0') return true
  return output.isTTY === true && env.TERM !== 'dumb' && env.FORCE_COLOR !== '0'
}

/** When a piece of work was first seen, and how much was done then: a resumed one does not start at zero. */
interface Start {
  at: number
  done: number
}

const starts = (now: () => number): ((event: Progress) => { rate?: number }) => {
  const known = new Map<string, Start>()
  return ({ name = '', done = 0, status }) => {
    const at = now()
    const start = known.get(name)
    if (!start || status === 'initiate' || done < start.done) known.set(name, { at, done })
    const first = known.get(name)!
    return at > first.at && done > first.done ? { rate: ((done - first.done) * 1000) / (at - first.at) } : {}
  }
}

const bar = (output: Output, now: () => number = Date.now, color = false): ProgressDisplay => {
  const rateOf = starts(now)
  let drawn = -Infinity
  let visible = false
  const clear = (): void => {
    if (visible) output.write('\r\x1b[K')
    visible = false
  }
  const report = (event: Progress): void => {
    const { rate } = rateOf(event)
    const final = event.status === 'done' || event.status === 'ready'
    if (!final && now() - drawn < barInterval) return
    drawn = now()
    output.write(`\r\x1b[K${renderBar(event, rate, output.columns ?? 80, color)}${final ? '\n' : ''}`)
    visible = !final
  }
  return { report, clear }
}

const lines = (output: Output, now: () => number = Date.now): ProgressDisplay => {
  const rateOf = starts(now)
  const written = new Map<string, number>()
  const report = (event: Progress): void => {
    const { rate } = rateOf(event)
    const name = event.name ?? ''
    const final = event.status === 'done' || event.status === 'ready'
    if (!final && event.status !== 'initiate' && now() - (written.get(name) ?? -Infinity) < lineInterval)
      return
    written.set(name, now())
    const pieces = details(event, rate).map(({ text }) => text)
    output.write(`${[name, ...pieces].filter(Boolean).join('  ')}\n`)
  }
  return { report, clear: () => {} }
}

/** One line of at most `columns - 1` characters: name, bar, amounts, metrics, rate, time left. */
export const renderBar = (
  event: Progress,
  rate: number | undefined,
  columns: number,
  color: boolean,
): string => {
  const room = Math.max(columns - 1, 10)
  const name = event.name ?? ''
  const pieces = fitting(details(event, rate), room - name.length - 2)
  const barWidth = Math.min(24, room - name.length - pieces.join('  ').length - 6)
  const drawable = event.total !== undefined && event.total > 0 && barWidth >= 6
  const filled = drawable
    ? Math.round((barWidth * Math.min(event.done ?? 0, event.total!)) / event.total!)
    : 0
  const shape = drawable ? `[${'#'.repeat(filled)}${'-'.repeat(barWidth - filled)}]` : ''
  const text = [name, shape, ...pieces].filter(Boolean).join('  ').slice(0, room)
  return color && shape ? text.replace(/#+/, (run) => `\x1b[32m${run}\x1b[39m`) : text
}

/** A part of a line; where room is short, those of the highest `spare` go first. */
interface Piece {
  text: string
  spare: number
}

/** From this `spare` on, a piece makes room for the bar itself. */
const dispensable = 4
const leastBar = 10

/** The pieces that fit into `room` characters. */
const fitting = (pieces: Piece[], room: number): string[] => {
  let kept = pieces
  const width = (): number => kept.reduce((sum, { text }) => sum + text.length + 2, -2)
  for (;;) {
    const most = maxOf(kept.map(({ spare }) => spare))
    if (kept.length <= 1 || width() <= room - (most >= dispensable ? leastBar : 0)) break
    kept = kept.filter(({ spare }) => spare < most)
  }
  return kept.map(({ text }) => text)
}

const details = (event: Progress, rate?: number): Piece[] => {
  const { done, total, unit, metrics = {}, status } = event
  const ratio = done !== undefined && total ? `${Math.floor((100 * done) / total)}%` : ''
  const amount =
    done === undefined
      ? ''
      : total === undefined
        ? quantity(done, unit)
        : `${quantity(done)}/${quantity(total)}`
  const counted =
    unit === 'bytes' && done !== undefined ? bytesOf(done, total) : [amount, total === undefined ? '' : unit]
  const speed = rate && unit ? (unit === 'bytes' ? `${formatBytes(rate)}/s` : `${short(rate)} ${unit}/s`) : ''
  const left =
    rate && total !== undefined && done !== undefined && status !== 'done'
      ? `ETA ${formatTime((total - done) / rate)}`
      : ''
  // The first metric, a loss as a rule, is what is watched.
  const values = Object.entries(metrics).map((entry, i) => ({ text: metric(entry), spare: i ? 4 + i : 2 }))
  return [
    { text: ratio, spare: 0 },
    { text: counted.filter(Boolean).join(' '), spare: 3 },
    ...values,
    { text: speed, spare: 100 },
    { text: left, spare: 1 },
    { text: status === 'done' ? 'done' : '', spare: 1 },
  ].filter(({ text }) => text !== '')
}

const bytesOf = (done: number, total?: number): string[] => [
  total === undefined ? formatBytes(done) : `${formatBytes(done)}/${formatBytes(total)}`,
]

const quantity = (n: number, unit?: string): string => (unit ? `${n} ${unit}` : String(n))

// A rate reads better after its number, a loss before it.
const metric = ([name, value]: [string, number]): string =>
  name.includes('/') ? `${short(value)} ${name}` : `${name} ${short(value)}`

/** Four significant digits: 3.142, 0.0001, 12.3k, 4.5M. */
export const short = (n: number): string => {
  const size = Math.abs(n)
  if (size >= 1e9) return `${(n / 1e9).toFixed(1)}G`
  if (size >= 1e6) return `${(n / 1e6).toFixed(1)}M`
  if (size >= 1e4) return `${(n / 1e3).toFixed(1)}k`
  return String(Number(n.toPrecision(4)))
}

/** 1.5 GB, 312 MB, 17 B: decimal units, as disks and hubs count. */
export const formatBytes = (n: number): string => {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = n < 1 ? 0 : Math.min(Math.floor(Math.log10(n) / 3), units.length - 1)
  const scaled = n / 1000 ** power
  return `${scaled < 10 && power > 0 ? scaled.toFixed(1) : Math.round(scaled)} ${units[power]}`
}

/** 7s, 3m 20s, 2h 05m. */
export const formatTime = (seconds: number): string => {
  const s = Math.max(0, Math.round(seconds))
  if (s < 60) return `${s}s`
  if (s < 3600) return `${Math.floor(s / 60)}m ${String(s % 60).padStart(2, '0')}s`
  return `${Math.floor(s / 3600)}h ${String(Math.floor((s % 3600) / 60)).padStart(2, '0')}m`
}
