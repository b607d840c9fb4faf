/** @file Where data are: a file, a folder, a pattern, or a dataset of the hub in the cache. Node only. */
import { CheckpointError } from '../errors.js'
import type { CacheOptions } from '../checkpoint/index.js'

/** Files of rows, by the ends of their names. */
const isTable = /\.(jsonl|ndjson|csv|tsv|parquet)$/i
const isPattern = /[*?[\]{}]/

const patternFiles = async (pattern: string, cwd: string = '.'): Promise<string[]> => {
  const [{ glob }, { isAbsolute }] = await Promise.all([import('tinyglobby'), import('node:path')])
  const absolute = cwd !== '.' || isAbsolute(pattern)
  const files = await glob(pattern, { cwd, absolute, expandDirectories: false })
  return files.sort()
}

const tablesIn = (folder: string): Promise<string[]> =>
  patternFiles('**/*.{jsonl,ndjson,csv,tsv,parquet,JSONL,NDJSON,CSV,TSV,PARQUET}', folder)

/** The part of a dataset of the hub that a file belongs to, as datasets there name their files and folders. */
const isOfSplit = (file: string, split: string): boolean =>
  new RegExp(`(^|[/._-])${split.replace(/[^\w]/g, '\\$&')}([/._-]|$)`, 'i').test(file)

/** `org/name:split`: the split is `train` where files are named so, else all of the files. */
const hubFiles = async (where: string, options: CacheOptions): Promise<string[] | undefined> => {
  const { findCached, parseHubId } = await import('../checkpoint/index.js')
  const [id, split] = where.split(':', 2)
  if (!parseHubId(id)) return undefined
  const folder = await findCached(id, { ...options, kind: 'dataset' })
  if (!folder) return undefined
  const files = await tablesIn(folder)
  const part = files.filter((file) => isOfSplit(file.slice(folder.length), split ?? 'train'))
  if (split !== undefined && part.length === 0)
    throw new CheckpointError(
      'NoSuchSplit',
      `${id}: none of its ${files.length} files is named for "${split}"`,
    )
  return part.length > 0 ? part : files
}

/** Place of data: a folder of images, or files of rows. */
export type DataPlace =
  | { readonly kind: 'images'; readonly folder: string }
  | { readonly kind: 'rows'; readonly files: readonly string[] }

const missing = (where: string, id: boolean): CheckpointError =>
  new CheckpointError('NoSuchFile', `${where}: there is no such file or folder`, {
    hint: id ? `If it is a dataset of the hub, fetch it first: weft pull --dataset ${where}` : undefined,
  })

/**
 * Place that `where` names: a file, a folder with files of rows or else with images, a pattern (`data/*.parquet`), or a dataset
 * of the hub in the cache (`org/name`, `org/name:test`; of a dataset with parts the one named train). Nothing is opened.
 * Throws CheckpointError when there is no such thing.
 */
export const findData = async (where: string, options: CacheOptions = {}): Promise<DataPlace> => {
  const { stat } = await import('node:fs/promises')
  const { parseHubId } = await import('../checkpoint/index.js')
  const here = await stat(where).catch(() => undefined)
  if (here?.isDirectory()) {
    const files = await tablesIn(where)
    return files.length > 0 ? { kind: 'rows', files } : { kind: 'images', folder: where }
  }
  if (here) return { kind: 'rows', files: [where] }
  if (isPattern.test(where)) {
    const files = await patternFiles(where)
    if (files.length === 0) throw new CheckpointError('NoSuchFile', `${where}: no file is named so`)
    return { kind: 'rows', files }
  }
  const files = await hubFiles(where, options)
  if (!files) throw missing(where, parseHubId(where) !== undefined && !isTable.test(where))
  if (files.length === 0)
    throw new CheckpointError('EmptyDataset', `${where}: the dataset has no file of rows`)
  return { kind: 'rows', files }
}
