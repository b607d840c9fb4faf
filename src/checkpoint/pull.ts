/** @file `weft pull`: a model from the hub into the Hugging Face cache, resumable and checked. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { copyFile, mkdir, rename, rm, stat, symlink } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { RemoteError, UsageError } from '../errors.js'
import { writeFileAtomic } from './atomic.js'
import { cancel, download, type Hub, hubJson, type RemoteFile, startDownload } from './hub.js'
import {
  type Environment,
  findCached,
  hubCacheFolder,
  isOffline,
  parseHubId,
  repositoryFolder,
  type RepositoryKind,
} from './hub-cache.js'
import { isJsonObject, type Json } from './json.js'
import { exists } from './paths.js'

/**
 * An event of a pull, in the words of transformers.js. `loaded` and `total` are bytes, `progress` percent;
 * `progress_total` counts all files, and comes only from hubs that announce their sizes beforehand.
 */
export type PullEvent =
  | { readonly status: 'initiate' | 'download' | 'done'; readonly name: string; readonly file: string }
  | {
      readonly status: 'progress'
      readonly name: string
      readonly file: string
      readonly loaded: number
      readonly total: number
      readonly progress: number
    }
  | {
      readonly status: 'progress_total'
      readonly name: string
      readonly loaded: number
      readonly total: number
      readonly progress: number
    }
  | { readonly status: 'ready'; readonly name: string; readonly folder: string }

/** Options of `pull`. */
export interface PullOptions {
  /** Default model. */
  readonly kind?: RepositoryKind
  /** Branch, tag or commit; "main" by default. `id@revision` says the same. */
  readonly revision?: string
  /** Address of the hub; by default HF_ENDPOINT, else https://huggingface.co. */
  readonly endpoint?: string
  /** Token for gated models; by default HF_TOKEN. It is sent to the endpoint's own host only, never to where it redirects. */
  readonly token?: string
  /** Answer from the cache alone; by default HF_HUB_OFFLINE. */
  readonly offline?: boolean
  /** The cache's folder; by default HF_HUB_CACHE, HF_HOME/hub, .... */
  readonly cache?: string
  /**
   * Choice among the files. Default, of a model: weights in safetensors (in PyTorch's form where there are no others), configuration, tokenizer, README and licence; of
   * a dataset: Parquet, CSV, TSV, JSONL, PNG and JPEG files and README.
   */
  readonly files?: (file: string) => boolean
  /** Listener to events, as often as they come. */
  readonly onProgress?: (event: PullEvent) => void
  /** Signal that ends the pull; what has come stays for the next. */
  readonly signal?: AbortSignal
  /** How often a request that failed for a passing reason is repeated without progress in between; 5. */
  readonly retries?: number
  /** Milliseconds before the first repetition, doubled with each; 500. `Retry-After` wins when it is longer. */
  readonly backoff?: number
  /** Milliseconds of silence after which a connection counts as cut; 60,000. */
  readonly stall?: number
  /** Variables of the environment; by default the process's. */
  readonly env?: Environment
}

/** A second copy of the weights: Mistral's own layout, or another precision (model.fp16.safetensors). */
const isSecondCopy = (file: string): boolean =>
  /^consolidated|^model\.[a-z0-9_]+(-\d+-of-\d+)?\.safetensors/.test(file)

/** Top-level files of a Transformers model or a PEFT adapter, without second copies of the weights. */
export const isModelFile = (file: string): boolean =>
  /^[^/]+\.(safetensors|json|txt|model|jinja|md)$|^LICEN[CS]E[^/]*$/.test(file) && !isSecondCopy(file)

/** Weights of a model or an adapter in PyTorch's form. */
const isPytorchWeights = (file: string): boolean => /^(pytorch|adapter)_model(-\d+-of-\d+)?\.bin$/.test(file)

/** Files of a dataset that can be read: tables and images. */
export const isDatasetFile = (file: string): boolean =>
  /\.(parquet|csv|tsv|jsonl|ndjson|png|jpe?g)$|^README\.md$/i.test(file)

const isWanted = { model: isModelFile, dataset: isDatasetFile }

/** The part of an address that says what a repository holds: models need none. */
const pathOf = (kind: RepositoryKind, id: string): string => (kind === 'model' ? id : `${kind}s/${id}`)

