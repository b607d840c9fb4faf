/**
 * @file The tables of the index, for PGlite and for PostgreSQL alike. Everything in them can be made again: runs from
 * their folders, the rest from the journal. Times are ISO 8601 text in UTC, which sorts as it should and reads alike
 * from both.
 */
import type { JSONColumnType, Kysely, Migration } from 'kysely'
import { sql } from 'kysely'
import type { JobStatus, RunStatus, Topic } from '../api.js'

export interface Tables {
  runs: RunsTable
  jobs: JobsTable
  votes: { paper: string; visitor: string; at: string }
  /** When the lab first saw a paper. */
  seen: { paper: string; at: string }
  subscriptions: SubscriptionsTable
  /** One row a journal: how much of it is in the index. */
  position: { journal: string; bytes: number }
}

export interface RunsTable {
  id: string
  command: string
  subject: string | null
  argv: JSONColumnType<string[]>
  status: RunStatus
  /** Of a finished reproduction: whether it was a quick one. */
  quick: boolean | null
  started: string
  ended: string | null
  step: number | null
  metrics: JSONColumnType<Record<string, number>>
  rows: number
  /** Bytes of metrics.jsonl that the columns above account for. */
  bytes: number
  /** Modification time of run.json in milliseconds, by which a change is noticed. */
  modified: number
  /** What is searched, in lower case. */
  text: string
}

export interface JobsTable {
  id: string
  paper: string
  quick: boolean
  seeds: number | null
  status: JobStatus
  created: string
  started: string | null
  ended: string | null
  runs: JSONColumnType<string[]>
  error: string | null
}

export interface SubscriptionsTable {
  email: string
  /** Names the subscription in links; a secret between the lab and the address. */
  token: string
  topics: JSONColumnType<Topic[]>
  asked: string
  /** Null until the address has confirmed. */
  confirmed: string | null
  /** What happened up to then has been sent. */
  told: string
}

// The C collation: bytes, so that ISO times sort the same on every server.
const time = sql`text collate "C"`

const createRuns = async (db: Kysely<unknown>): Promise<void> => {
  await db.schema
    .createTable('runs')
    .addColumn('id', 'text', (c) => c.primaryKey())
    .addColumn('command', 'text', (c) => c.notNull())
    .addColumn('subject', 'text')
    .addColumn('argv', 'jsonb', (c) => c.notNull())
    .addColumn('status', 'text', (c) => c.notNull())
    .addColumn('quick', 'boolean')
    .addColumn('started', time, (c) => c.notNull())
    .addColumn('ended', time)
    .addColumn('step', 'float8')
    .addColumn('metrics', 'jsonb', (c) => c.notNull())
    .addColumn('rows', 'integer', (c) => c.notNull())
    .addColumn('bytes', 'float8', (c) => c.notNull())
    .addColumn('modified', 'float8', (c) => c.notNull())
    .addColumn('text', 'text', (c) => c.notNull())
    .execute()
  await db.schema.createIndex('runs_started').on('runs').columns(['started desc', 'id desc']).execute()
  await db.schema.createIndex('runs_subject').on('runs').columns(['subject', 'started desc']).execute()
  await db.schema.createIndex('runs_status').on('runs').columns(['status', 'started desc']).execute()
}

const first: Migration = {
  up: async (db: Kysely<unknown>): Promise<void> => {
    await createRuns(db)
    await db.schema
      .createTable('jobs')
      .addColumn('id', 'text', (c) => c.primaryKey())
      .addColumn('paper', 'text', (c) => c.notNull())
      .addColumn('quick', 'boolean', (c) => c.notNull())
      .addColumn('seeds', 'integer')
      .addColumn('status', 'text', (c) => c.notNull())
      .addColumn('created', time, (c) => c.notNull())
      .addColumn('started', time)
      .addColumn('ended', time)
      .addColumn('runs', 'jsonb', (c) => c.notNull())
      .addColumn('error', 'text')
      .execute()
    await db.schema
      .createTable('votes')
      .addColumn('paper', 'text', (c) => c.notNull())
      .addColumn('visitor', 'text', (c) => c.notNull())
      .addColumn('at', time, (c) => c.notNull())
      .addPrimaryKeyConstraint('votes_key', ['paper', 'visitor'])
      .execute()
    await db.schema
      .createTable('seen')
      .addColumn('paper', 'text', (c) => c.primaryKey())
      .addColumn('at', time, (c) => c.notNull())
      .execute()
    await db.schema
      .createTable('subscriptions')
      .addColumn('email', 'text', (c) => c.primaryKey())
      .addColumn('token', 'text', (c) => c.notNull().unique())
      .addColumn('topics', 'jsonb', (c) => c.notNull())
      .addColumn('asked', time, (c) => c.notNull())
      .addColumn('confirmed', time)
      .addColumn('told', time, (c) => c.notNull())
      .execute()
    await db.schema
      .createTable('position')
      .addColumn('journal', 'text', (c) => c.primaryKey())
      .addColumn('bytes', 'float8', (c) => c.notNull())
      .execute()
  },
}

/** In order of name. A change of the tables is a new entry; old ones stay as they are. */
export const migrations: Readonly<Record<string, Migration>> = { '001-tables': first }
