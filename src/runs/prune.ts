/** @file Removing runs. */
import { randomUUID } from 'node:crypto'
import { rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { readRun, readRuns } from './read.js'
import type { StoredRun } from './read.js'
import type { RunStatus } from './run.js'

/** Rules by which runs go. A run must fit every rule given; a running one never goes. */
export interface PruneRules {
  /** Only runs with one of these statuses. */
  readonly status?: readonly RunStatus[]
  /** Only runs that began before. */
  readonly before?: Date
  /** Only runs of this verb. */
  readonly command?: string
  /** The newest of those that fit stay. */
  readonly keep?: number
}

/** The runs under `home` that the rules choose, newest first. */
export const prunable = async (home: string, rules: PruneRules): Promise<StoredRun[]> => {
  const { status, before, command, keep = 0 } = rules
  const fits = (run: StoredRun): boolean =>
    run.status !== 'running' &&
    (!status || status.includes(run.status)) &&
    (!before || new Date(run.started) < before) &&
    (!command || run.command === command)
  return (await readRuns(home)).filter(fits).slice(keep)
}

/**
 * Removes a run's folder, unless somebody has resumed it since it was read. It is renamed first, so that a half-removed
 * one is never taken for a run. Returns whether it is gone.
 */
export const removeRun = async (run: StoredRun): Promise<boolean> => {
  if ((await readRun(run.folder))?.status === 'running') return false
  const away = join(dirname(run.folder), `.${run.id}.${randomUUID()}.removed`)
  await rename(run.folder, away)
  await rm(away, { recursive: true, force: true })
  return true
}