/** A name from the network becomes a path: only plain relative ones may. */
const isSafePath = (file: string): boolean =>
  !/[\\:\0]|^\//.test(file) && file.split('/').every((part) => part !== '' && part !== '.' && part !== '..')

interface Listing {
  commit: string
  files: RemoteFile[]
}

const readSibling = (entry: Json, url: string): RemoteFile => {
  const name = isJsonObject(entry) ? entry.rfilename : undefined
  if (!isJsonObject(entry) || typeof name !== 'string' || !isSafePath(name))
    throw new RemoteError('BadListing', `${url}: ${JSON.stringify(name ?? entry)} is no name of a file.`)
  const lfs = isJsonObject(entry.lfs) ? entry.lfs : {}
  const text = (json: Json | undefined): string | undefined => (typeof json === 'string' ? json : undefined)
  return {
    name,
    size: typeof entry.size === 'number' ? entry.size : undefined,
    sha256: text(lfs.sha256) ?? text(lfs.oid),
    gitBlob: isJsonObject(entry.lfs) ? undefined : text(entry.blobId),
  }
}

const list = async (hub: Hub, kind: RepositoryKind, id: string, revision: string): Promise<Listing> => {
  const url = `${hub.endpoint}/api/${kind}s/${id}/revision/${encodeURIComponent(revision)}?blobs=true`
  const { sha, siblings } = await hubJson(hub, url)
  if (typeof sha !== 'string' || !/^[\w.-]+$/.test(sha) || sha.startsWith('.') || !Array.isArray(siblings))
    throw new RemoteError('BadListing', `${url}: expected {sha, siblings: [{rfilename}, ...]}.`)
  return { commit: sha, files: siblings.map((entry) => readSibling(entry, url)) }
}

const hashFile = async (path: string, algorithm: string, prefix = ''): Promise<string> => {
  const hash = createHash(algorithm).update(prefix)
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }))
    hash.update(chunk as Uint8Array)
  return hash.digest('hex')
}

/** Throws RemoteError, and removes what was fetched, when size or digest are not what the hub announced. */
const verify = async (path: string, file: RemoteFile, etag: string, url: string): Promise<void> => {
  const { size } = await stat(path)
  const sha256 = file.sha256 ?? (/^[0-9a-f]{64}$/.test(etag) ? etag : undefined)
  const mismatch = async (): Promise<string | undefined> => {
    if (file.size !== undefined && size !== file.size) return `${size} bytes, announced were ${file.size}`
    if (sha256 && (await hashFile(path, 'sha256')) !== sha256) return `the SHA-256 is not ${sha256}`
    // A file outside LFS is named by git: the SHA-1 of "blob <size>", a zero byte and the content.
    if (file.gitBlob && (await hashFile(path, 'sha1', `blob ${size}\0`)) !== file.gitBlob)
      return `the git object is not ${file.gitBlob}`
    return undefined
  }
  const wrong = await mismatch()
  if (wrong === undefined) return
  await rm(path, { force: true })
  throw new RemoteError('Corrupted', `${url}: what arrived is not what was announced: ${wrong}.`, {
    hint: 'It was removed; pull again. If this repeats, the mirror or a proxy is at fault.',
  })
}

/** Links `blob` into the snapshot; where links are not allowed, copies it. */
const place = async (blob: string, target: string): Promise<void> => {
  await mkdir(dirname(target), { recursive: true })
  await rm(target, { force: true })
  await symlink(relative(dirname(target), blob), target).catch(() => copyFile(blob, target))
}

/** Brings one file into the cache: `blobs/ETAG`, and a link to it at `target`. */
const fetchFile = async (
  hub: Hub,
  url: string,
  file: RemoteFile,
  folder: string,
  target: string,
  report: (loaded: number, total: number) => void,
): Promise<void> => {
  const start = await startDownload(hub, url)
  const etag = start.etag ?? file.sha256 ?? createHash('sha256').update(url).digest('hex').slice(0, 40)
  const blob = join(folder, 'blobs', etag)
  if (await exists(blob)) await cancel(start)
  else {
    const partial = `${blob}.incomplete`
    await mkdir(dirname(blob), { recursive: true })
    await download(hub, url, start, partial, start.size ?? file.size, report)
    await verify(partial, file, etag, url)
    await rename(partial, blob)
  }
  await place(blob, target)
}

