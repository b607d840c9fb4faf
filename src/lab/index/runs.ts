/** @file Runs in the index: writing rows, and finding them again. */
import type { Insertable, Selectable, SelectQueryBuilder } from 'kysely'
import { sql } from 'kysely'
import type { RunStatus } from '../api.js'
import type { Database } from './database.js'
import type { RunsTable, Tables } from './schema.js'
import { storable } from './text.js'

/** A row as it is read. */
export type IndexedRun = Selectable<RunsTable>

/** A row as the watcher makes it. */
export type RunEntry = Omit<IndexedRun, 'text'>

/** Characters of a subject in the index; PostgreSQL takes at most 2,700 bytes of what it sorts by. */
const subjectKept = 600

const insertable = ({ subject, argv, metrics, ...run }: RunEntry): Insertable<RunsTable> => ({
  ...run,
  command: storable(run.command),
  subject: subject === null ? null : storable(subject.slice(0, subjectKept)),
  argv: JSON.stringify(argv.map(storable)),
  metrics: JSON.stringify(
    Object.fromEntries(Object.entries(metrics).map(([name, value]) => [storable(name), value])),
  ),
  text: storable([run.id, run.command, subject ?? '', ...argv].join(' ').toLowerCase()),
})

/** Adds the runs, or replaces the rows of those already there. */
export const putRuns = async (db: Database, runs: readonly RunEntry[]): Promise<void> => {
  // A statement takes at most 65,535 parameters.
  for (let at = 0; at < runs.length; at += 500)
    await db
      .insertInto('runs')
      .values(runs.slice(at, at + 500).map(insertable))
      .onConflict((c) =>
        c.column('id').doUpdateSet((e) => ({
          command: e.ref('excluded.command'),
          subject: e.ref('excluded.subject'),
          argv: e.ref('excluded.argv'),
          status: e.ref('excluded.status'),
          quick: e.ref('excluded.quick'),
          started: e.ref('excluded.started'),
          ended: e.ref('excluded.ended'),
          step: e.ref('excluded.step'),
          metrics: e.ref('excluded.metrics'),
          rows: e.ref('excluded.rows'),
          bytes: e.ref('excluded.bytes'),
          modified: e.ref('excluded.modified'),
          text: e.ref('excluded.text'),
        })),
      )
      .execute()
}

/** Removes the rows of runs that have gone. */
export const dropRuns = async (db: Database, ids: readonly string[]): Promise<void> => {
  for (let at = 0; at < ids.length; at += 1000)
    await db
      .deleteFrom('runs')
      .where('id', 'in', ids.slice(at, at + 1000))
      .execute()
}

/** Which runs, and which part of the list. */
export interface RunFilter {
  q?: string
  status?: RunStatus
  subject?: string
  limit: number
  offset: number
}

/** `50%_` -> `50\%\_`: what a person types is text, not a pattern. */
const literally = (text: string): string => storable(text).replace(/[\\%_]/g, '\\$&')

const filtered = <O>(
  query: SelectQueryBuilder<Tables, 'runs', O>,
  { q = '', status, subject }: RunFilter,
): SelectQueryBuilder<Tables, 'runs', O> => {
  let result = query
  if (status) result = result.where('status', '=', status)
  if (subject !== undefined) result = result.where('subject', '=', storable(subject))
  for (const word of q.toLowerCase().split(/\s+/).filter(Boolean).slice(0, 8))
    result = result.where('text', 'like', `%${literally(word)}%`)
  return result
}

/** The runs that match, newest first, and how many there are over all pages. */
export const listRuns = async (
  db: Database,
  filter: RunFilter,
): Promise<{ runs: IndexedRun[]; total: number }> => {
  const [runs, { total }] = await Promise.all([
    filtered(db.selectFrom('runs').selectAll(), filter)
      .orderBy('started', 'desc')
      .orderBy('id', 'desc')
      .limit(filter.limit)
      .offset(filter.offset)
      .execute(),
    filtered(
      db.selectFrom('runs').select(sql<number>`count(*)::int`.as('total')),
      filter,
    ).executeTakeFirstOrThrow(),
  ])
  return { runs, total }
}

/** The row of one run. */
export const runOf = (db: Database, id: string): Promise<IndexedRun | undefined> =>
  db.selectFrom('runs').selectAll().where('id', '=', storable(id)).executeTakeFirst()

/** How many runs are about each subject: all of them, and those begun since `since`. */
export const runCounts = async (
  db: Database,
  since: string,
): Promise<Map<string, { all: number; recent: number }>> => {
  const rows = await db
    .selectFrom('runs')
    .select([
      'subject',
      sql<number>`count(*)::int`.as('all'),
      sql<number>`(count(*) filter (where started >= ${since}))::int`.as('recent'),
    ])
    .where('subject', 'is not', null)
    .groupBy('subject')
    .execute()
  return new Map(rows.map(({ subject, all, recent }) => [subject!, { all, recent }]))
}

/** Reproductions of one kind that are looked at: of most, the first one's result counts. */
const newest = 5

/** Of each subject's finished reproductions the newest full ones and the newest quick ones. */
export const latestReproductions = async (db: Database): Promise<string[]> => {
  const order = sql<number>`row_number() over (partition by subject, quick order by started desc, id desc)`
  const rows = await db
    .selectFrom((query) =>
      query
        .selectFrom('runs')
        .select(['id', 'subject', 'quick', order.as('place')])
        .where('command', '=', 'reproduce')
        .where('status', '=', 'finished')
        .where('quick', 'is not', null)
        .as('reproductions'),
    )
    .select('id')
    .where('place', '<=', newest)
    .orderBy('subject')
    .orderBy('quick')
    .orderBy('place')
    .execute()
  return rows.map(({ id }) => id)
}
