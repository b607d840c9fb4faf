/** @file Small text files of a model's folder (Node). */
import { parseReadOnly } from '../checkpoint/web.js'
import { CheckpointError } from '../errors.js'

/** The text of a file, or undefined when there is none. Throws CheckpointError when it cannot be read. */
export const readText = async (path: string): Promise<string | undefined> => {
  const { readFile } = await import('node:fs/promises')
  try {
    return await readFile(path, 'utf8')
  } catch (cause) {
    if (['ENOENT', 'ENOTDIR'].includes((cause as NodeJS.ErrnoException).code ?? '')) return undefined
    throw new CheckpointError('UnreadableFile', `${path}: ${(cause as Error).message}`, { cause })
  }
}

/** The parsed JSON of a file, or undefined when there is none. Throws CheckpointError `code` for invalid JSON. */
export const readJson = async (path: string, code: string): Promise<unknown> => {
  const text = await readText(path)
  if (text === undefined) return undefined
  return parseReadOnly(text, path, code)
}

export const isObject = (x: unknown): x is Record<string, unknown> =>
  typeof x === 'object' && x !== null && !Array.isArray(x)
