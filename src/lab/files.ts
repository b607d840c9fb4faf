/** @file Files under a configured root, and no others: neither `..` nor a symbolic link leads outside. */
import { constants } from 'node:fs'
import { open, realpath } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { isAbsolute, join, normalize, sep } from 'node:path'
import { notFound } from './errors.js'

/**
 * The real path of `relative` under `root`. Throws HttpError 404 for what is not there and for what lies elsewhere,
 * alike, so that nobody learns which files exist.
 */
export const inside = async (root: string, relative: string): Promise<string> => {
  const path = normalize(relative)
  const refused = notFound('file', relative)
  if (
    relative === '' ||
    relative.includes('\0') ||
    isAbsolute(path) ||
    relative.split(/[\\/]/).includes('..')
  )
    throw refused
  try {
    const [base, real] = await Promise.all([realpath(root), realpath(join(root, path))])
    if (real.startsWith(base.endsWith(sep) ? base : base + sep)) return real
  } catch {
    // Refused below, like what lies outside.
  }
  throw refused
}

/** An open file and its size. The caller closes it. Throws HttpError 404 like `inside`, and for what is no plain file. */
export const openInside = async (
  root: string,
  relative: string,
): Promise<{ file: FileHandle; path: string; size: number }> => {
  const path = await inside(root, relative)
  // A pipe would be waited for; the real path is no link unless someone has just made it one.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW).catch(
    () => {
      throw notFound('file', relative)
    },
  )
  const found = await file.stat()
  if (found.isFile()) return { file, path, size: found.size }
  await file.close()
  throw notFound('file', relative)
}

/** The `length` bytes of a file from `from` on, fewer at its end. */
export const readPart = async (file: FileHandle, from: number, length: number): Promise<Uint8Array> => {
  const bytes = new Uint8Array(length)
  const { bytesRead } = await file.read(bytes, 0, length, from)
  return bytes.subarray(0, bytesRead)
}
