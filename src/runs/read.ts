/** @file Reading runs back. */
import { readdir } from 'node:fs/promises'
import { basename, join, relative, resolve, sep } from 'node:path'
import { UsageError, nearest } from '../errors.js'
import { FileRefused, readRecord } from './contained.js'
import { isAlive } from './process.js'
import { files } from './run.js'
import { runRecord } from './schema.js'
import type { ReadRecord } from './schema.js'

/** A run on the disk. */
export interface StoredRun extends ReadRecord {
  readonly id: string
  readonly folder: string
}

/** Something that was found and could not be used. */
export interface LeftOut {
  /** Path of the folder of a run, or of a file. */
  readonly path: string
  /** Why it was left out, in words. */
  readonly reason: string
}

/**
 * The run in `folder`; undefined where there is none. Throws FileRefused for a record that cannot be read or does not say
 * what a run must.
 */
export const loadRun = async (folder: string): Promise<StoredRun | undefined> => {
  const record = await readRecord(folder, files.record, runRecord)
  if (record === undefined) return undefined
  const gone = record.status === 'running' && !isAlive(record.process)
  // The folder's name counts: a folder may be renamed or copied.
  return { ...record, id: basename(resolve(folder)), status: gone ? 'interrupted' : record.status, folder }
}

/** The run in `folder`; undefined where there is none that can be read. Throws Error where the file system fails. */
export const readRun = (folder: string): Promise<StoredRun | undefined> =>
  loadRun(folder).catch((error: unknown) => {
    if (error instanceof FileRefused) return undefined
    throw error
  })

/** The names of the folders under `home` that may be runs. Links are not followed. */
export const runFolders = async (home: string): Promise<string[]> => {
  const entries = await readdir(home, { withFileTypes: true }).catch(() => [])
  return entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith('.')).map(({ name }) => name)
}

/** Folders read at once: ten thousand open files are more than most systems allow. */
const slice = 64

/**
 * Every run under `home`, newest first. A `home` that does not exist has none. `leftOut` hears of each folder whose record
 * cannot be used.
 */
export const readRuns = async (home: string, leftOut?: (what: LeftOut) => void): Promise<StoredRun[]> => {
  const folders = await runFolders(home)
  const runs: StoredRun[] = []
  const load = async (id: string): Promise<void> => {
    try {
      const run = await loadRun(join(home, id))
      if (run) runs.push(run)
    } catch (error) {
      if (!(error instanceof FileRefused)) throw error
      leftOut?.({ path: id, reason: error.message })
    }
  }
  for (let at = 0; at < folders.length; at += slice)
    await Promise.all(folders.slice(at, at + slice).map(load))
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
  const recordFiles: readonly string[] = [files.record, files.metrics]
  return entries
    .filter((entry) => entry.isFile() && !entry.name.startsWith('.'))
    .map((entry) => {
      const path = join(entry.parentPath, entry.name)
      return { name: relative(folder, path).split(sep).join('/'), path }
    })
    .filter(({ name }) => !recordFiles.includes(name))
    .sort((a, b) => (a.name < b.name ? -1 : 1))
}
