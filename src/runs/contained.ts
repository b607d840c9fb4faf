/**
 * @file Files that other programs may have left in a folder: opened without waiting, regular, inside the folder, and of
 * a bounded size. Whatever else bears the name is refused with a reason, never followed or waited for.
 */
import { constants } from 'node:fs'
import { open, realpath } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { isAbsolute, join, normalize, sep } from 'node:path'
import type { ZodType } from 'zod'
import { WeftError } from '../errors.js'

/** A file that is there and cannot be used; the message names it as its folder does, and says why. */
export class FileRefused extends WeftError {}

/** A file that is open for reading. The caller closes it. */
export interface OpenFile {
  readonly file: FileHandle
  /** Real path of the file. */
  readonly path: string
  /** Bytes. */
  readonly size: number
}

/** Bytes of a record (`run.json` and the like) at most. */
export const recordLimit: number = 16 * 2 ** 20
/** Objects and lists within each other in a record at most; deeper ones overflow the stack of whoever writes JSON. */
const deepest = 100

const isAbsent = (error: unknown): boolean =>
  ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')

const unreadable = (name: string, error: unknown): FileRefused => {
  const { code, message } = error as NodeJS.ErrnoException
  return new FileRefused('FileUnreadable', `${name} cannot be read (${code ?? message})`, { cause: error })
}

/** Whether `name` stays inside the folder that it is relative to, links aside. */
export const isInner = (name: string): boolean =>
  name !== '' && !name.includes('\0') && !isAbsolute(normalize(name)) && !name.split(/[\\/]/).includes('..')

/**
 * The real path of `name` in `folder`; undefined where there is none. Throws FileRefused for what lies outside, by its
 * name or by a link.
 */
export const containedPath = async (folder: string, name: string): Promise<string | undefined> => {
  const outside = new FileRefused('FileOutside', `${name} lies outside its folder`)
  if (!isInner(name)) throw outside
  try {
    const [root, path] = await Promise.all([realpath(folder), realpath(join(folder, name))])
    if (path.startsWith(root.endsWith(sep) ? root : root + sep)) return path
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw unreadable(name, error)
  }
  throw outside
}

/**
 * Opens the file `name` of `folder` for reading; undefined where there is none. Throws FileRefused for what is no regular
 * file inside the folder.
 */
export const openContained = async (folder: string, name: string): Promise<OpenFile | undefined> => {
  const path = await containedPath(folder, name)
  if (path === undefined) return undefined
  // A pipe would be waited for; a real path is no link, unless someone has just made it one.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW
  const file = await open(path, flags).catch((error: unknown) => {
    if (isAbsent(error)) return undefined
    throw unreadable(name, error)
  })
  if (file === undefined) return undefined
  const about = await file.stat()
  if (about.isFile()) return { file, path, size: about.size }
  await file.close()
  throw new FileRefused('FileNotRegular', `${name} is not a regular file`)
}

/** The text of the file `name` of `folder`; undefined where there is none. Throws FileRefused, also above `limit` bytes. */
export const readContained = async (
  folder: string,
  name: string,
  limit: number = recordLimit,
): Promise<string | undefined> => {
  const opened = await openContained(folder, name)
  if (opened === undefined) return undefined
  const { file, size } = opened
  try {
    if (size > limit)
      throw new FileRefused('FileTooLarge', `${name} has ${size} bytes; at most ${limit} are read`)
    const bytes = new Uint8Array(size)
    const { bytesRead } = await file.read(bytes, 0, size, 0)
    return new TextDecoder().decode(bytes.subarray(0, bytesRead))
  } finally {
    await file.close()
  }
}

/** Whether objects and lists stand at most `limit` deep in each other. */
const isShallow = (value: unknown, limit: number): boolean => {
  let level: unknown[] = [value]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > limit) return false
    level = level.flatMap((inner) =>
      typeof inner === 'object' && inner !== null ? (Object.values(inner) as unknown[]) : [],
    )
  }
  return true
}

/** `value` as the schema has it. Throws FileRefused that names `name` and the first field that is wrong. */
export const checkRecord = <T>(value: unknown, name: string, schema: ZodType<T>): T => {
  if (!isShallow(value, deepest))
    throw new FileRefused('BadRecord', `${name} is nested more than ${deepest} deep`)
  const { success, data, error } = schema.safeParse(value)
  if (success) return data
  const [{ path, message }] = error.issues
  throw new FileRefused('BadRecord', [name, path.join('.'), message].filter(Boolean).join(': '))
}

/** The JSON in `text`, checked. Throws FileRefused that names `name`, and the first field that is wrong. */
export const parseRecord = <T>(text: string, name: string, schema: ZodType<T>): T => {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new FileRefused('BadRecord', `${name} is not JSON: ${(cause as Error).message}`, { cause })
  }
  return checkRecord(value, name, schema)
}

/** The record in the file `name` of `folder`, checked; undefined where there is none. Throws FileRefused. */
export const readRecord = async <T>(
  folder: string,
  name: string,
  schema: ZodType<T>,
  limit: number = recordLimit,
): Promise<T | undefined> => {
  const text = await readContained(folder, name, limit)
  return text === undefined ? undefined : parseRecord(text, name, schema)
}
