/** @file Files under a configured root, and no others: neither `..` nor a symbolic link leads outside. */
import type { FileHandle } from 'node:fs/promises'
import { containedPath, FileRefused, openContained } from '../runs/index.js'
import type { OpenFile } from '../runs/index.js'
import { notFound } from './errors.js'

/** What `read` gives; a 404 for what is not there and what may not be read alike, so that nobody learns which files exist. */
const orNotFound = async <T>(name: string, read: Promise<T | undefined>): Promise<T> => {
  const value = await read.catch((error: unknown) => {
    if (!(error instanceof FileRefused)) throw error
  })
  if (value === undefined) throw notFound('file', name)
  return value
}

/** The real path of `relative` under `root`. Throws HttpError 404. */
export const inside = (root: string, relative: string): Promise<string> =>
  orNotFound(relative, containedPath(root, relative))

/** An open file and its size. The caller closes it. Throws HttpError 404 like `inside`, and for what is no plain file. */
export const openInside = (root: string, relative: string): Promise<OpenFile> =>
  orNotFound(relative, openContained(root, relative))

/** The `length` bytes of a file from `from` on, fewer at its end. */
export const readPart = async (file: FileHandle, from: number, length: number): Promise<Uint8Array> => {
  const bytes = new Uint8Array(length)
  const { bytesRead } = await file.read(bytes, 0, length, from)
  return bytes.subarray(0, bytesRead)
}
