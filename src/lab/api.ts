/**
 * @file The lab's HTTP interface: the JSON of every endpoint, as types that the server and the page share. The page
 * imports types from here and nothing else.
 *
 * ## Pages (HTML, readable without JavaScript)
 *
 * `GET /` papers, `/papers/:id`, `/runs`, `/runs/:id`, `/compare?runs=a,b`, `/playground`, `/subscribe`.
 * Each has `<main id="app" data-page="papers|paper|runs|run|compare|playground|subscribe">`, whose content the server has rendered
 * for papers and which holds a notice for the rest, `<meta name="weft-token">` with the token that state-changing requests need, and
 * `<script type="application/json" id="data">` with the JSON the page begins with: PaperList, PaperPage, RunList, RunPage, Comparison,
 * CheckpointList or LabInfo, in the order above. The build of the page lies in `dist/lab/page` with Vite's manifest (`.vite/manifest.json`,
 * `build.manifest: true`, base `/`, its assets under `assets/`); its one entry (`isEntry`) and that entry's CSS are linked from every page.
 *
 * ## JSON
 *
 * | request | answer |
 * | --- | --- |
 * | `GET /api/lab` | LabInfo |
 * | `GET /api/papers` with PapersQuery | PaperList |
 * | `GET /api/papers/:id` | PaperPage |
 * | `POST /api/papers/:id/vote` VoteRequest | VoteResult |
 * | `GET /api/runs` with RunsQuery | RunList |
 * | `GET /api/runs/:id` | RunPage |
 * | `GET /api/runs/:id/metrics?names=loss,lr&points=500` | Metrics |
 * | `GET /api/runs/:id/events?from=BYTE` | events RunEvents |
 * | `GET /api/runs/:id/log?from=BYTE&limit=BYTES` | LogPart; a negative `from` counts from the end |
 * | `GET /api/runs/:id/files/PATH` | the file, as a download |
 * | `POST /api/runs/:id/cancel` | RunRow |
 * | `GET /api/compare?runs=a,b&points=500` | Comparison |
 * | `GET /api/jobs` | JobList |
 * | `POST /api/jobs` JobRequest | 202 Job |
 * | `GET /api/jobs/:id` | Job |
 * | `GET /api/jobs/:id/events` | events JobEvents |
 * | `POST /api/jobs/:id/cancel` | Job |
 * | `GET /api/events` | events LabEvents |
 * | `GET /api/checkpoints` | CheckpointList |
 * | `GET /api/tensors?checkpoint=ID` | TensorList |
 * | `GET /api/tensor?checkpoint=ID&name=NAME` | TensorStatistics |
 * | `POST /api/generate` GenerateRequest | events GenerateEvents, in the body of the answer |
 * | `POST /api/subscribe` SubscribeRequest | 202 SubscribeResult |
 * | `POST /api/digest` | DigestResult: sends what is due now rather than at the daily hour |
 * | `GET /api/daily_papers?date=&week=&month=&sort=&limit=&p=&q=` | DailyPaper[], the form of Hugging Face's endpoint |
 * | `GET /feed.atom`, `GET /feed.json` | feeds of new papers |
 *
 * ## Rules
 *
 * - An error is ErrorBody with status 400 (malformed), 401 (no token), 403 (foreign origin or host), 404, 409, 413 (too large),
 *   415 (not JSON), 429 (too often), 503 (not configured, too many streams).
 * - POST requests carry `Content-Type: application/json` and `X-Weft-Token` (the page's meta element). Their Origin must be the lab's.
 *   A lab bound wider than the loopback needs its token for reading too: `Authorization: Bearer TOKEN`, or the cookie that `/?token=TOKEN` sets.
 * - Times are ISO 8601 in UTC; dates `YYYY-MM-DD`; durations seconds; sizes bytes.
 * - Events are Server-Sent Events: `event:` is the key in the types below, `data:` its JSON. Where an `id:` is sent, an EventSource that
 *   reconnects continues after it.
 */

export interface ErrorBody {
  error: { code: string; message: string; hint?: string }
}

export interface LabInfo {
  version: string
  /** Whether SMTP_URL is set: without it nobody can subscribe by e-mail. */
  email: boolean
  /** How many jobs run at once. */
  parallel: number
  papers: number
  runs: number
}

