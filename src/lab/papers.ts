/** @file The papers as the lab shows them: the catalogue, with votes, runs and what the latest reproductions found. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sql } from 'kysely'
import { inWords, measuredWords } from '../papers/index.js'
import { catalogue, PaperIndex } from '../catalogue/index.js'
import type { Paper } from '../papers/index.js'
import type { Embedder, CataloguedPaper, Found, ListedPaper } from '../catalogue/index.js'
import { readRun } from '../runs/index.js'
import type { LeftOut } from '../runs/index.js'
import type {
  Claim,
  ClaimState,
  Measurement,
  PaperCard,
  PaperList,
  PaperPage,
  PapersQuery,
  RunRow,
} from './api.js'
import { notFound } from './errors.js'
import type { Database } from './index/database.js'
import type { Journal } from './index/journal.js'
import { latestReproductions, runCounts } from './index/runs.js'
import { paperStates } from './requests.js'

/** Where papers come from, beside the index. */
export interface PaperSources {
  /** The runs' folder. */
  home: string
  /** Folder of the full reproductions that decide where no run does. Default: the package's own. */
  reference?: string
  /** What sync has found. */
  listed(): Promise<readonly Paper[]>
  /** Sentence vectors, for a search that knows more. */
  embedder?: Embedder
  /** Hears why there are no sentence vectors. */
  warn?: (reason: unknown) => void
  /** Hears which results of reproductions cannot be used. */
  leftOut?: (what: readonly LeftOut[]) => void
}

const day = 24 * 60 * 60 * 1000
/** Votes and runs of so many days make a trend. */
const trendDays = 14
/** Papers that a search gives. */
const foundAtMost = 500
const root = new URL('../../', import.meta.url)

/** Claims as they stand for one paper. A quick measurement is shown, and decides nothing. */
const claimsOf = async ({ latest, reproduction, claims }: CataloguedPaper): Promise<Claim[]> => {
  if (latest && !latest.result.quick)
    return latest.result.claims.map((claim) => ({
      text: claim.text,
      state: claim.verdict,
      paper: claim.paper ?? null,
      here: measuredWords(claim) ?? null,
      why: claim.why ?? null,
    }))
  const declared = (await reproduction?.())?.claims
  const quick = new Map(latest?.result.claims.map((claim) => [claim.text, measuredWords(claim)]))
  if (declared)
    return declared.map(({ text, paper = null, why = null, known, test }) => ({
      text,
      state: known ?? (test ? 'unmeasured' : 'not-shown'),
      paper,
      here: quick.get(text) ?? null,
      why,
    }))
  return claims.map((claim) => ({
    text: [claim.quantity, claim.condition].filter(Boolean).join(', '),
    state: 'unmeasured',
    paper: inWords(claim) ?? null,
    here: null,
    why: null,
  }))
}

const counted = (claims: readonly Claim[]): Record<ClaimState, number> => {
  const counts = { holds: 0, fails: 0, 'not-shown': 0, unmeasured: 0 }
  for (const { state } of claims) counts[state]++
  return counts
}

const measurementOf = ({ latest }: CataloguedPaper): Measurement | null =>
  latest
    ? {
        run: latest.run ?? null,
        at: latest.at,
        quick: latest.result.quick,
        seeds: latest.result.seeds.length,
      }
    : null

