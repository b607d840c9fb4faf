/**
 * @file Keeps the index in step with the run folders. It looks rather than being told: notifications of ten thousand
 * folders cost more than a listing of one, and are lost on network disks. Of a run that goes on only the new bytes of
 * its metrics are read.
 */
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { readMetrics, readRun, runFiles } from '../../runs/index.js'
import type { MetricsRow, StoredRun } from '../../runs/index.js'
import type { Database } from './database.js'
import { dropRuns, putRuns } from './runs.js'
import type { RunEntry } from './runs.js'

/** What the watcher tells. */
export interface WatcherEvents {
  changed(runs: readonly RunEntry[]): void
  removed(ids: readonly string[]): void
}

/** Every so many looks, finished runs are looked at too: someone may have resumed or copied one. */
const sweepEvery = 30
/** Files open at once. */
const slice = 64
/** Of the values of a run that are kept in its row. */
const metricsKept = 200

const stateOf = async (path: string): Promise<{ modified: number; size: number }> => {
  const found = await stat(path).catch(() => undefined)
  return { modified: found?.mtimeMs ?? 0, size: found?.size ?? 0 }
}

/** The part of a row that metrics decide. */
type Measured = Pick<RunEntry, 'metrics' | 'rows' | 'bytes' | 'step'>

const nothingYet: Measured = { metrics: {}, rows: 0, bytes: 0, step: null }

const take = ({ metrics, rows, bytes, step }: Measured, page: readonly MetricsRow[]): Measured => {
  const last = { ...metrics }
  for (const { series, values } of page)
    for (const [name, value] of Object.entries(values)) {
      const full = series ? `${series}/${name}` : name
      if (full in last || Object.keys(last).length < metricsKept) last[full] = value
    }
  const steps = page.flatMap((row) => row.step ?? [])
  return { metrics: last, rows: rows + page.length, bytes, step: steps.at(-1) ?? step }
}

/** Reads on from `known.bytes`; from the beginning where the file has become shorter. */
const measure = async (folder: string, known: Measured): Promise<Measured> => {
  let now = known
  for (;;) {
    const { rows, next, more } = await readMetrics(folder, { from: now.bytes })
    now = { ...take(next < now.bytes ? nothingYet : now, rows), bytes: next }
    if (!more || (rows.length === 0 && next === now.bytes)) return now
  }
}

const entryOf = (run: StoredRun, measured: Measured, modified: number): RunEntry => {
  const { id, command, subject = null, argv, status, started, ended = null, result } = run
  const { quick } = (result ?? {}) as { quick?: unknown }
  return {
    id,
    command,
    subject,
    argv: Array.isArray(argv) ? argv.map(String) : [],
    status,
    quick: typeof quick === 'boolean' ? quick : null,
    started,
    ended,
    modified,
    ...measured,
  }
}

const same = (a: RunEntry | undefined, b: RunEntry): boolean =>
  a !== undefined && a.modified === b.modified && a.bytes === b.bytes && a.status === b.status

/** Follows the runs under one folder. */
export class Watcher {
  private readonly known = new Map<string, RunEntry>()
  private looks = 0
  private timer: NodeJS.Timeout | undefined
  private looking: Promise<void> = Promise.resolve()
  private stopped = false

  constructor(
    private readonly home: string,
    private readonly db: Database,
    private readonly events: WatcherEvents,
  ) {}

  /** Reads what the index holds, brings it up to date, and then looks every `interval` milliseconds. */
  async start(interval = 500): Promise<void> {
    for (const { text: _, ...run } of await this.db.selectFrom('runs').selectAll().execute())
      this.known.set(run.id, run)
    await this.look()
    const again = (): void => {
      if (this.stopped) return
      this.timer = setTimeout(
        () =>
          void this.look()
            .catch(() => undefined)
            .then(again),
        interval,
      )
    }
    again()
  }

  async stop(): Promise<void> {
    this.stopped = true
    clearTimeout(this.timer)
    await this.looking.catch(() => undefined)
  }

  /** One look at the folders. Looks do not overlap. */
  look(): Promise<void> {
    const next = this.looking.catch(() => undefined).then(() => this.lookNow())
    this.looking = next
    return next
  }

  private async lookNow(): Promise<void> {
    const entries = await readdir(this.home, { withFileTypes: true }).catch(() => [])
    const folders = entries.filter((e) => e.isDirectory() && !e.name.startsWith('.')).map(({ name }) => name)
    const sweep = this.looks++ % sweepEvery === 0
    const due = folders.filter((id) => sweep || (this.known.get(id)?.status ?? 'running') === 'running')
    for (let at = 0; at < due.length && !this.stopped; at += slice)
      await this.refresh(due.slice(at, at + slice))
    const here = new Set(folders)
    const gone = [...this.known.keys()].filter((id) => !here.has(id))
    if (gone.length === 0) return
    await dropRuns(this.db, gone)
    for (const id of gone) this.known.delete(id)
    this.events.removed(gone)
  }

  private async refresh(ids: readonly string[]): Promise<void> {
    const found = await Promise.all(ids.map((id) => this.read(id)))
    const changed = found.flatMap((run) => (run && !same(this.known.get(run.id), run) ? [run] : []))
    if (changed.length === 0) return
    await putRuns(this.db, changed)
    for (const run of changed) this.known.set(run.id, run)
    this.events.changed(changed)
  }

  private async read(id: string): Promise<RunEntry | undefined> {
    const folder = join(this.home, id)
    const known = this.known.get(id)
    const [record, metrics] = await Promise.all([
      stateOf(join(folder, runFiles.record)),
      stateOf(join(folder, runFiles.metrics)),
    ])
    const settled = known && known.status !== 'running' && known.modified === record.modified
    if (settled && known.bytes === metrics.size) return known
    const run = await readRun(folder)
    return run && entryOf(run, await measure(folder, known ?? nothingYet), record.modified)
  }
}
