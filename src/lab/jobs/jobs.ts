/** @file Reproductions started from the page: a queue, and so many processes at once. */
import { join } from 'node:path'
import { randomUUID } from 'node:crypto'
import { writeFileAtomic } from '../../checkpoint/index.js'
import { readRun, runFiles, stopProcess } from '../../runs/index.js'
import type { Job, JobRequest, JobStatus } from '../api.js'
import { HttpError, notFound } from '../errors.js'
import { openInside, readPart } from '../files.js'
import type { Hub } from '../hub.js'
import type { Database } from '../index/database.js'
import type { JobRecord } from '../index/events.js'
import type { Journal } from '../index/journal.js'
import { weftCommand } from '../self.js'
import { JobLog, readableLog } from './log.js'
import { JobProcess } from './process.js'

/** What jobs need. */
export interface JobsOptions {
  home: string
  /** Folder of the jobs' output. */
  logs: string
  /** How many run at once. */
  parallel: number
  db: Database
  journal: Journal
  hub: Hub
  /** Brings the index of runs up to date. */
  look(): Promise<void>
  /** The arguments of `node` for a job. */
  command(job: JobRecord): readonly string[]
}

/** A job that has not ended. */
interface Active {
  record: JobRecord
  log: JobLog
  process?: JobProcess
  cancelled?: boolean
}

/** Jobs that may wait. */
const longestQueue = 100
/** Milliseconds between two looks at a job's output. */
const logInterval = 200
/** Bytes of a job's output that are kept with its run: the last ones. */
const logKept = 1 << 22
/** Jobs in a list. */
const listed = 100

const now = (): string => new Date().toISOString()

/** `weft reproduce PAPER`. */
export const reproduceCommand = ({ paper, quick, seeds }: JobRecord): string[] => [
  ...weftCommand(),
  'reproduce',
  paper,
  '--json',
  ...(quick ? ['--quick'] : []),
  ...(seeds === null ? [] : ['--seeds', String(seeds)]),
]

/** The lab's jobs. */
export class Jobs {
  /** In the order in which they were asked for. */
  private readonly active = new Map<string, Active>()
  private readonly jobOfRun = new Map<string, string>()
  private closing = false
  private readonly running = new Set<Promise<void>>()

  constructor(private readonly options: JobsOptions) {}

  get parallel(): number {
    return this.options.parallel
  }

  /** Ends what a killed lab has left behind: its jobs are interrupted, and their processes asked to stop. */
  async start(): Promise<void> {
    const { db, hub, home } = this.options
    for (const row of await db.selectFrom('jobs').selectAll().execute()) {
      for (const run of row.runs) this.jobOfRun.set(run, row.id)
      if (row.status !== 'running' && row.status !== 'queued') continue
      await Promise.all(row.runs.map((run) => stopRun(home, run)))
      await this.record({ ...row, status: 'interrupted', ended: now() })
    }
    hub.listen(({ type, data }) => {
      if (type === 'run') void this.adopt(data.id).catch(() => undefined)
    })
  }

  /** Which job wrote the run. */
  jobOf(run: string): string | null {
    return this.jobOfRun.get(run) ?? null
  }

  /** Puts a reproduction in the queue. Throws HttpError 429 when the queue is full. */
  async create({
    paper,
    quick = false,
    seeds = null,
  }: Omit<JobRequest, 'seeds'> & { seeds?: number | null }): Promise<Job> {
    if (this.active.size >= longestQueue + this.parallel)
      throw new HttpError(429, 'QueueFull', `${longestQueue} jobs are waiting already`)
    const record: JobRecord = {
      id: randomUUID(),
      paper,
      quick,
      seeds,
      status: 'queued',
      created: now(),
      started: null,
      ended: null,
      runs: [],
      error: null,
    }
    this.active.set(record.id, { record, log: new JobLog(this.logFile(record.id)) })
    await this.record(record)
    this.startNext()
    return this.get(record.id)
  }

  private logFile(id: string): string {
    return join(this.options.logs, `${id}.log`)
  }

  private async record(record: JobRecord): Promise<void> {
    await this.options.journal.record({ type: 'job', job: record })
    this.tell(record)
  }

  private tell(record: JobRecord): void {
    this.options.hub.emit({ type: 'job', data: this.shown(record) })
  }

  private startNext(): void {
    const all = [...this.active.values()]
    let free = this.parallel - all.filter(({ record }) => record.status === 'running').length
    for (const job of all) {
      if (free <= 0 || this.closing) return
      if (job.record.status !== 'queued') continue
      free--
      job.record = { ...job.record, status: 'running', started: now() }
      const work = this.run(job).finally(() => {
        this.running.delete(work)
        this.startNext()
      })
      this.running.add(work)
    }
  }

  private async run(job: Active): Promise<void> {
    const { home, command } = this.options
    const { id } = job.record
    try {
      await this.record(job.record)
      job.process = await JobProcess.start(command(job.record), home, this.logFile(id))
      if (job.cancelled) void job.process.stop()
      const { code, signal } = await this.follow(job, job.process)
      await this.adoptAll(job)
      await this.keepLog(job)
      const failed =
        job.log.error ?? job.log.lines.at(-1) ?? (signal ? `ended by ${signal}` : `exit code ${code}`)
      const status: JobStatus = job.cancelled
        ? 'cancelled'
        : this.closing
          ? 'interrupted'
          : code === 0
            ? 'finished'
            : 'failed'
      job.record = { ...job.record, status, ended: now(), error: status === 'failed' ? failed : null }
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      job.record = { ...job.record, status: 'failed', ended: now(), error: message }
    }
    await this.record(job.record).catch(() => undefined)
    this.active.delete(id)
  }