// ---- Papers

/** `planned`: no method yet. `works`: no claim fails. `short`: a claim does not hold here. `baseline`: what others are compared with. `listed`: found by sync, no method. */
export type PaperState = 'planned' | 'works' | 'short' | 'baseline' | 'listed'

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
  /** How many claims stand how, by their latest measurement. */
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

/** `unmeasured`: no reproduction has run yet. `not-shown`: out of reach at this scale. */
export type ClaimState = 'holds' | 'fails' | 'not-shown' | 'unmeasured'

export interface Claim {
  text: string
  state: ClaimState
  /** What the paper reports, in words; null where it gives no number. */
  paper: string | null
  /** What was measured here, in words: mean and spread; null before. */
  here: string | null
  /** Why it is not shown, or why it does not hold. */
  why: string | null
}

/** One plot, of a reproduction or a run. Bars have names as `x`; of a heat map each series is a row, and `x` its columns. */
export interface Plot {
  kind: 'curve' | 'bars' | 'pareto' | 'heatmap'
  title: string
  x: Axis
  y: Axis
  series: PlotSeries[]
}

export interface Axis {
  label: string
  log?: boolean
}

export interface PlotSeries {
  name: string
  /** `spread`: standard deviation over seeds. */
  points: { x: number | string; y: number; spread?: number }[]
}

