/** @file Beginning, writing and ending a run. */
import { rmSync } from 'node:fs'
import { mkdir, rm, stat } from 'node:fs/promises'
import { dirname, isAbsolute, join, normalize, sep } from 'node:path'
import { writeFileAtomic } from '../checkpoint/atomic.js'
import { exitCodes, UsageError, WeftError } from '../errors.js'
import { readContained } from './contained.js'
import { createExclusive } from './exclusive.js'
import { removeMade } from './folders.js'
import { MetricsWriter } from './metrics.js'
import { thisProcess } from './process.js'
import { loadRun, readRun } from './read.js'
import type { StoredRun } from './read.js'
import { files } from './run.js'
import type { FinalStatus, Json, Metrics, RunRecord } from './run.js'
import { commitOf, thisMachine, versions } from './surroundings.js'

/** Beginning of a run: what it is, and where it is kept. */
export interface RunStart {
  readonly command: string
  /** The method, paper or model; part of the folder's name. */
  readonly subject?: string
  readonly config?: { readonly [key: string]: unknown }
  readonly seed?: number
  /** The arguments as typed; default: those of the process. */
  readonly argv?: readonly string[]
  /** The run's folder itself, instead of a fresh one under `home`. It may exist, but not hold a run already. */
  readonly folder?: string
  /** Whether the run in `folder` is continued, appending to its metrics. Without a run there, one is begun. */
  readonly resume?: boolean
  /** Whether it begins anew where `folder` holds a run, whose record and metrics are given up once this one has logged. */
  readonly replace?: boolean
}

/** A run that this process writes. */
export interface Run {
  readonly id: string
  readonly folder: string
  /** Appends a row of metrics. What was logged survives the death of the process. Infinite and NaN are left out. */
  log(values: Metrics, at?: { step?: number; series?: string }): void
  /** The path of an artifact inside the folder; its parent folder is made. Throws for a name that leads outside. */
  artifactPath(name: string): Promise<string>
  /** Writes an artifact, complete or not at all, and gives its path. content: text, or [bytes]. */
  artifact(name: string, content: string | Uint8Array): Promise<string>
  /** Says how the run ended. Later calls of `log` throw. */
  finish(status: FinalStatus, outcome?: { result?: unknown; error?: unknown }): Promise<void>
  /**
   * Ends a run that was refused: removes what it wrote, and the folder where it made that; a record that was there
   * before stands again. A run that has logged metrics is finished as failed with `error` instead.
   */
  withdraw(error: unknown): Promise<void>
}

/**
 * Begins a run under `home` (folder `20260131-235959-command-subject`, with a number behind where that is taken), or in
 * `folder`. Any number of processes may begin runs at once: each gets its own. Throws UsageError: RunExists when
 * `folder` holds a run and `resume` is not set, RunInUse when its process still lives. Throws FileRefused when the run to
 * resume has a record that cannot be read.
 */
export const createRun = async (home: string, start: RunStart): Promise<Run> => {
  const made = [start.folder === undefined ? await mkdir(home, { recursive: true }) : undefined]
  const folder = start.folder ?? (await freshFolder(home, start))
  made.push(start.folder === undefined ? folder : await mkdir(folder, { recursive: true }))
  const previous = await previousRun(folder, start)
  const taken = start.resume || start.replace
  const before = taken ? await readContained(folder, files.record).catch(() => undefined) : undefined
  if (previous?.status === 'running')
    throw new UsageError(
      'RunInUse',
      `the run in ${folder} is being written by process ${previous.process.pid}`,
    )
  const record: RunRecord = {
    id: lastPart(folder),
    command: start.command,
    ...(start.subject === undefined ? {} : { subject: start.subject }),
    argv: start.argv ?? process.argv.slice(2),
    config: plain(start.config ?? {}) as RunRecord['config'],
    ...(start.seed === undefined ? {} : { seed: start.seed }),
    versions: versions(),
    machine: thisMachine(),
    process: thisProcess(),
    ...(await commitField()),
    started: (start.resume ? previous?.started : undefined) ?? new Date().toISOString(),
    status: 'running',
  }
  if (before !== undefined) await writeFileAtomic(join(folder, files.record), format(record))
  else await claim(folder, format(record))
  const firstMade = made.find((path) => path !== undefined)
  const metrics = await metricsOf(folder)
  return new WrittenRun(folder, record, { made: firstMade, record: before, metrics, resumed: !start.replace })
}

/** The run that is continued or given up. Throws FileRefused for a record that cannot be continued. */
const previousRun = async (folder: string, { resume, replace }: RunStart): Promise<StoredRun | undefined> => {
  if (resume) return loadRun(folder)
  return replace ? readRun(folder) : undefined
}

/** Size in bytes and time of change of the metrics in a run's folder. */
const metricsOf = async (folder: string): Promise<{ size: number; changed: number }> => {
  const info = await stat(join(folder, files.metrics)).catch(() => undefined)
  return { size: info?.size ?? 0, changed: info?.mtimeMs ?? 0 }
}

/** State of the disk before a run began. */
interface Before {
  /** Outermost folder that was made for the run. */
  readonly made?: string
  /** Record of the run that was there. */
  readonly record?: string
  readonly metrics: { readonly size: number; readonly changed: number }
  /** False where metrics that are there belong to a run that is given up. */
  readonly resumed: boolean
}

const commitField = async (): Promise<{ commit?: string }> => {
  const commit = await commitOf()
  return commit === undefined ? {} : { commit }
}

