/** @file A model's folder to a hub: one commit, large files by the hub's upload protocol; what arrived is not sent again. */
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { RemoteError, UsageError } from '../errors.js'
import { type Environment, parseHubId } from './hub-cache.js'
import { endpointOf, isModelFile } from './pull.js'

/** A step of a push. `progress`: of the file, from 0 to 1. */
export interface PushEvent {
  readonly file: string
  readonly status: 'hashing' | 'uploading'
  readonly progress: number
}

/** Options of `push`. */
export interface PushOptions {
  /** Whether a repository that is made anew can be seen by everybody. Default false. */
  readonly public?: boolean
  /** Branch that is committed to. Default main. */
  readonly revision?: string
  /** First line of the commit's message. Default "Upload with weft". */
  readonly message?: string
  /** Texts of files in place of those in the folder, or beside them: { 'README.md': '...' }. */
  readonly texts?: Readonly<Record<string, string>>
  /** Choice among the folder's files. Default: those of a model, without what a run keeps for itself. */
  readonly files?: (file: string) => boolean
  /** Address of the hub; by default HF_ENDPOINT, else https://huggingface.co. */
  readonly endpoint?: string
  /** Token that may write; by default HF_TOKEN. */
  readonly token?: string
  /** Listener to what is sent. */
  readonly onProgress?: (event: PushEvent) => void
  /** Signal that ends the push: nothing is committed, and what has arrived is not sent again next time. */
  readonly signal?: AbortSignal
  /** How often a request that failed for a passing reason is repeated. Default 3. */
  readonly retries?: number
  /** Milliseconds before the first repetition, doubled with each. Default 500. */
  readonly backoff?: number
  /** Variables of the environment; by default the process's. */
  readonly env?: Environment
}

/** Result of a push. */
export interface Pushed {
  readonly id: string
  readonly url: string
  readonly commit: string
  readonly files: readonly string[]
}

/** Files of a run that are no part of its model. */
const ofTheRun = new Set(['run.json', 'plots.json', 'metrics.json'])

/** Files of a folder that belong to its model, sorted. Throws UsageError (NoSuchFolder) for a folder that cannot be listed. */
export const pushedFiles = async (
  folder: string,
  wanted: (file: string) => boolean = (file) => isModelFile(file) && !ofTheRun.has(file),
): Promise<string[]> => {
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: unknown) => {
    throw new UsageError('NoSuchFolder', `${folder}: ${(cause as Error).message}`, { cause })
  })
  const names = entries.filter((entry) => entry.isFile() || entry.isSymbolicLink()).map(({ name }) => name)
  return names.filter(wanted).sort()
}

/** Requests that are repeated after failures that may pass, where their body can be sent again. */
const patientFetch =
  ({ retries = 3, backoff = 500, signal }: PushOptions): typeof fetch =>
  async (input, init) => {
    const again = !(init?.body instanceof ReadableStream)
    for (let failures = 0; ; failures++) {
      const last = !again || failures >= retries
      const answer = await fetch(input, { ...init, signal }).catch((cause: unknown) => {
        signal?.throwIfAborted()
        if (last) throw new RemoteError('Unreachable', `the hub: ${(cause as Error).message}`, { cause })
        return undefined
      })
      if (answer && (last || (answer.status < 500 && answer.status !== 429))) return answer
      await answer?.body?.cancel()
      await sleep(backoff * 2 ** failures, undefined, { signal })
    }
  }

const refusal = (error: unknown, id: string): unknown => {
  const { statusCode } = error as { statusCode?: number }
  if (statusCode === undefined) return error
  const hint =
    statusCode === 401 || statusCode === 403
      ? 'Set HF_TOKEN to a token that may write to it.'
      : statusCode === 404
        ? 'Check the id: org/name, of an organisation that you belong to.'
        : 'Push again: what has arrived is not sent again.'
  const message = `${id}: ${(error as Error).message} (HTTP ${statusCode})`
  return new RemoteError('Refused', message, { cause: error, hint })
}

/** What is committed: the folder's files, read as they are sent, and texts. */
const operationsOf = async (
  folder: string,
  files: readonly string[],
  texts: Readonly<Record<string, string>>,
) => {
  const ofDisk = files.filter((file) => !Object.hasOwn(texts, file))
  for (const file of ofDisk) await stat(join(folder, file))
  return [
    ...ofDisk.map((path) => ({
      operation: 'addOrUpdate' as const,
      path,
      content: pathToFileURL(join(folder, path)),
    })),
    ...Object.entries(texts).map(([path, text]) => ({
      operation: 'addOrUpdate' as const,
      path,
      content: new Blob([text]),
    })),
  ]
}

/**
 * Commits the model in `folder` to the repository `id` (`org/name`) of a hub, which is made (private, unless asked
 * otherwise) where there is none. Large files go by the hub's protocol for them before the commit, so that a push that was
 * cut off sends only what has not arrived. Throws UsageError for what is no id, a folder without files and a missing token,
 * RemoteError where the hub refuses.
 */
export const push = async (folder: string, id: string, options: PushOptions = {}): Promise<Pushed> => {
  const { env = process.env, texts = {}, onProgress, signal } = options
  const parsed = parseHubId(id)
  if (!parsed || parsed.revision !== undefined)
    throw new UsageError('BadModelId', `${JSON.stringify(id)} is no model id.`, {
      hint: 'Expected org/name.',
    })
  const files = await pushedFiles(folder, options.files)
  if (files.length === 0) throw new UsageError('NoFiles', `${folder}: it has no file of a model`)
  const token = options.token ?? env.HF_TOKEN
  if (!token)
    throw new UsageError('NoToken', `${id}: pushing needs a token`, {
      hint: 'Set HF_TOKEN to one that may write.',
    })
  const hubUrl = endpointOf(options.endpoint, env)
  const { commitIter, createRepo } = await import('@huggingface/hub')
  const common = {
    repo: { type: 'model' as const, name: id },
    accessToken: token,
    hubUrl,
    fetch: patientFetch(options),
  }
  try {
    await createRepo({ ...common, visibility: options.public ? 'public' : 'private' }).catch(
      (error: unknown) => {
        if ((error as { statusCode?: number }).statusCode !== 409) throw error
      },
    )
    const commits = commitIter({
      ...common,
      title: options.message ?? 'Upload with weft',
      branch: options.revision ?? 'main',
      operations: await operationsOf(folder, files, texts),
      useXet: false,
      abortSignal: signal,
    })
    for (;;) {
      const { done, value } = await commits.next()
      if (done) {
        const names = [...new Set([...files, ...Object.keys(texts)])].sort()
        return { id, url: `${hubUrl}/${id}`, commit: value?.commit.oid ?? '', files: names }
      }
      if (value.event === 'fileProgress' && value.state !== 'error')
        onProgress?.({ file: value.path, status: value.state, progress: value.progress })
    }
  } catch (error) {
    signal?.throwIfAborted()
    throw refusal(error, id)
  }
}
