/**
 * @file What people did in the lab, line by line: votes, subscriptions, jobs. The file is the truth and the index a
 * fold over it: an event is appended first and applied then, and whatever a killed lab had not applied is applied when
 * it starts again. A line that is no event, or that the index refuses, is left out alone.
 */
import { randomUUID } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import type { Transaction } from 'kysely'
import { FileRefused, LineFile, openContained, parseRecord } from '../../runs/index.js'
import type { LeftOut } from '../../runs/index.js'
import type { Database } from './database.js'
import { applied, datedEvent } from './events.js'
import type { DatedEvent, JournalEvent } from './events.js'
import type { Tables } from './schema.js'

/** The tables that a journal makes. */
const tables = ['votes', 'seen', 'subscriptions', 'jobs', 'position'] as const

const newline = 0x0a

/** An event and the byte at which its line begins. */
interface Placed {
  readonly event: DatedEvent
  readonly line: number
}

/** The journal and the index that follows it. */
export class Journal {
  private last: Promise<unknown> = Promise.resolve()
  /** Whether the index has missed an event: its server was away. */
  private behind = false
  private bytes = 0
  private id = ''

  private constructor(
    private readonly path: string,
    private readonly file: LineFile,
    private readonly db: Database,
    private readonly leftOut: (what: readonly LeftOut[]) => void,
  ) {}

  /**
   * Opens or begins the journal at `path` and brings `db` up to date with it. `leftOut` hears which lines do not count.
   * Throws FileRefused when the file is no regular one.
   */
  static async open(
    path: string,
    db: Database,
    leftOut: (what: readonly LeftOut[]) => void = () => undefined,
  ): Promise<Journal> {
    await mkdir(dirname(path), { recursive: true })
    const journal = new Journal(path, new LineFile(path, 0o600), db, leftOut)
    await journal.begin()
    return journal
  }

  /** Cuts a tail that a killed lab left torn, and catches up. */
  private async begin(): Promise<void> {
    const content = await this.read()
    const whole = content.lastIndexOf(newline) + 1
    // Nobody was told that half an event is recorded; an event that lacks nothing but its newline is one.
    if (whole < content.length && !this.isEvent(content.subarray(whole))) this.file.truncate(whole)
    if (this.file.size === 0) this.file.append(JSON.stringify({ journal: randomUUID() }))
    else this.file.endLine()
    await this.catchUp(await this.read())
  }

  private isEvent(line: Uint8Array): boolean {
    try {
      parseRecord(new TextDecoder().decode(line), 'line', datedEvent)
      return true
    } catch {
      return false
    }
  }

  private async read(): Promise<Buffer> {
    const opened = await openContained(dirname(this.path), basename(this.path))
    if (!opened) throw new FileRefused('FileGone', `${this.path} has been removed while the lab used it`)
    return opened.file.readFile().finally(() => opened.file.close())
  }

  /** Applies what the index lacks; all of it where the index followed another journal. */
  private async catchUp(content: Buffer): Promise<void> {
    this.id = content.subarray(0, content.indexOf(newline)).toString()
    this.bytes = content.length
    const [known, ...others] = await this.db.selectFrom('position').selectAll().execute()
    const here = others.length === 0 && known?.journal === this.id && content.at(known.bytes - 1) === newline
    const { events, leftOut } = eventsIn(content, basename(this.path), here ? known.bytes : 0)
    const refused = await this.fold(events, !here).catch(() => this.foldEach(events, !here))
    this.leftOut([...leftOut, ...refused])
  }

  /** Applies all of the events or none. */
  private async fold(events: readonly Placed[], anew: boolean): Promise<LeftOut[]> {
    await this.db.transaction().execute(async (db) => {
      if (anew) await clear(db)
      for (const { event } of events) await applied(db, event)
      await this.moved(db)
    })
    return []
  }

  /** Applies the events one by one and returns those that the index refuses. Throws when it is away. */
  private async foldEach(events: readonly Placed[], anew: boolean): Promise<LeftOut[]> {
    const refused: LeftOut[] = []
    if (anew) await this.db.transaction().execute(clear)
    for (const { event, line } of events)
      try {
        await this.db.transaction().execute((db) => applied(db, event))
      } catch (error) {
        await this.db.selectFrom('position').selectAll().execute()
        refused.push({ path: basename(this.path), reason: `line ${line}: ${String(error)}` })
      }
    await this.db.transaction().execute((db) => this.moved(db))
    return refused
  }

  private async moved(db: Transaction<Tables>): Promise<void> {
    const { id: journal, bytes } = this
    await db
      .insertInto('position')
      .values({ journal, bytes })
      .onConflict((c) => c.column('journal').doUpdateSet({ bytes }))
      .execute()
  }

  /** Appends the event and applies it. When this returns, the event outlives the process. */
  record(event: JournalEvent, at: string = new Date().toISOString()): Promise<void> {
    const next = this.last.then(() => this.write(datedEvent.parse({ ...event, at })))
    this.last = next.catch(() => undefined)
    return next
  }

  private async write(event: DatedEvent): Promise<void> {
    const line = JSON.stringify(event)
    const expected = this.bytes + Buffer.byteLength(line) + 1
    this.bytes = this.file.append(line)
    await this.file.sync()
    // Bytes that this lab has not written, or had to give up in the middle of a line.
    const missed = this.behind || this.bytes !== expected
    this.behind = true
    if (missed) await this.catchUp(await this.read())
    else
      await this.db.transaction().execute(async (db) => {
        await applied(db, event)
        await this.moved(db)
      })
    this.behind = false
  }

  /** Waits for what is being recorded, and closes the file. */
  async close(): Promise<void> {
    await this.last
    this.file.close()
  }
}

const clear = async (db: Transaction<Tables>): Promise<void> => {
  for (const table of tables) await db.deleteFrom(table).execute()
}

/** The events whose lines begin at byte `from` or later, and every line, of all, that is none. The first names the journal. */
const eventsIn = (content: Buffer, name: string, from: number): { events: Placed[]; leftOut: LeftOut[] } => {
  const events: Placed[] = []
  const leftOut: LeftOut[] = []
  let start = content.indexOf(newline) + 1
  for (let line = 2; start < content.length; line++) {
    const next = content.indexOf(newline, start)
    const end = next < 0 ? content.length : next
    try {
      const text = content.subarray(start, end).toString()
      if (text !== '') {
        const event = parseRecord(text, `line ${line}`, datedEvent)
        if (start >= from) events.push({ event, line })
      }
    } catch (error) {
      leftOut.push({ path: name, reason: (error as Error).message })
    }
    start = end + 1
  }
  return { events, leftOut }
}
