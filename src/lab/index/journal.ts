/**
 * @file What people did in the lab, line by line: votes, subscriptions, jobs. The file is the truth and the index a
 * fold over it: an event is appended first and applied then, and whatever a killed lab had not applied is applied when
 * it starts again.
 */
import { randomUUID } from 'node:crypto'
import { mkdir, open, readFile } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Transaction } from 'kysely'
import type { Topic } from '../api.js'
import type { Database } from './database.js'
import type { JobsTable, Tables } from './schema.js'

/** A job as it stands; of one id the last event counts. */
export type JobRecord = Omit<JobsTable, 'runs'> & { runs: string[] }

export type JournalEvent =
  | { type: 'vote'; paper: string; visitor: string; vote: boolean }
  | { type: 'seen'; papers: string[] }
  | { type: 'subscribe'; email: string; token: string; topics: Topic[] }
  | { type: 'confirm'; token: string }
  | { type: 'unsubscribe'; token: string }
  | { type: 'told'; token: string }
  | { type: 'job'; job: JobRecord }

type Dated = JournalEvent & { at: string }

type Apply<T> = (db: Transaction<Tables>, event: Extract<Dated, { type: T }>) => Promise<unknown>

/** What each event does to the index. Doing it twice is doing it once. */
const apply: { [T in JournalEvent['type']]: Apply<T> } = {
  vote: (db, { paper, visitor, vote, at }) =>
    vote
      ? db
          .insertInto('votes')
          .values({ paper, visitor, at })
          .onConflict((c) => c.doNothing())
          .execute()
      : db.deleteFrom('votes').where('paper', '=', paper).where('visitor', '=', visitor).execute(),
  seen: async (db, { papers, at }) => {
    for (let i = 0; i < papers.length; i += 1000)
      await db
        .insertInto('seen')
        .values(papers.slice(i, i + 1000).map((paper) => ({ paper, at })))
        .onConflict((c) => c.doNothing())
        .execute()
  },
  subscribe: (db, { email, token, topics, at }) => {
    const wish = { topics: JSON.stringify(topics), asked: at }
    return db
      .insertInto('subscriptions')
      .values({ email, token, ...wish, confirmed: null, told: at })
      .onConflict((c) => c.column('email').doUpdateSet(wish))
      .execute()
  },
  confirm: (db, { token, at }) =>
    db
      .updateTable('subscriptions')
      .set({ confirmed: at })
      .where('token', '=', token)
      .where('confirmed', 'is', null)
      .execute(),
  unsubscribe: (db, { token }) => db.deleteFrom('subscriptions').where('token', '=', token).execute(),
  told: (db, { token, at }) =>
    db.updateTable('subscriptions').set({ told: at }).where('token', '=', token).execute(),
  job: (db, { job: { id, runs, ...rest } }) => {
    const values = { ...rest, runs: JSON.stringify(runs) }
    return db
      .insertInto('jobs')
      .values({ id, ...values })
      .onConflict((c) => c.column('id').doUpdateSet(values))
      .execute()
  },
}

const tables = ['votes', 'seen', 'subscriptions', 'jobs', 'position'] as const

const parse = (line: string): Dated | undefined => {
  try {
    const event = JSON.parse(line) as Dated
    return Object.hasOwn(apply, event.type) ? event : undefined
  } catch {
    // Half a line, of a lab that was killed while it wrote.
    return undefined
  }
}

/** The journal and the index that follows it. */
export class Journal {
  private last: Promise<unknown> = Promise.resolve()
  /** Whether the index has missed an event: its server was away. */
  private behind = false

  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    private readonly db: Database,
    private readonly id: string,
    private bytes: number,
  ) {}

  /** Opens or begins the journal at `path` and brings `db` up to date with it. */
  static async open(path: string, db: Database): Promise<Journal> {
    await mkdir(dirname(path), { recursive: true })
    const file = await open(path, 'a', 0o600)
    let content = await readFile(path)
    const add = async (text: string): Promise<void> => {
      await file.appendFile(text)
      content = Buffer.concat([content, Buffer.from(text)])
    }
    if (content.length === 0) await add(`${JSON.stringify({ journal: randomUUID() })}\n`)
    else if (content[content.length - 1] !== 0x0a) await add('\n')
    const head = content.subarray(0, content.indexOf(0x0a)).toString()
    const journal = new Journal(path, file, db, head, content.length)
    await journal.catchUp(content)
    return journal
  }

  private async catchUp(content: Buffer): Promise<void> {
    const known = await this.db.selectFrom('position').selectAll().execute()
    const here = known.length === 1 && known[0].journal === this.id && known[0].bytes <= content.length
    await this.db.transaction().execute(async (db) => {
      if (!here) for (const table of tables) await db.deleteFrom(table).execute()
      const rest = content.subarray(here ? known[0].bytes : 0).toString()
      for (const line of rest.split('\n')) {
        const event = parse(line)
        if (event) await applied(db, event)
      }
      await this.moved(db)
    })
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
    const next = this.last.then(() => this.write({ ...event, at }))
    this.last = next.catch(() => undefined)
    return next
  }

  private async write(event: Dated): Promise<void> {
    const line = `${JSON.stringify(event)}\n`
    await this.file.appendFile(line)
    await this.file.datasync()
    this.bytes += Buffer.byteLength(line)
    const missed = this.behind
    this.behind = true
    if (missed) await this.catchUp(await readFile(this.path))
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
    await this.file.close()
  }
}

const applied = (db: Transaction<Tables>, event: Dated): Promise<unknown> =>
  (apply[event.type] as Apply<JournalEvent['type']>)(db, event)
