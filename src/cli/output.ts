/** @file Folders that verbs write: checked before anything costs time, filled without half-written states. */
import { access, constants, mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { UsageError } from '../errors.js'
import { removeMade } from '../runs/index.js'

/** When a folder that holds something may be written to. */
export interface OutputOptions {
  force?: boolean
  resume?: boolean
}

const isFolder = async (path: string): Promise<boolean | undefined> =>
  (await stat(path).catch(() => undefined))?.isDirectory()

/** The nearest folder around `path` that exists. Throws UsageError, which begins with `what`, where a file stands in its way. */
const existing = async (path: string, what: string): Promise<string> => {
  const there = await stat(path).then(
    (info) => info.isDirectory(),
    (error: NodeJS.ErrnoException) => (error.code === 'ENOTDIR' ? undefined : null),
  )
  if (there === true) return path
  if (there === false)
    throw new UsageError('BadOutput', `${what}: ${path} is a file; expected a folder or a new name`)
  return existing(dirname(path), what)
}

/**
 * Checks that the folder `path` can be written, or made where it is not there yet. Nothing is made. Throws UsageError,
 * which begins with `what`.
 */
export const checkFolder = async (path: string, what: string): Promise<void> => {
  const parent = await existing(resolve(path), what)
  await access(parent, constants.W_OK).catch((cause: Error) => {
    throw new UsageError('BadOutput', `${what}: ${parent} cannot be written: ${cause.message}`, { cause })
  })
}

/**
 * Checks that the folder `out` can be written: it is new or empty, or may be used again (`force`, `resume`). Nothing
 * is made. Throws UsageError.
 */
export const checkOutput = async (out: string, { force, resume }: OutputOptions): Promise<void> => {
  await checkFolder(out, `--out ${out}`)
  if (force || resume || !(await isFolder(out))) return
  const [first] = await readdir(out)
  if (first !== undefined)
    throw new UsageError('FolderInUse', `--out ${out}: the folder is not empty (${first})`, {
      hint: `Choose another folder, or overwrite it on purpose: --force${resume === undefined ? '' : '. To continue its run: --resume'}.`,
    })
}

const isWeights = (file: string): boolean => /\.safetensors(\.index\.json)?$/.test(file)

/**
 * Lets `save` write a folder, and moves what it wrote into `out`, in place of the weights that are there. Other files
 * of `out` stay. A folder that was made for it goes when `save` throws.
 */
export const saveInto = async (out: string, save: (folder: string) => Promise<void>): Promise<void> => {
  const fresh = join(out, '.saving')
  await rm(fresh, { recursive: true, force: true })
  const made = await mkdir(out, { recursive: true })
  try {
    await save(fresh)
    const files = await readdir(fresh)
    for (const old of await readdir(out)) if (isWeights(old) && !files.includes(old)) await rm(join(out, old))
    for (const file of files) {
      // A folder cannot be moved onto one that holds something.
      if (await isFolder(join(out, file))) await rm(join(out, file), { recursive: true, force: true })
      await rename(join(fresh, file), join(out, file))
    }
  } catch (error) {
    if (made !== undefined) await removeMade(out, made)
    throw error
  } finally {
    await rm(fresh, { recursive: true, force: true })
  }
}
