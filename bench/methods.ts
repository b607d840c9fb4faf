/**
 * @file Every method of adapt and merge once on a model of 135 million random parameters: adapters make themselves, take
 * three steps of 1 x 128 tokens and are saved; merges merge. One process a method; what fails or hangs is said, and the
 * rest goes on. WEFT_BENCH_METHODS=name,... tries some alone.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { methods as adapters } from '../src/adapt/index.js'
import { table } from '../src/cli/table.js'
import { methods, procedures } from '../src/merge/index.js'
import { row } from './row.js'
import type { Row } from './row.js'

const script = fileURLToPath(new URL('_methods.ts', import.meta.url))
/** Milliseconds after which a method hangs. */
const limit = 900_000

/** Seconds of each part of a trial, and bytes. */
type Trial = Partial<Record<'make' | 'first' | 'step' | 'save', number>> & {
  readonly peak: number
  readonly bytes?: number
}

const child = (...args: readonly string[]): Trial | string => {
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', 'tsx', '--max-old-space-size=16384', script, ...args],
    { encoding: 'utf8', timeout: limit, maxBuffer: 2 ** 28 },
  )
  if (status === 0) return JSON.parse(stdout.trim().split('\n').at(-1)!) as Trial
  const line = stderr.split('\n').find((text) => /Error|:/.test(text) && !/Warning/.test(text))
  return signal ? `stopped (${signal})` : (line ?? `ended with ${status}`)
}

const seconds = (time?: number): string => (time === undefined ? '' : time.toFixed(1))

/** Each method with the task that tries it. */
const all: readonly (readonly [task: string, name: string])[] = [
  ...adapters.map(({ paper }) => ['adapt', paper.id] as const),
  ...methods.map(({ name }) => ['recipe', name] as const),
  ...procedures.map(({ name }) => ['procedure', name] as const),
]

export const bench = (): Promise<Row[]> => {
  const only = process.env.WEFT_BENCH_METHODS?.split(',')
  const folder = mkdtempSync(join(tmpdir(), 'weft-methods-'))
  const rows: Row[] = []
  const lines: string[][] = []
  try {
    const written = child(folder)
    if (typeof written === 'string') throw new Error(written)
    const weights = written.bytes! / 1e6
    for (const [task, name] of all) {
      if (only && !only.includes(name)) continue
      const trial = child(folder, task, name)
      rmSync(join(folder, 'out'), { recursive: true, force: true })
      const failed = typeof trial === 'string'
      const cells = failed
        ? ['', '', '', '', '', trial]
        : [
            ...[trial.make, trial.first, trial.step, trial.save].map(seconds),
            (trial.peak / 1e6).toFixed(),
            '',
          ]
      lines.push([task, name, ...cells])
      console.log([task, name, ...cells].join('\t'))
      if (!failed) rows.push(row(`${name}: peak`, trial.peak / 1e6, "the model's weights", weights, 'MB'))
      else process.exitCode = 1
    }
    console.log(table(['task', 'method', 'make s', 'first s', 'step s', 'save s', 'peak MB', ''], lines))
    return Promise.resolve(rows)
  } finally {
    rmSync(folder, { recursive: true })
  }
}
