/** @file What people do in the lab, as a line of its journal, and what each of it does to the index. */
import type { Transaction } from 'kysely'
import { z } from 'zod'
import type { ZodType } from 'zod'
import { time } from '../../runs/index.js'
import type { JobStatus, Topic } from '../api.js'
import { topics } from '../requests.js'
import type { JobsTable, Tables } from './schema.js'
import { storable } from './text.js'

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

/** An event with its time: ISO 8601 in UTC. */
export type DatedEvent = JournalEvent & { at: string }

const name = z.string().min(1).max(400).transform(storable)
const token = z.string().min(1).max(200).transform(storable)
const folder = z
  .string()
  .regex(/^[^/\\\0]+$/)
  .refine((id) => id !== '.' && id !== '..', 'expected the name of a folder')
const jobStatuses = ['queued', 'running', 'finished', 'failed', 'cancelled', 'interrupted'] as const
/** Characters that are kept of a job's last words. */
const errorKept = 10_000

const job: ZodType<JobRecord> = z.object({
  id: z.string().regex(/^[\w-]{1,100}$/),
  paper: name,
  quick: z.boolean(),
  seeds: z.number().int().min(1).max(1e6).nullable(),
  status: z.enum(jobStatuses) satisfies ZodType<JobStatus>,
  created: time,
  started: time.nullable(),
  ended: time.nullable(),
  runs: z.array(folder),
  error: z
    .string()
    .transform((text) => storable(text.slice(0, errorKept)))
    .nullable(),
})

/** One line of the journal. */
export const datedEvent: ZodType<DatedEvent> = z.discriminatedUnion('type', [
  z.object({ type: z.literal('vote'), paper: name, visitor: name, vote: z.boolean(), at: time }),
  z.object({ type: z.literal('seen'), papers: z.array(name), at: time }),
  z.object({
    type: z.literal('subscribe'),
    email: name,
    token,
    topics: z.array(z.enum(topics)),
    at: time,
  }),
  z.object({ type: z.literal('confirm'), token, at: time }),
  z.object({ type: z.literal('unsubscribe'), token, at: time }),
  z.object({ type: z.literal('told'), token, at: time }),
  z.object({ type: z.literal('job'), job, at: time }),
])

type Apply<T> = (db: Transaction<Tables>, event: Extract<DatedEvent, { type: T }>) => Promise<unknown>

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

/** Applies one event to the index. Throws what the index does. */
export const applied = (db: Transaction<Tables>, event: DatedEvent): Promise<unknown> =>
  (apply[event.type] as Apply<JournalEvent['type']>)(db, event)
