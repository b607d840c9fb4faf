/**
 * @file Keeps the index in step with the run folders. It looks rather than being told: notifications of ten thousand
 * folders cost more than a listing of one, and are lost on network disks. Of a run that goes on only the new bytes of
 * its metrics are read.
 */
import { join } from 'node:path'
import { runFiles, runFolders } from '../../runs/index.js'
import type { LeftOut } from '../../runs/index.js'
import type { Database } from './database.js'
import { readEntry, stateOf } from './entry.js'
import { dropRuns, putRuns } from './runs.js'
import type { RunEntry } from './runs.js'
import { append } from '../../tensor/numbers.js'

/** What the watcher tells. */
export interface WatcherEvents {
  changed(runs: readonly RunEntry[]): void
  removed(ids: readonly string[]): void
  /** What of the run `id` is not in the index, and why: nothing, where all of it is. */
  leftOut(id: string, what: readonly LeftOut[]): void
  /** Why the folders could not be looked at; no reason when they could again. */
  failed(reason: unknown): void
}

/** Every so many looks, finished runs are looked at too: someone may have resumed or copied one. */
const sweepEvery = 30
/** Folders read at once. */
const slice = 64

const same = (a: RunEntry | undefined, b: RunEntry): boolean =>
  a !== undefined &&
  a.modified === b.modified &&
  a.bytes === b.bytes &&
  a.status === b.status &&
  a.quick === b.quick

/** Follows the runs under one folder. */
export class Watcher {
  private readonly known = new Map<string, RunEntry>()
  /** Folders whose record cannot be used, with its stamp when it was read: they are read again when that changes. */
  private readonly refused = new Map<string, string>()
  /** Stamps of records before they were read: what is written during the reading has another one. */
  private readonly stamps = new Map<string, string>()
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
      this.timer = setTimeout(() => void this.look().then(again, again), interval)
    }
    again()
  }

  async stop(): Promise<void> {
    this.stopped = true
    clearTimeout(this.timer)
    await this.looking.catch(() => undefined)
  }

  /** One look at the folders. Looks do not overlap. Throws what the index does. */
  look(): Promise<void> {
    const next = this.looking.catch(() => undefined).then(() => this.lookNow())
    this.looking = next
    next.then(
      () => this.events.failed(undefined),
      (error: unknown) => this.events.failed(error),
    )
    return next
  }

  private async lookNow(): Promise<void> {
    const folders = await runFolders(this.home)
    const sweep = this.looks++ % sweepEvery === 0
    const due = folders.filter((id) => sweep || (this.known.get(id)?.status ?? 'running') === 'running')
    for (let at = 0; at < due.length && !this.stopped; at += slice)
      await this.refresh(due.slice(at, at + slice))
    const here = new Set(folders)
    for (const id of [...this.refused.keys()].filter((id) => !here.has(id))) this.accept(id)
    await this.drop([...this.known.keys()].filter((id) => !here.has(id)))
  }

  private async drop(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return
    await dropRuns(this.db, ids)
    for (const id of ids) {
      this.known.delete(id)
      this.stamps.delete(id)
      if (!this.refused.has(id)) this.events.leftOut(id, [])
    }
    this.events.removed(ids)
  }

  /** Forgets that the record of `id` was refused. */
  private accept(id: string): void {
    this.refused.delete(id)
    this.events.leftOut(id, [])
  }

  private async refresh(ids: readonly string[]): Promise<void> {
    const entries = await Promise.all(ids.map((id) => this.read(id)))
    const changed = entries.flatMap((run) => (run && !same(this.known.get(run.id), run) ? [run] : []))
    const stored = changed.length === 0 ? [] : await this.put(changed)
    for (const run of stored) this.known.set(run.id, run)
    if (stored.length > 0) this.events.changed(stored)
    await this.drop(ids.filter((id, i) => !entries[i] && this.known.has(id)))
  }

  private async read(id: string): Promise<RunEntry | undefined> {
    const stamp = await this.recordStamp(id)
    if (this.refused.get(id) === stamp) return undefined
    this.refused.delete(id)
    this.stamps.set(id, stamp)
    const { entry, leftOut } = await readEntry(this.home, id, this.known.get(id))
    this.events.leftOut(id, leftOut)
    if (!entry && leftOut.length > 0) this.refused.set(id, stamp)
    return entry
  }

  /** Time and size of a record: one that is written whole within a clock's tick has another size. */
  private async recordStamp(id: string): Promise<string> {
    const { modified, size } = await stateOf(join(this.home, id, runFiles.record))
    return `${modified} ${size}`
  }

  /** Puts the rows into the index and returns those that it took; where it refuses one, the others go in all the same. */
  private async put(runs: readonly RunEntry[]): Promise<readonly RunEntry[]> {
    try {
      await putRuns(this.db, runs)
      return runs
    } catch (error) {
      if (runs.length > 1) return await this.putEach(runs)
      // An index that is away refuses everything, and throws here.
      await this.db.selectFrom('runs').select('id').limit(1).execute()
      const [{ id }] = runs
      this.refused.set(id, this.stamps.get(id)!)
      this.events.leftOut(id, [{ path: id, reason: error instanceof Error ? error.message : String(error) }])
      return []
    }
  }

  private async putEach(runs: readonly RunEntry[]): Promise<readonly RunEntry[]> {
    const stored: RunEntry[] = []
    for (const run of runs) append(stored, await this.put([run]))
    return stored
  }
}
