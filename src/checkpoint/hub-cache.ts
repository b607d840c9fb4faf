/** @file The Hugging Face cache on disk: where it is, and where a model lies in it. */
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { CheckpointError } from '../errors.js'
import { isFolder } from './paths.js'

export type Environment = Readonly<Record<string, string | undefined>>

/** The cache's folder: HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else ~/.cache/.... */
export const hubCacheFolder = (env: Environment = process.env): string =>
  env.HF_HUB_CACHE ||
  join(env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface'), 'hub')

/** Whether HF_HUB_OFFLINE forbids the network. */
export const isOffline = (env: Environment = process.env): boolean =>
  /^(1|true|yes|on)$/i.test(env.HF_HUB_OFFLINE ?? '')

/** `org/name`, `name`, either with `@revision`; undefined when `id` is no such thing. */
export const parseHubId = (id: string): { id: string; revision?: string } | undefined => {
  const match = /^((?:[\w][\w.-]*\/)?[\w][\w.-]*)(?:@([\w][\w./-]*))?$/.exec(id)
  if (!match || /\.\.|--/.test(match[1]) || match[2]?.includes('..')) return undefined
  return { id: match[1], revision: match[2] }
}

/** Kind of a repository of the hub. */
export type RepositoryKind = 'model' | 'dataset'

/** The folder of one repository in the cache, which holds `blobs`, `refs` and `snapshots`. */
export const repositoryFolder = (kind: RepositoryKind, id: string, cache: string): string =>
  join(cache, `${kind}s--${id.replaceAll('/', '--')}`)

/** Place of the cache, and the kind of repository to look for. */
export interface CacheOptions {
  /** Branch, tag or commit. Default main. */
  readonly revision?: string
  /** The cache's folder. Default: of the environment. */
  readonly cache?: string
  /** Default model. */
  readonly kind?: RepositoryKind
}

/**
 * The snapshot of `id` (`org/name`, maybe with `@revision`) in the cache, or undefined when it is not there.
 * `revision`: a branch, tag or commit ("main"). Throws CheckpointError for what is no revision.
 */
export const findCached = async (
  id: string,
  { revision, cache = hubCacheFolder(), kind = 'model' }: CacheOptions = {},
): Promise<string | undefined> => {
  const parsed = parseHubId(id)
  if (!parsed) return undefined
  const folder = repositoryFolder(kind, parsed.id, cache)
  const wanted = revision ?? parsed.revision ?? 'main'
  if (wanted.includes('..'))
    throw new CheckpointError('BadRevision', `${id}: ${JSON.stringify(wanted)} is no revision.`)
  const commit = await readFile(join(folder, 'refs', wanted), 'utf8').catch(() => wanted)
  const snapshot = join(folder, 'snapshots', commit.trim())
  return (await isFolder(snapshot)) ? snapshot : undefined
}