  /** Reads the output until the process has ended. */
  private async follow(
    job: Active,
    process: JobProcess,
  ): Promise<{ code: number | null; signal: string | null }> {
    let ended = false
    void process.exit.then(() => (ended = true))
    while (!ended) {
      const pause = new Promise((done) => setTimeout(done, logInterval))
      await Promise.race([process.exit, pause])
      if (await job.log.read()) this.tell(job.record)
    }
    await job.log.read()
    await job.log.close()
    return process.exit
  }

  /** A run that began: whether one of our processes writes it. */
  private async adopt(run: string): Promise<void> {
    if (this.jobOfRun.has(run)) return
    const writer = (await readRun(join(this.options.home, run)))?.process
    const job = [...this.active.values()].find(({ process }) => writer && process?.wrote(writer))
    if (!job || this.jobOfRun.has(run)) return
    this.jobOfRun.set(run, job.record.id)
    job.record = { ...job.record, runs: [...job.record.runs, run] }
    await this.record(job.record)
  }

  /** Finds the runs of a process that has ended: it may have been quicker than the watcher. */
  private async adoptAll({ record: { paper, started } }: Active): Promise<void> {
    await this.options.look()
    const rows = await this.options.db
      .selectFrom('runs')
      .select('id')
      .where('subject', '=', paper)
      .where('started', '>=', started!)
      .orderBy('started')
      .execute()
    for (const { id } of rows) await this.adopt(id)
  }

  /** Puts what the process has printed beside the metrics of its runs, where it is found without the lab. */
  private async keepLog({ record }: Active): Promise<void> {
    const { file, size } = await openInside(this.options.logs, `${record.id}.log`)
    const bytes = await readPart(file, Math.max(0, size - logKept), logKept).finally(() => file.close())
    const text = readableLog(new TextDecoder().decode(bytes))
    for (const run of record.runs) await writeFileAtomic(join(this.options.home, run, runFiles.log), text)
  }

  private shown(record: JobRecord): Job {
    const queue = [...this.active.values()].filter((job) => job.record.status === 'queued')
    const position = queue.findIndex((job) => job.record.id === record.id)
    return {
      ...record,
      position: position < 0 ? null : position,
      progress: record.status === 'running' ? (this.active.get(record.id)?.log.progress ?? null) : null,
    }
  }

  /** Throws HttpError 404. */
  async get(id: string): Promise<Job> {
    const active = this.active.get(id)
    if (active) return this.shown(active.record)
    const row = await this.options.db
      .selectFrom('jobs')
      .selectAll()
      .where('id', '=', id.replaceAll('\0', ''))
      .executeTakeFirst()
    if (!row) throw notFound('job', id)
    return this.shown(row)
  }

  /** The newest jobs, newest first. */
  async list(): Promise<Job[]> {
    const rows = await this.options.db
      .selectFrom('jobs')
      .selectAll()
      .orderBy('created', 'desc')
      .limit(listed)
      .execute()
    return rows.map((row) => this.shown(this.active.get(row.id)?.record ?? row))
  }

  /** The output of a job: live while it runs, from its file afterwards. */
  async log(id: string): Promise<JobLog> {
    const active = this.active.get(id)
    if (active) return active.log
    const log = new JobLog(this.logFile((await this.get(id)).id))
    await log.read()
    await log.close()
    return log
  }

  /** Takes a job from the queue, or asks its process to stop. Throws HttpError 409 when it has ended. */
  async cancel(id: string): Promise<Job> {
    const job = this.active.get(id)
    if (!job || job.record.ended !== null)
      throw new HttpError(409, 'JobEnded', `job ${(await this.get(id)).id} has ended`)
    job.cancelled = true
    if (job.record.status === 'queued') {
      this.active.delete(id)
      job.record = { ...job.record, status: 'cancelled', ended: now() }
      await this.record(job.record)
    } else await job.process?.stop()
    await this.settled(id)
    return this.get(id)
  }

  private async settled(id: string): Promise<void> {
    while (this.active.has(id)) await new Promise((done) => setTimeout(done, 20))
  }

  /** Stops every process and waits for it. */
  async close(): Promise<void> {
    this.closing = true
    for (const { record } of [...this.active.values()])
      if (record.status === 'queued') {
        this.active.delete(record.id)
        await this.record({ ...record, status: 'interrupted', ended: now() })
      }
    await Promise.all([...this.active.values()].map(({ process }) => process?.stop()))
    await Promise.all(this.running)
  }
}

/**
 * Asks the process that writes a run to stop, when it is certainly the one that its record names. Returns whether it was
 * asked.
 */
export const stopRun = async (home: string, id: string): Promise<boolean> => {
  const run = await readRun(join(home, id))
  return run?.status === 'running' && stopProcess(run.process)
}
