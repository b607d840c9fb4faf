/** @file Opening a checkpoint by the name a user types: a folder, a safetensors file, or a hub id in the cache. */
import { realpath, stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { CheckpointError } from '../errors.js'
import type { Checkpoint } from './checkpoint.js'
import { diskFiles } from './disk.js'
import { floatCopies } from './float-copies.js'
import { type FolderOptions, openFile, openFolder } from './folder.js'
import { findCached, hubCacheFolder, parseHubId } from './hub-cache.js'

/** Options of `open`. */
export interface OpenOptions extends FolderOptions {
  /** The branch, tag or commit of a hub id ("main"); `id@revision` says the same. */
  readonly revision?: string
  /** The hub's cache folder; by default from the environment (HF_HUB_CACHE, HF_HOME). */
  readonly cache?: string
  /** Receives the checkpoint's warnings. Default: console.warn. */
  readonly onWarning?: (message: string) => void
}

/**
 * The folder or file that `model` names: itself when it exists, else its snapshot in the hub's cache.
 * Throws CheckpointError that says `weft pull ID` when it is neither.
 */
export const resolveModel = async (model: string, options: OpenOptions = {}): Promise<string> => {
  if (await stat(model).catch(() => undefined)) return model
  const cached = await findCached(model, options)
  if (cached) return cached
  const id = parseHubId(model)
  throw new CheckpointError(
    'NoSuchModel',
    id
      ? `${model}: no such folder, and no such model in the cache (${options.cache ?? hubCacheFolder()}).`
      : `${model}: no such folder or file.`,
    id && { hint: `If it is a model of the hub, fetch it first: weft pull ${model}` },
  )
}

/**
 * Opens a Hugging Face folder, a single .safetensors file, or a hub id that is in the cache. Headers are read and
 * checked; tensors are read on demand. Throws CheckpointError naming file, tensor and cause for anything broken.
 */
export const open = async (model: string, options: OpenOptions = {}): Promise<Checkpoint> => {
  const path = await resolveModel(model, options)
  if ((await stat(path)).isDirectory()) {
    const checkpoint = await openFolder(diskFiles(path), options)
    const { onWarning = console.warn } = options
    for (const warning of checkpoint.warnings) onWarning(warning)
    return checkpoint.withCopies(floatCopies(checkpoint))
  }
  // A file that the user names may be a link to anywhere; only files that a folder names may not.
  const file = await realpath(path)
  const checkpoint = await openFile(diskFiles(dirname(file)), basename(file))
  return checkpoint.withCopies(floatCopies(checkpoint))
}
