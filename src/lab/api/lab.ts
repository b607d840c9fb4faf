/** @file The lab itself, and what happens in it, as its JSON has it. */
import type { Job } from './jobs.js'
import type { LeftOut } from './left-out.js'
import type { RunRow } from './runs.js'

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
  leftOut: LeftOutSummary
}

/** What is left out: how many things, and the first of them by path. */
export interface LeftOutSummary {
  total: number
  first: LeftOut[]
}

export interface LabEvents {
  run: RunRow
  job: Job
  /** A run has gone. */
  removed: { run: string }
  /** Votes or the catalogue have changed. */
  papers: { id: string | null }
}
