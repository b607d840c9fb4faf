/** @file Folders on disk: files that are read at any position and never lead out of their folder. */
import { readSync } from 'node:fs'
import { open as openHandle, readdir, realpath, stat, type FileHandle } from 'node:fs/promises'
import { basename, dirname, join, resolve, sep } from 'node:path'
import { CheckpointError } from '../errors.js'
import type { RandomAccess } from './checkpoint.js'
import type { Files } from './folder.js'

/** Large enough that a call costs nothing beside its copy, small enough to keep other work going in between. */
const chunkBytes = 8 << 20
/** Below this a trip through the thread pool takes longer than the copy. */
const directBytes = 1 << 20

class DiskFile implements RandomAccess {
  constructor(
    private readonly handle: FileHandle,
    readonly size: number,
    readonly path: string,
  ) {}

  async read(into: Uint8Array, offset: number): Promise<void> {
    for (let at = 0; at < into.length;) {
      const length = Math.min(chunkBytes, into.length - at)
      const bytesRead =
        length < directBytes
          ? readSync(this.handle.fd, into, at, length, offset + at)
          : (await this.handle.read(into, at, length, offset + at)).bytesRead
      if (bytesRead === 0)
        throw new Error(
          `the file ends at byte ${offset + at}, ${into.length - at} bytes early; it was changed while open.`,
        )
      at += bytesRead
    }
  }

  close(): Promise<void> {
    return this.handle.close()
  }
}

/** Where links from a folder may lead: into itself, and from a snapshot of the hub's cache into that cache's blobs. */
const roots = (folder: string): string[] =>
  basename(dirname(folder)) === 'snapshots' ? [folder, join(dirname(dirname(folder)), 'blobs')] : [folder]

/** Refusals of the file system as CheckpointErrors that name what was asked for. */
const onDisk = async <T>(shown: string, work: () => Promise<T>): Promise<T> => {
  try {
    return await work()
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new CheckpointError('MissingFile', `${shown}: no such file.`, { cause })
    throw new CheckpointError('ReadFailed', `${shown}: ${message}.`, { cause })
  }
}

/** The real path of `file` in `folder`. Throws CheckpointError when it is absent or a link leads out of the folder. */
export const pathInside = async (folder: string, file: string): Promise<string> => {
  const shown = join(folder, file)
  const root = await onDisk(folder, () => realpath(folder))
  const path = await onDisk(shown, () => realpath(resolve(root, file)))
  if (roots(root).some((allowed) => path.startsWith(allowed + sep))) return path
  throw new CheckpointError('PathLeavesFolder', `${shown}: it leads out of its folder.`)
}

/** The files of a folder on disk. Opening one throws CheckpointError where it is none, or leads out of the folder. */
export const diskFiles = (folder: string): Files => ({
  folder,
  list: () => onDisk(folder, () => readdir(folder)),
  open: async (file) => {
    const shown = join(folder, file)
    const path = await pathInside(folder, file)
    const status = await onDisk(shown, () => stat(path))
    // Asked before opening: opening a pipe would wait for its other end.
    if (!status.isFile()) throw new CheckpointError('NotAFile', `${shown}: not a regular file.`)
    return new DiskFile(await onDisk(shown, () => openHandle(path)), status.size, path)
  },
})
