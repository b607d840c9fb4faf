/** @file Beginning, writing and ending a run. */
import { randomUUID } from 'node:crypto'
import { link, mkdir, open, rm, writeFile } from 'node:fs/promises'
import { dirname, isAbsolute, join, normalize, sep } from 'node:path'
import { writeFileAtomic } from '../checkpoint/index.js'
import { UsageError, WeftError } from '../errors.js'
import { MetricsWriter } from './metrics.js'
import { thisProcess } from './process.js'
import { readRun } from './read.js'
import { files } from './run.js'
import type { FinalStatus, Json, Metrics, RunRecord } from './run.js'
import { commitOf, thisMachine, versions } from './surroundings.js'

/** What a run is. */
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
  /** With `folder`: continue the run there, appending to its metrics. Without a run there, one is begun. */
  readonly resume?: boolean
}

/** A run that this process writes. */
export interface Run {
  readonly id: string
  readonly folder: string
  /** Appends a row of metrics. What was logged survives the death of the process. Infinite and NaN are left out. */
  log(values: Metrics, at?: { step?: number; series?: string }): void
  /** The path of an artifact inside the folder; its parent folder is made. Throws for a name that leads outside. */
  artifactPath(name: string): Promise<string>
  /** Writes an artifact, complete or not at all, and gives its path. */
  artifact(name: string, content: string | Uint8Array): Promise<string>
  /** Says how the run ended. Later calls of `log` throw. */
  finish(status: FinalStatus, outcome?: { result?: unknown; error?: unknown }): Promise<void>
}

/**
 * Begins a run under `home` (folder `20260131-235959-command-subject`, with a number behind where that is taken), or in
 * `folder`. Any number of processes may begin runs at once: each gets its own. Throws UsageError: RunExists when
 * `folder` holds a run and `resume` is not set, RunInUse when its process still lives.
 */
export const createRun = async (home: string, start: RunStart): Promise<Run> => {
  const folder = start.folder ?? (await freshFolder(home, start))
  if (start.folder !== undefined) await mkdir(folder, { recursive: true })
  const previous = start.resume ? await readRun(folder) : undefined
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
    started: previous?.started ?? new Date().toISOString(),
    status: 'running',
  }
  if (previous) await writeFileAtomic(join(folder, files.record), format(record))
  else await claim(folder, format(record))
  return new WrittenRun(folder, record)
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
  await mkdir(home, { recursive: true })
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

/** Puts the record in place, complete, and only where there is none: a link to an existing name fails. */
const claim = async (folder: string, content: string): Promise<void> => {
  const path = join(folder, files.record)
  const temporary = join(folder, `.${files.record}.${randomUUID()}.tmp`)
  const file = await open(temporary, 'wx')
  try {
    await file.writeFile(content)
    await file.sync()
    await file.close()
    await link(temporary, path).catch((error: NodeJS.ErrnoException) => {
      // Some file systems have no links; there the record is as exclusive, and a crash may cut it short.
      if (!['EPERM', 'ENOSYS', 'ENOTSUP'].includes(error.code ?? '')) throw error
      return writeFile(path, content, { flag: 'wx' })
    })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    throw new UsageError('RunExists', `${folder} already holds a run`, {
      hint: 'Choose another folder, or continue that run with --resume.',
    })
  } finally {
    await file.close().catch(() => undefined)
    await rm(temporary, { force: true })
  }
}

class WrittenRun implements Run {
  private readonly metrics: MetricsWriter
  private open = true

  constructor(
    readonly folder: string,
    private readonly record: RunRecord,
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
}

const describe = (error: unknown): { code: string; message: string } =>
  error instanceof Error
    ? { code: error instanceof WeftError ? error.code : error.name, message: error.message }
    : { code: 'Error', message: String(error) }

/**
 * Begins a run, does the work, and says how it ended: `finished` with what the work gives as its result, `failed` with the
 * error, `cancelled` when `signal` was aborted. The error is thrown on.
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
    await run.finish(signal?.aborted ? 'cancelled' : 'failed', { error })
    throw error
  }
}