const offlineSnapshot = async (
  kind: RepositoryKind,
  id: string,
  revision: string,
  cache: string,
): Promise<string> => {
  const folder = await findCached(id, { kind, revision, cache })
  if (folder) return folder
  throw new RemoteError(
    'Offline',
    `${id}@${revision} is not in the cache (${cache}), and the network is off.`,
    {
      hint: 'Unset HF_HUB_OFFLINE (or the offline option) and pull again.',
    },
  )
}

const share = (loaded: number, total: number): { loaded: number; total: number; progress: number } => ({
  loaded,
  total,
  progress: total ? (100 * loaded) / total : 100,
})

/** Address of the hub, without a slash at the end. Throws UsageError for what is none. */
export const endpointOf = (stated: string | undefined, env: Environment): string => {
  const endpoint = (stated || env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '')
  if (URL.canParse(endpoint) && /^https?:$/.test(new URL(endpoint).protocol)) return endpoint
  throw new UsageError('BadEndpoint', `${JSON.stringify(endpoint)} is no address of a hub.`, {
    hint: 'Expected HF_ENDPOINT to begin with https:// or http://.',
  })
}

const hubOf = (options: PullOptions, env: Environment): Hub => ({
  endpoint: endpointOf(options.endpoint, env),
  token: options.token ?? env.HF_TOKEN,
  signal: options.signal,
  retries: options.retries ?? 5,
  backoff: options.backoff ?? 500,
  stall: options.stall ?? 60_000,
})

/**
 * Fetches the model (or dataset: `kind`) `id` (`org/name`, maybe `@revision`) into the Hugging Face cache and returns the
 * folder of its snapshot, which `open(id)`, or data named by the id, then finds too. What is there already is not fetched again; a pull that was cut off goes
 * on where it stopped. Sizes and digests are checked. The revision's reference moves when all files are there.
 * Throws RemoteError (no access, no such model, a server that keeps failing, content that is not what was announced),
 * UsageError for what is no id.
 */
export const pull = async (model: string, options: PullOptions = {}): Promise<string> => {
  const { env = process.env, kind = 'model' } = options
  const parsed = parseHubId(model)
  if (!parsed)
    throw new UsageError('BadModelId', `${JSON.stringify(model)} is no ${kind} id.`, {
      hint: 'Expected org/name, or org/name@revision.',
    })
  const { id } = parsed
  const revision = options.revision ?? parsed.revision ?? 'main'
  if (!isSafePath(revision))
    throw new UsageError('BadRevision', `${JSON.stringify(revision)} is no revision.`)
  const cache = options.cache ?? hubCacheFolder(env)
  const report = options.onProgress ?? ((): void => {})
  if (options.offline ?? isOffline(env)) return offlineSnapshot(kind, id, revision, cache)

  const hub = hubOf(options, env)
  const { commit, files } = await list(hub, kind, id, revision)
  const folder = repositoryFolder(kind, id, cache)
  const snapshot = join(folder, 'snapshots', commit)
  const usual = files.filter(({ name }) => (options.files ?? isWanted[kind])(name))
  // A model that has never been converted has PyTorch's files alone.
  const older = kind === 'model' && !options.files && !usual.some(({ name }) => name.endsWith('.safetensors'))
  const wanted = older ? [...usual, ...files.filter(({ name }) => isPytorchWeights(name))] : usual
  if (wanted.length === 0)
    throw new RemoteError('NoFiles', `${id}@${revision}: none of its ${files.length} files is one to fetch.`)
  const sizes = wanted.map(({ size }) => size ?? NaN)
  const all = sizes.reduce((sum, size) => sum + size, 0)
  let before = 0
  for (const [i, file] of wanted.entries()) {
    const event = { name: id, file: file.name }
    report({ status: 'initiate', ...event })
    const target = join(snapshot, ...file.name.split('/'))
    if (!(await exists(target))) {
      const url = `${hub.endpoint}/${pathOf(kind, id)}/resolve/${commit}/${file.name.split('/').map(encodeURIComponent).join('/')}`
      report({ status: 'download', ...event })
      await fetchFile(hub, url, file, folder, target, (loaded, total) => {
        report({ status: 'progress', ...event, ...share(loaded, total) })
        if (all > 0) report({ status: 'progress_total', name: id, ...share(before + loaded, all) })
      })
    }
    before += sizes[i]
    report({ status: 'done', ...event })
  }
  if (revision !== commit) await writeFileAtomic(join(folder, 'refs', revision), commit)
  report({ status: 'ready', name: id, folder: snapshot })
  return snapshot
}
