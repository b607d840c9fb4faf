/** @file Bytes at an offset, from a file in Node or a Blob (a File) in a browser, and their lines. */
import { CheckpointError } from '../errors.js'

/** An open source of bytes. */
export interface ByteReader {
  /** Up to `length` bytes from `offset` on; fewer only at the end. */
  read(offset: number, length: number): Promise<Uint8Array>
  /** In bytes, when it was opened. */
  readonly size: number
  close(): Promise<void>
}

const openFile = async (path: string): Promise<ByteReader> => {
  const { open } = await import('node:fs/promises')
  try {
    const file = await open(path, 'r')
    const stat = await file.stat()
    if (stat.isDirectory()) {
      await file.close()
      throw new Error('it is a folder; expected a file')
    }
    return {
      async read(offset, length) {
        const bytes = new Uint8Array(length)
        let n = 0
        while (n < length) {
          const { bytesRead } = await file.read(bytes, n, length - n, offset + n)
          if (bytesRead === 0) break
          n += bytesRead
        }
        return bytes.subarray(0, n)
      },
      size: stat.size,
      close: () => file.close(),
    }
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT'
    const what = missing ? 'no such file' : (cause as Error).message
    throw new CheckpointError(missing ? 'NoSuchFile' : 'UnreadableFile', `${path}: ${what}`, { cause })
  }
}

const openBlob = (blob: Blob): ByteReader => ({
  read: async (offset, length) => new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer()),
  size: blob.size,
  close: async () => {},
})

/** Name of a source in messages. */
export const nameOfSource = (source: string | Blob): string =>
  typeof source === 'string' ? source : source instanceof File ? source.name : 'blob'

/** Opens a file's path (Node) or a Blob. Throws CheckpointError for a file that is missing or cannot be read. */
export const openBytes = async (source: string | Blob): Promise<ByteReader> =>
  typeof source === 'string' ? openFile(source) : openBlob(source)

/** A line that is not blank. `bytes` lacks its line feed; undefined when it is longer than the limit. */
export interface Line {
  /** Where it starts in the source, in bytes. */
  offset: number
  length: number
  /** Counted from 1, blank lines included. */
  number: number
  bytes: Uint8Array | undefined
}

const lineFeed = 10
const chunkLength = 1 << 20

const isBlank = (bytes: Uint8Array): boolean => bytes.every((b) => b === 32 || b === 9 || b === 13)

const startsWithByteOrderMark = (bytes: Uint8Array): boolean =>
  bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf

const join = (pieces: readonly Uint8Array[], length: number): Uint8Array => {
  if (pieces.length === 1) return pieces[0]
  const whole = new Uint8Array(length)
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}

/**
 * The lines of a source in order, blank ones left out, a byte order mark too. Memory: one chunk of 1 MiB and one line
 * of at most `limit` bytes; the bytes of a longer line are not kept.
 */
export async function* readLines(reader: ByteReader, limit: number): AsyncGenerator<Line> {
  let pieces: Uint8Array[] = []
  let [offset, length, number] = [0, 0, 0]
  const take = (piece: Uint8Array): void => {
    length += piece.length
    if (length > limit) pieces = []
    else if (piece.length > 0) pieces.push(piece)
  }
  const finish = (): Line | undefined => {
    const bytes = length > limit ? undefined : join(pieces, length)
    const line = { offset, length, number: ++number, bytes }
    offset += length + 1
    length = 0
    pieces = []
    return bytes && isBlank(bytes) ? undefined : line
  }
  for (let position = 0; ;) {
    let chunk = await reader.read(position, chunkLength)
    if (chunk.length === 0) break
    const last = chunk.length < chunkLength
    position += chunk.length
    if (offset === 0 && position === chunk.length && startsWithByteOrderMark(chunk)) {
      chunk = chunk.subarray(3)
      offset = 3
    }
    let from = 0
    for (let to = chunk.indexOf(lineFeed); to >= 0; to = chunk.indexOf(lineFeed, from)) {
      take(chunk.subarray(from, to))
      const line = finish()
      if (line) yield line
      from = to + 1
    }
    take(chunk.subarray(from))
    if (last) break
  }
  const line = length > 0 ? finish() : undefined
  if (line) yield line
}
