/** @file The catalogue: every paper with what Weft has of it. A method's own card replaces the planned one. */
import { UsageError, nearest } from '../errors.js'
import { readRuns } from '../runs/index.js'
import type { StoredRun } from '../runs/index.js'
import type { Paper } from '../papers/card.js'
import type { Entry } from '../papers/entry.js'
import { families } from './families.js'
import type { MethodFamily } from './families.js'
import { planned } from './planned/index.js'
import type { ReproductionResult } from '../papers/result.js'
import type { Reproduction, Verdict } from '../papers/reproduction.js'

/**
 * Where a paper stands. `planned`: no method yet. `works`: no claim fails. `short`: a claim does not hold here.
 * `baseline`: what others are compared with. `listed`: found by sync, nobody has planned it.
 */
export type PaperState = 'planned' | 'works' | 'short' | 'baseline' | 'listed'

/** How states read. */
export const stateWords: Record<PaperState, string> = {
  planned: 'planned',
  works: 'works',
  short: 'falls short',
  baseline: 'baseline',
  listed: 'listed',
}

/** A paper's card with what there is of it here. */
export interface CataloguedPaper extends Paper {
  readonly state: PaperState
  /** The method's file, relative to the repository. */
  readonly source?: string
  /** Its experiment; absent while there is none. */
  readonly reproduction?: () => Promise<Reproduction>
  /** The latest recorded outcome: of a full run where there is one, else of a quick one. */
  readonly latest?: { readonly run: string; readonly at: string; readonly result: ReproductionResult }
}

/** Where to look. */
export interface CatalogueOptions {
  /** The runs' folder, whose reproductions decide states. Default: no runs. */
  readonly home?: string
  /** Those runs, already read: they win over `home`. */
  readonly runs?: readonly StoredRun[]
  /** Papers that sync has found. */
  readonly listed?: readonly Paper[]
  readonly families?: readonly MethodFamily[]
}

/** Every paper, newest first: planned ones, methods' own, and those that sync has listed. */
export const catalogue = async (options: CatalogueOptions = {}): Promise<CataloguedPaper[]> => {
  const runs = options.runs ?? (options.home === undefined ? [] : await readRuns(options.home))
  const loaded = await Promise.all((options.families ?? families).map((family) => family.entries()))
  const entries = loaded.flat()
  const papers = new Map<string, Promise<CataloguedPaper>>()
  for (const paper of options.listed ?? [])
    papers.set(paper.id, Promise.resolve({ ...paper, state: 'listed' }))
  // A listed paper has its arXiv id as id: ours replace it.
  for (const paper of [...planned, ...entries.map(({ card }) => card)]) papers.delete(paper.arxiv)
  for (const paper of planned) papers.set(paper.id, Promise.resolve({ ...paper, state: 'planned' }))
  for (const entry of entries) papers.set(entry.card.id, paperOf(entry, latestOf(entry.card.id, runs)))
  const all = await Promise.all(papers.values())
  return all.sort((a, b) => (a.date < b.date ? 1 : a.date > b.date ? -1 : a.id < b.id ? -1 : 1))
}

const paperOf = async (
  { card, experiment }: Entry,
  latest: CataloguedPaper['latest'],
): Promise<CataloguedPaper> => {
  const reproduction = experiment && (async () => (await experiment()).experiment)
  const verdicts: Verdict[] = latest
    ? latest.result.claims.map(({ verdict }) => verdict)
    : ((await reproduction?.())?.claims ?? []).flatMap(({ known }) => known ?? [])
  const state = verdicts.includes('fails') ? 'short' : card.baseline ? 'baseline' : 'works'
  return {
    ...card,
    state,
    source: `src/${card.family}/${card.id}/${card.id}.ts`,
    ...(reproduction === undefined ? {} : { reproduction }),
    ...(latest === undefined ? {} : { latest }),
  }
}

/** The newest finished reproduction among `runs` (newest first); a full one wins over a quick one. */
const latestOf = (id: string, runs: readonly StoredRun[]): CataloguedPaper['latest'] => {
  const finished = runs.flatMap((run) => {
    if (run.command !== 'reproduce' || run.subject !== id || run.status !== 'finished') return []
    const result = run.result as unknown as ReproductionResult | undefined
    return Array.isArray(result?.claims)
      ? [{ run: run.id, at: run.ended ?? run.started, result: result! }]
      : []
  })
  return finished.find(({ result }) => !result.quick) ?? finished[0]
}

/** The entry called `id` (an id or an arXiv id). Throws UsageError UnknownPaper, which names the nearest. */
export const findPaper = <T extends Paper>(entries: readonly T[], id: string): T => {
  const found = entries.find((entry) => entry.id === id || entry.arxiv === id)
  if (found) return found
  const ids = entries.map((entry) => entry.id)
  throw new UsageError('UnknownPaper', `no paper ${JSON.stringify(id)} in the catalogue`, {
    hint: `Nearest: ${nearest(id, ids).join(', ')}. Search: weft papers WORDS`,
  })
}
