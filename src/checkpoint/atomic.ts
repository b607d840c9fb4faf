/** @file Files that appear under their final name complete, or not at all. */
import { mkdir, open, rename, rm, type FileHandle } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

let counter = 0

/** Makes a rename durable. Folders cannot be opened everywhere (Windows); there the file system sees to it. */
const syncFolder = async (folder: string): Promise<void> => {
  const handle = await open(folder, 'r').catch(() => undefined)
  await handle?.sync().catch(() => undefined)
  await handle?.close()
}

/** A file beside its final place, moved there by `commit`. Until then the final name is untouched. */
export class TemporaryFile {
  private constructor(
    readonly final: string,
    private readonly path: string,
    private readonly handle: FileHandle,
  ) {}

  /** Makes the folder too, when it is missing. */
  static async create(final: string): Promise<TemporaryFile> {
    const folder = dirname(final)
    await mkdir(folder, { recursive: true })
    const path = join(folder, `.${basename(final)}.${process.pid}-${counter++}.tmp`)
    return new TemporaryFile(final, path, await open(path, 'wx'))
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    for (let at = 0; at < bytes.length;)
      at += (await this.handle.write(bytes, at, bytes.length - at, position + at)).bytesWritten
  }

  /** Brings the bytes to the disk and closes; still under the temporary name. */
  async seal(): Promise<void> {
    await this.handle.sync()
    await this.handle.close()
  }

  /** Gives a sealed file its final name. */
  async publish(): Promise<void> {
    await rename(this.path, this.final)
    await syncFolder(dirname(this.final))
  }

  /** Removes it, whatever its state; a published file stays. */
  async discard(): Promise<void> {
    await this.handle.close().catch(() => undefined)
    await rm(this.path, { force: true })
  }
}

/** Writes `content`, a text or bytes [n], to `path` through a temporary file, fsync and rename. */
export const writeFileAtomic = async (path: string, content: string | Uint8Array): Promise<void> => {
  const file = await TemporaryFile.create(path)
  try {
    await file.write(typeof content === 'string' ? new TextEncoder().encode(content) : content, 0)
    await file.seal()
    await file.publish()
  } catch (error) {
    await file.discard()
    throw error
  }
}
