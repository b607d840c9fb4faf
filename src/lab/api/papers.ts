/** @file Papers, as the lab's JSON has them. */
import type { Plot } from './plot.js'
import type { RunRow } from './runs.js'

/**
 * `planned`: no method yet. `unmeasured`: no full reproduction is kept. `works`: no claim fails in one. `short`: a claim
 * does not hold here. `baseline`: what others are compared with. `listed`: found by sync, no method.
 */
export type PaperState = 'planned' | 'unmeasured' | 'works' | 'short' | 'baseline' | 'listed'

export interface PapersQuery {
  /** Finds by meaning and by word; orders by relevance. */
  q?: string
  family?: string
  state?: PaperState
  /** `new` (default): by date. `trending`: by recent votes and runs. */
  sort?: 'new' | 'trending'
  /** 1 to 200; default 50. */
  limit?: number
  offset?: number
}

export interface PaperCard {
  id: string
  title: string
  /** Of the first version. */
  date: string
  /** How many; null where nobody has counted. */
  authors: number | null
  family: string
  state: PaperState
  summary: string
  arxiv: string | null
  code: string | null
  votes: number
  /** Whether this visitor has voted for it. */
  voted: boolean
  /** How many claims stand how, by the latest full measurement. */
  claims: Record<ClaimState, number>
  /** How many runs of its reproduction there are. */
  runs: number
}

export interface PaperList {
  papers: PaperCard[]
  /** How many match, over all pages. */
  total: number
  /** Over the whole catalogue. */
  families: { family: string; count: number }[]
  states: { state: PaperState; count: number }[]
}

/** `unmeasured`: no full reproduction is kept. `not-shown`: out of reach at this scale. */
export type ClaimState = 'holds' | 'fails' | 'not-shown' | 'unmeasured'

export interface Claim {
  text: string
  state: ClaimState
  /** What the paper reports, in words; null where it gives no number. */
  paper: string | null
  /** What was measured here, in words: mean and spread; null before. A quick measurement decides no state. */
  here: string | null
  /** Why it is not shown, or why it does not hold. */
  why: string | null
}

/** The latest measurement of a paper's claims. */
export interface Measurement {
  /** Null for one that is kept with the package, in `reference/`. */
  run: string | null
  at: string
  quick: boolean
  seeds: number
}

export interface PaperPage extends PaperCard {
  claimList: Claim[]
  measurement: Measurement | null
  plots: Plot[]
  /** The method's own file. */
  source: { path: string; text: string } | null
  /** What to type: `weft reproduce mos`; null while there is nothing to run. */
  command: string | null
  similar: PaperCard[]
  /** Its latest reproductions. */
  recent: RunRow[]
}

export interface VoteRequest {
  /** false takes it back. */
  vote: boolean
}

export interface VoteResult {
  votes: number
  voted: boolean
}
