/** @file What has happened since a time: new papers, finished runs, claims that stand otherwise. */
import { join } from 'node:path'
import { measuredWords, verdictWords } from '../../papers/index.js'
import { reproductionResult } from '../../catalogue/schemas.js'
import type { CataloguedPaper } from '../../catalogue/index.js'
import type { ReproductionResult } from '../../papers/index.js'
import { readRun } from '../../runs/index.js'
import type { Topic } from '../api.js'
import type { Database } from '../index/database.js'
import type { IndexedRun } from '../index/runs.js'
import type { Papers } from '../papers.js'

/** A claim that was measured anew and came out otherwise than before. */
export interface ChangedClaim {
  paper: string
  title: string
  claim: string
  /** In words; `not measured before` for the first time. */
  before: string
  now: string
  here: string
}

export interface News {
  papers: CataloguedPaper[]
  runs: IndexedRun[]
  claims: ChangedClaim[]
}

/** Where news are read. */
export interface NewsSources {
  home: string
  db: Database
  papers: Papers
}

/** After `since`, up to and with `until`. What lies between two digests is in exactly one of them. */
export interface Period {
  since: string
  until: string
}

/** Runs in one digest. */
const mostRuns = 50

const newPapers = async (
  { db, papers }: NewsSources,
  { since, until }: Period,
): Promise<CataloguedPaper[]> => {
  const seen = db.selectFrom('seen').select('paper').where('at', '>', since).where('at', '<=', until)
  const rows = await seen.execute()
  const fresh = new Set(rows.map(({ paper }) => paper))
  return papers.all().filter(({ id }) => fresh.has(id))
}

const endedRuns = ({ db }: NewsSources, { since, until }: Period): Promise<IndexedRun[]> =>
  db
    .selectFrom('runs')
    .selectAll()
    .where('ended', '>', since)
    .where('ended', '<=', until)
    .where('status', 'in', ['finished', 'failed'])
    .orderBy('ended', 'desc')
    .limit(mostRuns)
    .execute()

/** The last reproduction of `paper` that ended in a period. */
const lastResult = async (
  { db, home }: NewsSources,
  paper: string,
  { since, until }: Period,
): Promise<ReproductionResult | undefined> => {
  const row = await db
    .selectFrom('runs')
    .select('id')
    .where('command', '=', 'reproduce')
    .where('status', '=', 'finished')
    // A quick run decides no verdict.
    .where('quick', '=', false)
    .where('subject', '=', paper)
    .where('ended', '>', since)
    .where('ended', '<=', until)
    .orderBy('ended', 'desc')
    .limit(1)
    .executeTakeFirst()
  const run = row && (await readRun(join(home, row.id)))
  return reproductionResult.safeParse(run?.result).data
}

const changesOf = async (sources: NewsSources, id: string, period: Period): Promise<ChangedClaim[]> => {
  const [after, before] = await Promise.all([
    lastResult(sources, id, period),
    lastResult(sources, id, { since: '', until: period.since }),
  ])
  if (!after) return []
  const verdicts = new Map(before?.claims.map(({ text, verdict }) => [text, verdict]))
  return after.claims
    .filter(({ text, verdict }) => verdicts.get(text) !== verdict)
    .map((claim) => {
      const old = verdicts.get(claim.text)
      return {
        paper: id,
        title: sources.papers.entry(id).title,
        claim: claim.text,
        before: old ? verdictWords[old] : 'not measured before',
        now: verdictWords[claim.verdict],
        here: measuredWords(claim) ?? '',
      }
    })
}

const changedClaims = async (sources: NewsSources, period: Period): Promise<ChangedClaim[]> => {
  const rows = await sources.db
    .selectFrom('runs')
    .select('subject')
    .distinct()
    .where('command', '=', 'reproduce')
    .where('status', '=', 'finished')
    .where('ended', '>', period.since)
    .where('ended', '<=', period.until)
    .execute()
  const ids = rows.flatMap(({ subject }) =>
    subject !== null && sources.papers.has(subject) ? [subject] : [],
  )
  return (await Promise.all(ids.sort().map((id) => changesOf(sources, id, period)))).flat()
}

/** What has happened in a period, of the wanted kinds. */
export const newsOf = async (
  sources: NewsSources,
  period: Period,
  topics: readonly Topic[],
): Promise<News> => ({
  papers: topics.includes('papers') ? await newPapers(sources, period) : [],
  runs: topics.includes('runs') ? await endedRuns(sources, period) : [],
  claims: topics.includes('claims') ? await changedClaims(sources, period) : [],
})
