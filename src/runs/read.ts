/** @file Reading runs back. */
import { readdir, readFile } from 'node:fs/promises'
import { basename, join, relative, resolve, sep } from 'node:path'
import { UsageError, nearest } from '../errors.js'
import { isAlive } from './process.js'
import { files } from './run.js'
import type { RunRecord, RunStatus } from './run.js'

/** A run on the disk. */
export interface StoredRun extends RunRecord {
  readonly folder: string
}

const statuses: readonly RunStatus[] = ['running', 'finished', 'failed', 'cancelled', 'interrupted']

/** The run in `folder`; undefined where there is none that can be read. */
export const readRun = async (folder: string): Promise<StoredRun | undefined> => {
  const text = await readFile(join(folder, files.record), 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  try {
    const record = JSON.parse(text) as RunRecord
    if (!isRecord(record)) return undefined
    const gone = record.status === 'running' && !isAlive(record.process)
    // The folder's name counts: a folder may be renamed or copied.
    return { ...record, id: basename(resolve(folder)), status: gone ? 'interrupted' : record.status, folder }
  } catch {
    return undefined
  }
}

const isRecord = (record: RunRecord): boolean =>
  typeof record.command === 'string' &&
  typeof record.started === 'string' &&
  statuses.includes(record.status) &&
  typeof record.process === 'object' &&
  typeof record.config === 'object'

/** Every run under `home`, newest first. A `home` that does not exist has none. */
export const readRuns = async (home: string): Promise<StoredRun[]> => {
  const entries = await readdir(home, { withFileTypes: true }).catch(() => [])
  const folders = entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .map((entry) => join(home, entry.name))
  const runs: StoredRun[] = []
  // In slices: ten thousand open files at once are more than most systems allow.
  for (let at = 0; at < folders.length; at += 64)
    for (const run of await Promise.all(folders.slice(at, at + 64).map(readRun))) if (run) runs.push(run)
  return runs.sort((a, b) => (a.started < b.started ? 1 : a.started > b.started ? -1 : a.id < b.id ? 1 : -1))
}

/**
 * The run that `name` means: a folder, an id under `home`, a unique beginning or end of an id, or `latest`. Throws
 * UsageError UnknownRun or AmbiguousRun.
 */
export const findRun = async (home: string, name: string): Promise<StoredRun> => {
  const direct = (await readRun(join(home, name))) ?? (await readRun(name))
  if (direct) return direct
  const runs = await readRuns(home)
  if (name === 'latest' && runs.length) return runs[0]
  const matches = runs.filter(({ id }) => id.startsWith(name) || id.endsWith(name))
  if (matches.length === 1) return matches[0]
  const ids = runs.map(({ id }) => id)
  if (matches.length > 1)
    throw new UsageError('AmbiguousRun', `${matches.length} runs in ${home} match ${JSON.stringify(name)}`, {
      hint: `Among them: ${matches
        .slice(0, 3)
        .map((run) => run.id)
        .join(', ')}`,
    })
  throw new UsageError('UnknownRun', `no run ${JSON.stringify(name)} in ${home}`, {
    hint: ids.length
      ? `Nearest: ${nearest(name, ids).join(', ')}`
      : 'There are no runs there. List them: weft runs',
  })
}

/** A file that a run has made. */
export interface ArtifactFile {
  /** Relative to the run's folder, with `/` between its parts. */
  readonly name: string
  readonly path: string
}

/** The files of a run beside its record and metrics, in order of name. Links are not followed. */
export const artifactsOf = async (folder: string): Promise<ArtifactFile[]> => {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  const own: readonly string[] = [files.record, files.metrics]
  return entries
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.'))
    .map((entry) => {
      const path = join(entry.parentPath, entry.name)
      return { name: relative(folder, path).split(sep).join('/'), path }
    })
    .filter(({ name }) => !own.includes(name))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}
