/** @file Files that only one process can make. */
import { randomUUID } from 'node:crypto'
import { link, open, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/**
 * Puts `content` in a file at `path`, complete, and only where there is none: a link to an existing name fails. Returns
 * whether it was made.
 * Throws Error where the file system fails.
 */
export const createExclusive = async (path: string, content: string): Promise<boolean> => {
  const temporary = join(dirname(path), `.${basename(path)}.${randomUUID()}.tmp`)
  const file = await open(temporary, 'wx')
  try {
    await file.writeFile(content)
    await file.sync()
    await file.close()
    await link(temporary, path).catch((error: NodeJS.ErrnoException) => {
      // Some file systems have no links; there the file is as exclusive, and a crash may cut it short.
      if (!['EPERM', 'ENOSYS', 'ENOTSUP'].includes(error.code ?? '')) throw error
      return writeFile(path, content, { flag: 'wx' })
    })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    return false
  } finally {
    await file.close().catch(() => undefined)
    await rm(temporary, { force: true })
  }
}
