/** @file Jobs, as the lab's JSON has them. */

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
