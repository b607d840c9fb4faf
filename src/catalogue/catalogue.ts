/** @file The catalogue: every paper with what Weft has of it. A method's own card replaces the planned one. */
import { UsageError, nearest } from '../errors.js'
import { checkRecord, FileRefused, readRuns, runFiles } from '../runs/index.js'
import type { LeftOut, StoredRun } from '../runs/index.js'
import type { Paper } from '../papers/card.js'
import type { Entry } from '../papers/entry.js'
import type { Reproduction, Verdict } from '../papers/reproduction.js'
import { families } from './families.js'
import type { MethodFamily } from './families.js'
import { planned } from './planned/index.js'
import type { Outcome } from './outcome.js'
import { readReference, referenceFolder } from './reference.js'
import { reproductionResult } from './schemas.js'

/**
 * State of a paper. `planned`: no method yet. `unmeasured`: no full reproduction is kept, and no claim is known to
 * fail. `works`: no claim fails. `short`: a claim does not hold here. `baseline`: what others are compared with. `listed`:
 * found by sync, nobody has planned it.
 */
export type PaperState = 'planned' | 'unmeasured' | 'works' | 'short' | 'baseline' | 'listed'

/** How states read. */
export const stateWords: Record<PaperState, string> = {
  planned: 'planned',
  unmeasured: 'not measured yet',
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
  /** Experiment of the paper; absent while there is none. */
  readonly reproduction?: () => Promise<Reproduction>
  /**
   * The newest full reproduction among the runs, else the one in `reference/`; else the newest quick one, which decides
   * no state and no verdict.
   */
  readonly latest?: Outcome
}

/** Places where runs and references are looked for. */
export interface CatalogueOptions {
  /** The runs' folder, whose full reproductions decide states. Default: no runs. */
  readonly home?: string
  /** Runs that are read already: they win over `home`. */
  readonly runs?: readonly StoredRun[]
  /** Folder of the full reproductions that decide where no run does. Default: the package's own. */
  readonly reference?: string
  /** Papers that sync has found. */
  readonly listed?: readonly Paper[]
  /** Families whose entries are collected. Default: all that Weft has. */
  readonly families?: readonly MethodFamily[]
  /** Hears which runs and references cannot be used. */
  readonly leftOut?: (what: LeftOut) => void
}

/** Every paper, newest first: planned ones, methods' own, and those that sync has listed. */
export const catalogue = async (options: CatalogueOptions = {}): Promise<CataloguedPaper[]> =>
  catalogueOf(await knownPapers(options), options)

/** Some papers with what there is of them here: of no other one anything but its card is loaded. */
export const catalogueOf = async (
  papers: readonly KnownPaper[],
  options: CatalogueOptions = {},
): Promise<CataloguedPaper[]> => {
  const runs = await runsOf(options)
  return Promise.all(papers.map((paper) => catalogued(paper, runs, options)))
}

const runsOf = async ({ runs, home, leftOut }: CatalogueOptions): Promise<readonly StoredRun[]> =>
  runs ?? (home === undefined ? [] : readRuns(home, leftOut))

/** A paper's card, and where it comes from. */
export interface KnownPaper extends Paper {
  readonly origin: 'listed' | 'planned' | Entry
}

/** Every card, newest first. */
export const knownPapers = async ({ listed = [], families: from = families }: CatalogueOptions = {}): Promise<
  KnownPaper[]
> => {
  const entries = (await Promise.all(from.map((family) => family.entries()))).flat()
  const papers = new Map<string, KnownPaper>()
  for (const paper of listed) papers.set(paper.id, { ...paper, origin: 'listed' })
  // A listed paper has its arXiv id as id: ours replace it.
  for (const paper of [...planned, ...entries.map(({ card }) => card)]) papers.delete(paper.arxiv)
  for (const paper of planned) papers.set(paper.id, { ...paper, origin: 'planned' })
  for (const entry of entries) papers.set(entry.card.id, { ...entry.card, origin: entry })
  return [...papers.values()].sort((a, b) =>
    a.date < b.date ? 1 : a.date > b.date ? -1 : a.id < b.id ? -1 : 1,
  )
}

