/** @file Runs, as the lab's JSON has them. */
import type { LeftOut } from './left-out.js'
import type { Plot } from './plot.js'

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
  /** Files of it that could not be shown. */
  leftOut: LeftOut[]
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
  /** Lines of metrics.jsonl that are no rows, and were passed over. */
  skipped: number
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
