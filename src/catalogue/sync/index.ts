/** @file What is new: from arXiv and a daily-papers API into WEFT_HOME/papers. */
import { join } from 'node:path'
import { RemoteError } from '../../errors.js'
import type { OnProgress } from '../../progress.js'
import { planned } from '../planned/index.js'
import { arxivPage, arxivQuery, arxivUrl, readAtom } from './arxiv.js'
import { Client } from './client.js'
import { dailyQuery, dailyUrl, readDaily } from './daily.js'
import { listedFolder, readListed, writeListed } from './listed.js'
import type { ListedPaper } from './listed.js'
import { append } from '../../tensor/numbers.js'

/** How to sync. */
export interface SyncOptions {
  /** How many days back, today included. Default 2. */
  readonly days?: number
  /** arXiv's categories. Default cs.LG and cs.CL. */
  readonly categories?: readonly string[]
  /** arXiv's API, or one that speaks its form. */
  readonly arxivUrl?: string
  /** Hugging Face's daily papers, or an API that speaks its form. */
  readonly dailyUrl?: string
  /** Milliseconds between two questions to one host. Default 3000, which is what arXiv asks for. */
  readonly pause?: number
  /** Default: the clock. */
  readonly now?: Date
  /** Aborts requests. */
  readonly signal?: AbortSignal
  /** Hears each page that is read. */
  readonly onProgress?: OnProgress
  /** Told when one of the sources fails; the other's papers are kept. */
  readonly onWarning?: (message: string) => void
}

/** Result of a sync. */
export interface SyncResult {
  readonly added: ListedPaper[]
  /** How many of the papers seen were listed or planned before. */
  readonly known: number
  /** Addresses whose answer had not changed. */
  readonly unchanged: string[]
}

const day = 86_400_000
/** arXiv has a few hundred papers a day; more pages than this are not for a sync. */
const mostPages = 50

interface Sync {
  readonly client: Client
  readonly options: SyncOptions
  readonly now: Date
  readonly unchanged: string[]
  accept(papers: readonly ListedPaper[]): Promise<void>
}

/**
 * Lists what arXiv and the daily papers have published in the last days. A source that fails is a warning; throws
 * RemoteError when both do. What was accepted before a failure stays.
 */
export const syncPapers = async (home: string, options: SyncOptions = {}): Promise<SyncResult> => {
  const { pause = 3000, signal, onWarning, now = new Date() } = options
  const seen = new Set([
    ...planned.map(({ arxiv }) => arxiv),
    ...(await readListed(home)).map(({ id }) => id),
  ])
  const added: ListedPaper[] = []
  let known = 0
  const accept = async (papers: readonly ListedPaper[]): Promise<void> => {
    const fresh = [...new Map(papers.map((paper) => [paper.id, paper])).values()].filter(
      ({ id }) => !seen.has(id),
    )
    known += papers.length - fresh.length
    // Each file is brought to the disk on its own: side by side that takes a tenth of the time.
    for (let at = 0; at < fresh.length; at += 32)
      await Promise.all(fresh.slice(at, at + 32).map((paper) => writeListed(home, paper)))
    for (const { id } of fresh) seen.add(id)
    append(added, fresh)
  }
  const client = new Client({ memory: join(listedFolder(home), '.versions.json'), pause, signal })
  const sync: Sync = { client, options, now, unchanged: [], accept }
  const failures: Error[] = []
  for (const source of [syncDaily, syncArxiv])
    await source(sync).catch((error: Error) => {
      if (!(error instanceof RemoteError)) throw error
      failures.push(error)
    })
  if (failures.length === 2)
    throw new RemoteError('SyncFailed', failures.map(({ message }) => message).join('; '), {
      cause: failures[0],
    })
  for (const { message } of failures) onWarning?.(message)
  return { added, known, unchanged: sync.unchanged }
}

const syncDaily = async ({ client, options, now, unchanged, accept }: Sync): Promise<void> => {
  const { days = 2, dailyUrl: base = dailyUrl, onProgress } = options
  for (let back = 0; back < days; back++) {
    const url = dailyQuery(base, new Date(now.getTime() - back * day).toISOString().slice(0, 10))
    onProgress?.({ status: 'progress', name: 'daily papers', done: back, total: days, unit: 'days' })
    const answer = await client.get(url, 'application/json')
    if (!answer) unchanged.push(url)
    else {
      await accept(readDaily(answer.text, url))
      await answer.keep()
    }
  }
}

/**
 * Pages of the newest until one reaches back far enough. A page that has not changed ends it: older ones were seen. That
 * holds because versions are kept only once the last page was accepted.
 */
const syncArxiv = async ({ client, options, now, unchanged, accept }: Sync): Promise<void> => {
  const { days = 2, arxivUrl: base = arxivUrl, categories = ['cs.LG', 'cs.CL'], onProgress } = options
  const since = now.getTime() - days * day
  const answers: { keep: () => Promise<void> }[] = []
  for (let page = 0; page < mostPages; page++) {
    const url = arxivQuery(base, categories, page * arxivPage)
    onProgress?.({ status: 'progress', name: 'arXiv', done: page * arxivPage, unit: 'papers' })
    const answer = await client.get(url, 'application/atom+xml')
    if (!answer) {
      unchanged.push(url)
      break
    }
    answers.push(answer)
    const papers = readAtom(answer.text, url)
    const fresh = papers.filter(({ published }) => Date.parse(published) >= since)
    await accept(fresh)
    if (papers.length < arxivPage || fresh.length < papers.length) break
  }
  for (const { keep } of answers) await keep()
}
