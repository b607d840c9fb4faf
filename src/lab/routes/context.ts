/** @file What the routes work with. */
import { join } from 'node:path'
import type { Hono } from 'hono'
import type { LabInfo, RunRow } from '../api.js'
import type { Digests } from '../mail/digest.js'
import type { Mailbox } from '../mail/mailbox.js'
import type { Database } from '../index/database.js'
import type { Journal } from '../index/journal.js'
import type { IndexedRun, RunEntry } from '../index/runs.js'
import type { Jobs } from '../jobs/jobs.js'
import type { Hub } from '../hub.js'
import type { LeftOutList } from '../left-out.js'
import type { Papers } from '../papers.js'
import type { Playground } from '../playground/playground.js'
import type { LabEnv } from '../security.js'
import type { Streams } from '../streams.js'

export type App = Hono<LabEnv>

/** The parts of a lab. */
export interface Services {
  readonly home: string
  readonly version: string
  readonly token: string
  /** Where people reach the lab; links in mails and feeds begin with it. */
  readonly url: () => string
  readonly db: Database
  readonly journal: Journal
  readonly hub: Hub
  readonly streams: Streams
  readonly papers: Papers
  /** What was found and could not be used. */
  readonly leftOut: LeftOutList
  readonly jobs: Jobs
  readonly playground: Playground
  /** Absent without SMTP_URL. */
  readonly mailbox?: Mailbox
  readonly digests: Digests
  /** The folder with Vite's build of the page. */
  readonly page: string
}

/** A run as the interface shows it. */
export const rowOf = ({ papers, jobs }: Services, run: RunEntry | IndexedRun): RunRow => {
  const { id, command, subject, argv, status, started, ended, step, metrics, rows } = run
  const paper = subject !== null && papers.has(subject) ? subject : null
  return {
    id,
    command,
    subject,
    argv,
    status,
    paper,
    started,
    ended,
    step,
    metrics,
    rows,
    job: jobs.jobOf(id),
  }
}

/** The folder of an indexed run. */
export const folderOf = ({ home }: Services, id: string): string => join(home, id)

/** What the lab says of itself. */
export const infoOf = async ({ db, version, mailbox, jobs, papers, leftOut }: Services): Promise<LabInfo> => {
  const { runs } = await db
    .selectFrom('runs')
    .select(({ fn }) => fn.countAll<string | number>().as('runs'))
    .executeTakeFirstOrThrow()
  return {
    version,
    email: mailbox !== undefined,
    parallel: jobs.parallel,
    papers: papers.count,
    runs: Number(runs),
    leftOut: leftOut.shown(),
  }
}