const lastPart = (folder: string): string => normalize(folder).split(sep).filter(Boolean).pop() ?? folder

const format = (record: RunRecord): string => `${JSON.stringify(record, null, 2)}\n`

/** Functions, undefined and the like cannot be said in JSON and are dropped. */
const plain = (value: unknown): Json => JSON.parse(JSON.stringify(value ?? null)) as Json

const stamp = (now: Date): string => now.toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-')

const slug = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '')
    .slice(0, 60)

/** `mkdir` of a name that exists fails, also when two processes try at once: that is the whole lock. */
const freshFolder = async (home: string, { command, subject }: RunStart): Promise<string> => {
  const name = [stamp(new Date()), ...[command, subject ?? ''].map(slug).filter(Boolean)].join('-')
  for (let number = 1; ; number++) {
    const folder = join(home, number === 1 ? name : `${name}-${number}`)
    try {
      await mkdir(folder)
      return folder
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
  }
}

/** Puts the record in place. Throws UsageError RunExists. */
const claim = async (folder: string, content: string): Promise<void> => {
  if (await createExclusive(join(folder, files.record), content)) return
  throw new UsageError('RunExists', `${folder} already holds a run`, {
    hint: 'Choose another folder, or continue that run with --resume.',
  })
}

class WrittenRun implements Run {
  private readonly metrics: MetricsWriter
  private readonly artifacts: string[] = []
  private open = true
  private hasLogged = false

  constructor(
    readonly folder: string,
    private readonly record: RunRecord,
    private readonly before: Before,
  ) {
    this.metrics = new MetricsWriter(folder)
  }

  get id(): string {
    return this.record.id
  }

  log(values: Metrics, at: { step?: number; series?: string } = {}): void {
    if (!this.open) throw new WeftError('RunFinished', `run ${this.id} has ended and takes no more metrics`)
    const taken = ['time', 'series', 'step'].find((name) => name in values)
    if (taken) throw new WeftError('ReservedMetric', `a metric cannot be called '${taken}'`)
    const finite = Object.fromEntries(Object.entries(values).filter(([, value]) => Number.isFinite(value)))
    if (!this.hasLogged && !this.before.resumed) rmSync(join(this.folder, files.metrics), { force: true })
    this.hasLogged = true
    this.metrics.append({ time: new Date().toISOString(), ...at, values: finite })
  }

  async artifactPath(name: string): Promise<string> {
    const inside = normalize(name)
    if (isAbsolute(inside) || inside === '..' || inside.startsWith(`..${sep}`) || inside === '.')
      throw new UsageError(
        'OutsideRun',
        `artifact ${JSON.stringify(name)} would lie outside its run's folder`,
      )
    const path = join(this.folder, inside)
    await mkdir(dirname(path), { recursive: true })
    return path
  }

  async artifact(name: string, content: string | Uint8Array): Promise<string> {
    const path = await this.artifactPath(name)
    if (!(await stat(path).catch(() => undefined))) this.artifacts.push(path)
    await writeFileAtomic(path, content)
    return path
  }

  async finish(status: FinalStatus, outcome: { result?: unknown; error?: unknown } = {}): Promise<void> {
    this.open = false
    this.metrics.close()
    const { result, error } = outcome
    const record: RunRecord = {
      ...this.record,
      ended: new Date().toISOString(),
      status,
      ...(result === undefined ? {} : { result: plain(result) }),
      ...(error === undefined ? {} : { error: describe(error) }),
    }
    await writeFileAtomic(join(this.folder, files.record), format(record))
  }

  async withdraw(error: unknown): Promise<void> {
    const { made, record, metrics: before } = this.before
    const { size, changed } = await metricsOf(this.folder)
    const isLogged = size > 0 && (size !== before.size || changed !== before.changed)
    if (isLogged) return this.finish('failed', { error })
    this.open = false
    this.metrics.close()
    if (made !== undefined) return removeMade(this.folder, made)
    const path = join(this.folder, files.record)
    for (const artifact of this.artifacts) await rm(artifact, { force: true })
    if (size === 0) await rm(join(this.folder, files.metrics), { force: true })
    if (record === undefined) await rm(path, { force: true })
    else await writeFileAtomic(path, record)
  }
}

const describe = (error: unknown): { code: string; message: string } =>
  error instanceof Error
    ? { code: error instanceof WeftError ? error.code : error.name, message: error.message }
    : { code: 'Error', message: String(error) }

/** Exit codes of errors by which work is refused, as against work that fails. */
const refusals: readonly number[] = [exitCodes.usage, exitCodes.checkpoint, exitCodes.memory]

/**
 * Begins a run, does the work, and says how it ended: `finished` with what the work gives as its result, `failed` with the
 * error, `cancelled` when `signal` was aborted. Work that is refused before it has logged anything (UsageError,
 * CheckpointError, MemoryError) leaves nothing. The error is thrown on.
 */
export const recordRun = async <T>(
  home: string,
  start: RunStart,
  work: (run: Run) => Promise<T>,
  { signal, result = (value) => value }: { signal?: AbortSignal; result?: (value: T) => unknown } = {},
): Promise<T> => {
  const run = await createRun(home, start)
  try {
    const value = await work(run)
    await run.finish(signal?.aborted ? 'cancelled' : 'finished', { result: result(value) })
    return value
  } catch (error) {
    if (signal?.aborted) await run.finish('cancelled', { error })
    else if (error instanceof WeftError && refusals.includes(error.exitCode)) await run.withdraw(error)
    else await run.finish('failed', { error })
    throw error
  }
}