/** The method's file: its source, or what it was compiled to where sources are not shipped. */
const sourceOf = async ({ source }: CataloguedPaper): Promise<PaperPage['source']> => {
  if (source === undefined) return null
  for (const path of [source, source.replace(/^src\//, 'dist/').replace(/\.ts$/, '.js')]) {
    const text = await readFile(new URL(path, root), 'utf8').catch(() => undefined)
    if (text !== undefined) return { path, text }
  }
  return null
}

/** What votes and runs say about each paper. */
interface Interest {
  votes: Map<string, { all: number; recent: number }>
  runs: Map<string, { all: number; recent: number }>
}

/** The catalogue and everything said about its papers. */
export class Papers {
  private entries: readonly CataloguedPaper[] = []
  private byId = new Map<string, { entry: CataloguedPaper; claims: Claim[] }>()
  private index = new PaperIndex<CataloguedPaper>([])
  /** The index, once its papers have sentence vectors; they take their time. */
  private embedded: PaperIndex<CataloguedPaper> | undefined
  private interest: Promise<Interest> | undefined

  constructor(
    private readonly sources: PaperSources,
    private readonly db: Database,
    private readonly journal: Journal,
  ) {}

  get count(): number {
    return this.entries.length
  }

  /** Every paper, newest first. */
  all(): readonly CataloguedPaper[] {
    return this.entries
  }

  has(id: string): boolean {
    return this.byId.has(id)
  }

  /** Names of the authors of `id`: of papers that sync has found; our own cards only count them. */
  authors(id: string): readonly string[] {
    return (this.byId.get(id)?.entry as Partial<ListedPaper> | undefined)?.names ?? []
  }

  /** The claims of `id` as they stand. */
  claims(id: string): readonly Claim[] {
    return this.byId.get(id)?.claims ?? []
  }

  /** Reads the catalogue and the latest reproductions anew. Papers not seen before are noted with the time. */
  async refresh(): Promise<void> {
    const ids = await latestReproductions(this.db)
    const runs = await Promise.all(ids.map((id) => readRun(join(this.sources.home, id))))
    const leftOut: LeftOut[] = []
    const entries = await catalogue({
      runs: runs.flatMap((run) => run ?? []).sort((a, b) => (a.started < b.started ? 1 : -1)),
      listed: await this.sources.listed(),
      reference: this.sources.reference,
      leftOut: (what) => leftOut.push(what),
    })
    this.sources.leftOut?.(leftOut)
    const claims = await Promise.all(entries.map(claimsOf))
    const known = this.entries
    this.entries = entries
    this.byId = new Map(entries.map((entry, i) => [entry.id, { entry, claims: claims[i] }]))
    this.forget()
    if (entries.length === known.length && entries.every(({ id }, i) => id === known[i].id)) return
    this.index = new PaperIndex(entries, this.sources.embedder)
    this.embed(this.index)
    await this.noteNew()
  }

  /** Has the vectors made; until then, and where they cannot be made, the search does without. */
  private embed(index: PaperIndex<CataloguedPaper>): void {
    if (!this.sources.embedder) return
    const made = (): void => void (this.embedded = index)
    index.searchEmbedded('papers', { limit: 1 }).then(made, this.sources.warn)
  }

  private async find(words: string): Promise<Found<CataloguedPaper>[]> {
    const limit = { limit: foundAtMost }
    if (this.embedded !== this.index) return this.index.search(words, limit)
    return this.index.searchEmbedded(words, limit).catch(() => this.index.search(words, limit))
  }

  private async noteNew(): Promise<void> {
    const seen = new Set(
      (await this.db.selectFrom('seen').select('paper').execute()).map(({ paper }) => paper),
    )
    const papers = this.entries.map(({ id }) => id).filter((id) => !seen.has(id))
    if (papers.length > 0) await this.journal.record({ type: 'seen', papers })
  }

  /** Counts of votes and runs are taken again when they are next asked for. */
  forget(): void {
    this.interest = undefined
  }

  private async counts(): Promise<Interest> {
    const since = new Date(Date.now() - trendDays * day).toISOString()
    const votes = await this.db
      .selectFrom('votes')
      .select([
        'paper',
        sql<number>`count(*)::int`.as('all'),
        sql<number>`(count(*) filter (where at >= ${since}))::int`.as('recent'),
      ])
      .groupBy('paper')
      .execute()
    return {
      votes: new Map(votes.map(({ paper, all, recent }) => [paper, { all, recent }])),
      runs: await runCounts(this.db, since),
    }
  }

  private async votedBy(visitor: string): Promise<Set<string>> {
    const rows = await this.db.selectFrom('votes').select('paper').where('visitor', '=', visitor).execute()
    return new Set(rows.map(({ paper }) => paper))
  }

  private card(entry: CataloguedPaper, { votes, runs }: Interest, voted: Set<string>): PaperCard {
    const { id, title, date, authors = null, family, state, summary, arxiv, code = null } = entry
    return {
      id,
      title,
      date,
      authors,
      family,
      state,
      summary,
      arxiv: arxiv || null,
      code,
      votes: votes.get(id)?.all ?? 0,
      voted: voted.has(id),
      claims: counted(this.claims(id)),
      runs: runs.get(id)?.all ?? 0,
    }
  }

  /** Papers in the order asked for: by relevance with `q`, else by trend or date. */
  async ordered({ q, sort }: Pick<PapersQuery, 'q' | 'sort'>): Promise<readonly CataloguedPaper[]> {
    const words = q?.replaceAll('\0', ' ').trim()
    if (words) {
      return this.current(await this.find(words))
    }
    if (sort !== 'trending') return this.entries
    const { votes, runs } = await this.interested()
    // A thousand runs of one paper are not a thousand people who care for it.
    const score = ({ id }: CataloguedPaper): number =>
      (votes.get(id)?.recent ?? 0) + Math.log2(1 + (runs.get(id)?.recent ?? 0))
    const scored = this.entries.map((entry) => ({ entry, score: score(entry) }))
    return scored.sort((a, b) => b.score - a.score).map(({ entry }) => entry)
  }

  private interested(): Promise<Interest> {
    const now = (this.interest ??= this.counts())
    now.catch(() => this.forget())
    return now
  }

  /** What was found as it stands now: the index is older than the latest reproductions. */
  private current(matches: readonly Found<CataloguedPaper>[]): CataloguedPaper[] {
    return matches.flatMap(({ paper: { id } }) => this.byId.get(id)?.entry ?? [])
  }

  /** The cards of `entries` for `visitor`. */
  async cards(entries: readonly CataloguedPaper[], visitor: string): Promise<PaperCard[]> {
    const [interest, voted] = await Promise.all([this.interested(), this.votedBy(visitor)])
    return entries.map((entry) => this.card(entry, interest, voted))
  }

  async list(query: PapersQuery & { limit: number; offset: number }, visitor: string): Promise<PaperList> {
    const { family, state, limit, offset } = query
    const matching = (await this.ordered(query)).filter(
      (entry) => (!family || entry.family === family) && (!state || entry.state === state),
    )
    return {
      papers: await this.cards(matching.slice(offset, offset + limit), visitor),
      total: matching.length,
      ...this.facets(),
    }
  }

  private facets(): Pick<PaperList, 'families' | 'states'> {
    const families = new Map<string, number>()
    const states = new Map<string, number>()
    for (const { family, state } of this.entries) {
      families.set(family, (families.get(family) ?? 0) + 1)
      states.set(state, (states.get(state) ?? 0) + 1)
    }
    return {
      families: [...families].sort().map(([family, count]) => ({ family, count })),
      states: paperStates.flatMap((state) =>
        states.has(state) ? [{ state, count: states.get(state)! }] : [],
      ),
    }
  }

  /** Throws HttpError 404. */
  entry(id: string): CataloguedPaper {
    const cataloguedPaper = this.byId.get(id)
    if (!cataloguedPaper) throw notFound('paper', id)
    return cataloguedPaper.entry
  }

  async page(id: string, visitor: string, recent: RunRow[]): Promise<PaperPage> {
    const entry = this.entry(id)
    const similar = this.current(this.index.similar(id, { limit: 6 }))
    const [[card, ...cards], source] = await Promise.all([
      this.cards([entry, ...similar], visitor),
      sourceOf(entry),
    ])
    return {
      ...card,
      claimList: [...this.claims(id)],
      measurement: measurementOf(entry),
      plots: structuredClone(entry.latest?.result.plots ?? []) as PaperPage['plots'],
      source,
      command: entry.reproduction ? `weft reproduce ${id}` : null,
      similar: cards,
      recent,
    }
  }

  /** Records a vote, or takes it back, and counts again. */
  async vote(id: string, visitor: string, vote: boolean): Promise<{ votes: number; voted: boolean }> {
    this.entry(id)
    await this.journal.record({ type: 'vote', paper: id, visitor, vote })
    this.forget()
    const { votes } = await this.interested()
    return { votes: votes.get(id)?.all ?? 0, voted: vote }
  }
}
