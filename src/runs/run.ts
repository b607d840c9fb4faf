/**
 * @file A run as it lies on the disk: a folder with `run.json` (what was started, and how it ended), an append-only
 * `metrics.jsonl`, and artifacts. The folder is the truth; indexes and pages are made from it and can be thrown away.
 */

/** The statuses that a run can have. */
export const runStatuses = ['running', 'finished', 'failed', 'cancelled', 'interrupted'] as const

/** How a run stands. `interrupted`: it never said how it ended, and its process is gone. */
export type RunStatus = (typeof runStatuses)[number]

/** The statuses that a run can end with by its own word. */
export type FinalStatus = Exclude<RunStatus, 'running' | 'interrupted'>

/** Anything that JSON can say. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json }

/** The machine and process that a run belongs to. */
export interface RunProcess {
  readonly host: string
  readonly pid: number
  /** When the process began, in the system's own units, where it says so: a pid alone is used again. */
  readonly born?: string
}

/** The machine, as far as it explains a timing. */
export interface Machine {
  readonly platform: string
  readonly arch: string
  readonly processor: string
  readonly cores: number
  /** Bytes of main memory. */
  readonly memory: number
}

/** Contents of `run.json`. Times are ISO 8601 in UTC. */
export interface RunRecord {
  readonly id: string
  /** The verb: `train`, `adapt`, `merge`, `reproduce`, ... */
  readonly command: string
  /** The method, paper or model that it is about, where there is one. */
  readonly subject?: string
  /** The arguments as typed, so that the run can be repeated. */
  readonly argv: readonly string[]
  readonly config: { readonly [key: string]: Json }
  readonly seed?: number
  readonly versions: { readonly [name: string]: string }
  readonly machine: Machine
  readonly process: RunProcess
  /** The commit of the working folder's repository, with `+` when files differ from it. */
  readonly commit?: string
  readonly started: string
  readonly ended?: string
  readonly status: RunStatus
  /** Result of the run: a table of claims, an output folder, final numbers. */
  readonly result?: Json
  readonly error?: { readonly code: string; readonly message: string }
}

/** Numbers logged together. */
export type Metrics = { readonly [name: string]: number }

/** A line of `metrics.jsonl`, where the values stand beside `time`, `series` and `step`: `{"step":3,"loss":0.5}`. */
export interface MetricsRow {
  /** ISO 8601. */
  readonly time?: string
  /** A named series of the run: an arm and its seed, for example. */
  readonly series?: string
  readonly step?: number
  readonly values: Metrics
}

/** Names inside a run's folder. */
export const files = {
  record: 'run.json',
  metrics: 'metrics.jsonl',
  log: 'log.txt',
  plots: 'plots.json',
} as const