/** What a card alone says of a paper: where its source lies, and how its experiment is loaded; its state before any run. */
export const withExperiment = ({ origin, ...paper }: KnownPaper): CataloguedPaper => {
  if (origin === 'listed' || origin === 'planned') return { ...paper, state: origin }
  const { experiment } = origin
  return {
    ...paper,
    state: paper.baseline ? 'baseline' : 'unmeasured',
    source: `src/${paper.family}/${paper.id}/${paper.id}.ts`,
    ...(experiment && { reproduction: async () => (await experiment()).experiment }),
  }
}

const catalogued = async (
  known: KnownPaper,
  runs: readonly StoredRun[],
  options: CatalogueOptions,
): Promise<CataloguedPaper> => {
  const paper = withExperiment(known)
  if (typeof known.origin === 'string') return paper
  const latest = await latestOf(paper.id, runs, options)
  const verdicts = await verdictsOf(latest, paper.reproduction)
  return { ...paper, state: stateOf(paper, verdicts), ...(latest && { latest }) }
}

/** Verdicts of a full reproduction; without one, undefined, or the failures that the experiment itself knows. */
const verdictsOf = async (
  latest: Outcome | undefined,
  reproduction: CataloguedPaper['reproduction'],
): Promise<readonly Verdict[] | undefined> => {
  if (latest && !latest.result.quick) return latest.result.claims.map(({ verdict }) => verdict)
  const known = ((await reproduction?.())?.claims ?? []).flatMap((claim) => claim.known ?? [])
  return known.length > 0 ? known : undefined
}

const stateOf = ({ baseline }: Paper, verdicts: readonly Verdict[] | undefined): PaperState => {
  if (verdicts?.includes('fails')) return 'short'
  if (baseline) return 'baseline'
  return verdicts === undefined ? 'unmeasured' : 'works'
}

const latestOf = async (
  id: string,
  runs: readonly StoredRun[],
  { reference = referenceFolder, leftOut }: CatalogueOptions,
): Promise<Outcome | undefined> => {
  const outcomes = runs.flatMap((run) => outcomeOf(id, run, leftOut) ?? [])
  const full = outcomes.find(({ result }) => !result.quick)
  return full ?? (await readReference(reference, id, leftOut)) ?? outcomes[0]
}

/** What a finished reproduction of `id` found; undefined for other runs, and for a result that says nothing or lies. */
const outcomeOf = (id: string, run: StoredRun, leftOut: CatalogueOptions['leftOut']): Outcome | undefined => {
  if (run.command !== 'reproduce' || run.subject !== id || run.status !== 'finished') return undefined
  try {
    const result = checkRecord(run.result, `${runFiles.record}: result`, reproductionResult)
    if (result.paper === id) return { run: run.id, at: run.ended ?? run.started, result }
    leftOut?.({ path: run.id, reason: `${runFiles.record}: result: paper: ${result.paper} is not ${id}` })
  } catch (error) {
    if (!(error instanceof FileRefused)) throw error
    leftOut?.({ path: run.id, reason: error.message })
  }
  return undefined
}

/** The paper called `id` (an id or an arXiv id). Throws UsageError UnknownPaper, which names the nearest. */
export const findPaper = <T extends Paper>(papers: readonly T[], id: string): T => {
  const paper = papers.find((known) => known.id === id || known.arxiv === id)
  if (paper) return paper
  const ids = papers.map((known) => known.id)
  throw new UsageError('UnknownPaper', `no paper ${JSON.stringify(id)} in the catalogue`, {
    hint: `Nearest: ${nearest(id, ids).join(', ')}. Search: weft papers WORDS`,
  })
}