/** The latest measurement of a paper's claims. */
export interface Measurement {
  run: string
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

// ---- Runs

/** `interrupted`: it never said how it ended, and its process is gone. */
export type RunStatus = 'running' | 'finished' | 'failed' | 'cancelled' | 'interrupted'

export interface RunsQuery {
  /** In its id, command, subject or arguments. */
  q?: string
  status?: RunStatus
  paper?: string
  /** 1 to 200; default 50. */
  limit?: number
  offset?: number
}

export interface RunRow {
  id: string
  /** The verb: `train`, `adapt`, `reproduce`, ... */
  command: string
  /** The method, paper or model that it is about. */
  subject: string | null
  /** The arguments as typed, after `weft`. */
  argv: string[]
  status: RunStatus
  /** The subject, where it is a paper of the catalogue. */
  paper: string | null
  started: string
  ended: string | null
  /** The last step recorded. */
  step: number | null
  /** The last values recorded, by name; `series/name` where rows have a series. */
  metrics: Record<string, number>
  /** How many rows of metrics there are. */
  rows: number
  /** The job that this lab started it with. */
  job: string | null
}

export interface RunList {
  runs: RunRow[]
  total: number
}

export interface RunPage extends RunRow {
  config: Record<string, unknown>
  /** Everything else that run.json says: versions, machine, commit, seed. */
  facts: Record<string, unknown>
  artifacts: { path: string; bytes: number }[]
  /** What it left to be drawn, in plots.json. */
  plots: Plot[]
  /** Its YAML files: a recipe, the settings. */
  documents: { path: string; text: string }[]
  metricNames: string[]
  /** What the run found; its shape is the command's. */
  result: unknown
  error: { code: string; message: string } | null
  /** Bytes of its log; 0 when there is none. */
  logBytes: number
  /** Bytes of metrics.jsonl that were read for this answer: `from` of the events. */
  offset: number
}

/**
 * One metric over steps, downsampled: of each bucket of rows its mean at its mean step, its least and its greatest. `name` is
 * `series/name` where rows have a series (an arm and its seed). Rows without a step are numbered.
 */
export interface Series {
  name: string
  x: number[]
  y: number[]
  low: number[]
  high: number[]
}

export interface Metrics {
  series: Series[]
  /** Rows before downsampling. */
  rows: number
  /** Bytes of metrics.jsonl that were read: `from` of the events. */
  offset: number
}

/** One row of metrics.jsonl. */
export interface MetricsRow {
  time?: string
  series?: string
  step?: number
  values: Record<string, number>
}

export interface RunEvents {
  /** New rows, at most 500 an event; the event's `id` is the byte after them. */
  metrics: { rows: MetricsRow[]; offset: number }
  /** Its row has changed; the last event of a run that has ended. */
  run: RunRow
}

export interface LogPart {
  text: string
  from: number
  /** Where the next part begins. */
  to: number
  /** Bytes of the whole log. */
  size: number
}

export interface Comparison {
  runs: RunRow[]
  /** By metric name: one series a run, in the order of `runs`; null where a run lacks it. */
  metrics: { name: string; series: (Series | null)[] }[]
  /** Settings in which they differ: one JSON value a run. */
  config: { key: string; values: unknown[] }[]
}

// ---- Jobs

export type JobStatus = 'queued' | 'running' | 'finished' | 'failed' | 'cancelled' | 'interrupted'

export interface JobRequest {
  /** What to reproduce. */
  paper: string
  quick?: boolean
  seeds?: number
}

export interface Job {
  id: string
  paper: string
  quick: boolean
  seeds: number | null
  status: JobStatus
  created: string
  started: string | null
  ended: string | null
  /** 0 is next; null unless queued. */
  position: number | null
  progress: JobProgress | null
  /** The runs it has written, oldest first. */
  runs: string[]
  /** Its last words when it failed. */
  error: string | null
}

export interface JobProgress {
  name: string | null
  done: number | null
  total: number | null
  unit: string | null
  metrics: Record<string, number>
}

export interface JobList {
  jobs: Job[]
  parallel: number
}

export interface JobEvents {
  /** First as it stands, then at every change; the last event of a job that has ended. */
  job: Job
  /** A line that it printed, the last 200 of them first. */
  log: { line: string }
}

export interface LabEvents {
  run: RunRow
  job: Job
  /** A run has gone. */
  removed: { run: string }
  /** Votes or the catalogue have changed. */
  papers: { id: string | null }
}

// ---- Playground

export interface CheckpointEntry {
  /** What requests name it by: its path below its root, after the root's name. */
  id: string
  name: string
  kind: 'model' | 'adapter'
  /** `model_type` or `peft_type`. */
  type: string | null
  bytes: number
  /** For an adapter: the base as its config names it, and which listed checkpoint that is. */
  base: { name: string; id: string | null } | null
  /** Whether it generates text. */
  generates: boolean
}

export interface CheckpointList {
  /** The configured folders. */
  roots: string[]
  checkpoints: CheckpointEntry[]
}

export interface TensorRow {
  name: string
  dtype: string
  shape: number[]
  bytes: number
}

export interface TensorList {
  checkpoint: string
  tensors: TensorRow[]
}

export interface TensorStatistics extends TensorRow {
  count: number
  least: number | null
  greatest: number | null
  mean: number | null
  deviation: number | null
  zeros: number
  /** NaN or infinite elements, outside every other statistic. */
  notFinite: number
  /** `edges` has one more element than `counts`. */
  histogram: { edges: number[]; counts: number[] }
  /** Of the matrix [first axis, the rest], largest first; null with the reason where there are none. */
  singularValues: number[] | null
  singularNote: string | null
}

export interface GenerateRequest {
  checkpoint: string
  /** An adapter's id. */
  adapter?: string
  prompt: string
  /** 1 to 1,024; default 64. */
  maxTokens?: number
  /** 0: the likeliest token. Default 0.8. */
  temperature?: number
  /** Default 0.95. */
  topP?: number
  seed?: number
}

export interface GenerateEvents {
  /** `alternatives`: the likeliest tokens before sampling, itself among them or not. */
  token: {
    id: number
    text: string
    probability: number
    alternatives: { id: number; text: string; probability: number }[]
  }
  done: { tokens: number; seconds: number; reason: 'length' | 'stop' }
  error: ErrorBody['error']
}

// ---- Subscriptions and feeds

export interface SubscribeRequest {
  email: string
  /** Default: all. */
  topics?: Topic[]
}

export type Topic = 'papers' | 'runs' | 'claims'

/** The same whether or not the address is known, so that nobody learns who subscribes. */
export interface SubscribeResult {
  status: 'confirmation-sent'
}

export interface DigestResult {
  sent: number
}

/** One element of `/api/daily_papers`. */
export interface DailyPaper {
  paper: {
    id: string
    authors: { name: string; hidden: boolean }[]
    publishedAt: string
    submittedOnDailyAt: string
    title: string
    summary: string
    upvotes: number
    githubRepo?: string
  }
  publishedAt: string
  title: string
  summary: string
  numComments: number
  isAuthorParticipating: boolean
}
