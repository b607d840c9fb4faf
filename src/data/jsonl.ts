/** @file JSONL: one JSON value a line. */
import { type ByteReader, type Line, readLines } from './bytes.js'
import type { Dataset } from './dataset.js'
import { type FileFormat, type Piece, recordFile, type RecordFileOptions } from './record-file.js'
import { malformed, type ReadRow } from './row.js'

const decoder = new TextDecoder('utf-8', { fatal: true })

const parse = (bytes: Uint8Array, where: string): unknown => {
  let text: string
  try {
    text = decoder.decode(bytes)
  } catch {
    throw malformed(where, 'not valid UTF-8')
  }
  try {
    return JSON.parse(text)
  } catch (error) {
    throw malformed(where, `not valid JSON: ${(error as Error).message}`)
  }
}

const format = (limit: number): FileFormat => {
  const row = (bytes: Uint8Array | undefined, where: string): unknown => {
    if (!bytes || bytes.length > limit)
      throw malformed(where, `the line is longer than ${limit} bytes (maxLineBytes)`)
    return parse(bytes, where)
  }
  const piece = ({ offset, length, number, bytes }: Line): Piece => ({
    ...{ offset, line: number },
    // Of a line that is too long no more is read again than shows it.
    length: Math.min(length, limit + 1),
    row: (where) => row(bytes, where),
  })
  return {
    async *pieces(reader: ByteReader) {
      for await (const line of readLines(reader, limit)) yield piece(line)
    },
    row,
  }
}

/**
 * The rows of a JSONL file (its path, in Node) or Blob, as `read` makes records of them. Line ends may be LF or CRLF;
 * blank lines and a byte order mark are ignored. A malformed line is a CheckpointError that starts with FILE:LINE, or is
 * skipped on request.
 */
export const jsonlRows = <R>(
  source: string | Blob,
  read: ReadRow<R>,
  { maxLineBytes = 16 * 2 ** 20, ...options }: RecordFileOptions = {},
): Dataset<R> => recordFile(source, format(maxLineBytes), read, options)
