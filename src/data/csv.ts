/** @file CSV and TSV: a header that names the columns, and a record a line or several. Node only. */
import { isUtf8 } from 'node:buffer'
import type { Parser } from 'csv-parse'
import { CheckpointError } from '../errors.js'
import type { ByteReader } from './bytes.js'
import type { Dataset } from './dataset.js'
import { type FileFormat, type Piece, recordFile, type RecordFileOptions } from './record-file.js'
import { malformed, type ReadRow, type Row } from './row.js'

const chunkLength = 1 << 20

/** The bytes in chunks, and last `undefined`. */
async function* chunksOf(reader: ByteReader): AsyncGenerator<Uint8Array | undefined> {
  for (let position = 0; ;) {
    const chunk = await reader.read(position, chunkLength)
    yield chunk.length > 0 ? chunk : undefined
    if (chunk.length === 0) return
    position += chunk.length
  }
}

/** A record that csv-parse has read, and how many bytes of the file lie up to its end. */
interface Parsed {
  readonly fields: string[]
  readonly end: number
}

const dialect = (delimiter: string, limit: number) => ({
  ...{ delimiter, record_delimiter: ['\r\n', '\n'], max_record_size: limit },
  ...{ relax_column_count: true, relax_quotes: true, skip_empty_lines: true },
})

const lineFeed = 10
const carriageReturn = 13

/** What has been read of a file and not been taken yet, and the line on which it begins. */
class Rest {
  #bytes = new Uint8Array(0)
  #line = 1
  /** How many bytes of the file have been taken. */
  taken = 0

  add(chunk: Uint8Array): void {
    const longer = new Uint8Array(this.#bytes.length + chunk.length)
    longer.set(this.#bytes)
    longer.set(chunk, this.#bytes.length)
    this.#bytes = longer
  }

  /** Line of the first record that is left: blank lines are taken. */
  line(): number {
    let blank = 0
    while (this.#bytes[blank] === lineFeed || this.#bytes[blank] === carriageReturn) blank++
    this.#take(blank)
    return this.#line
  }

  /** Whether what lies before byte `end` of the file is text in UTF-8. */
  isText(end: number): boolean {
    const bytes = this.#bytes.subarray(0, end - this.taken)
    return isUtf8(bytes) && !bytes.includes(0)
  }

  /** Takes what lies before byte `end` of the file. */
  takeTo(end: number): void {
    this.#take(end - this.taken)
  }

  #take(length: number): void {
    for (let i = 0; i < length; i++) if (this.#bytes[i] === lineFeed) this.#line++
    this.#bytes = this.#bytes.subarray(length)
    this.taken += length
  }
}

/** The records of a file as csv-parse finds them, all that came before an error included. */
class Records {
  readonly #queue: Parsed[] = []
  readonly #parser: Parser

  constructor(parse: typeof import('csv-parse').parse, settings: ReturnType<typeof dialect>) {
    const on_record = (fields: string[], { bytes }: { bytes: number }): null => {
      this.#queue.push({ fields, end: bytes })
      return null
    }
    this.#parser = parse({ ...settings, bom: true, on_record })
    this.#parser.resume()
  }

  /** What a chunk completes, or (without one) the file's end; throws csv-parse's error behind the records before it. */
  async *after(chunk?: Uint8Array): AsyncGenerator<Parsed> {
    const error = await new Promise<Error | undefined>((resolve) => {
      const done = (failure?: Error | null): void => resolve(failure ?? undefined)
      this.#parser.once('error', done)
      if (chunk) this.#parser.write(chunk, done)
      else this.#parser.end(done)
    })
    yield* this.#queue.splice(0)
    if (error) throw error
    this.#parser.removeAllListeners('error')
  }
}

const wrongHeader = (name: string, what: string): CheckpointError =>
  new CheckpointError('BadHeader', `${name}:1: ${what}`, {
    hint: 'The first line must name the columns, each by a name of its own.',
  })

/** The header's names. Throws CheckpointError for a column without a name, and for two of one name. */
const headerOf = (fields: readonly string[], name: string): readonly string[] => {
  const names = fields.map((field) => field.trim())
  // An index that pandas wrote stands first and has no name.
  const empty = names.indexOf('', 1)
  if (empty > 0) throw wrongHeader(name, `column ${empty + 1} has no name`)
  const twice = names.find((column, i) => names.indexOf(column) !== i)
  if (twice !== undefined) throw wrongHeader(name, `two columns are named "${twice}"`)
  return names
}

const rowOf = (header: readonly string[], fields: readonly string[], where: string, isText: boolean): Row => {
  if (!isText) throw malformed(where, 'not valid UTF-8')
  if (fields.length !== header.length)
    throw malformed(where, `it has ${fields.length} fields; the header names ${header.length} columns`)
  return Object.fromEntries(header.map((column, i) => [column, fields[i]]))
}

type CsvError = Error & { readonly code: string }

const isCsvError = (error: unknown): error is CsvError =>
  error instanceof Error && String((error as Partial<CsvError>).code).startsWith('CSV_')

const said = ({ code, message }: CsvError): string =>
  code === 'CSV_QUOTE_NOT_CLOSED' ? 'a quote is opened here and never closed' : message

class Csv implements FileFormat {
  #header: readonly string[] = []
  #parse: typeof import('csv-parse/sync').parse | undefined

  constructor(
    private readonly delimiter: string,
    private readonly limit: number,
  ) {}

  async *pieces(reader: ByteReader, name: string): AsyncGenerator<Piece> {
    const [{ parse }, sync] = await Promise.all([import('csv-parse'), import('csv-parse/sync')])
    this.#parse = sync.parse
    const records = new Records(parse, dialect(this.delimiter, this.limit))
    const rest = new Rest()
    let header: readonly string[] | undefined
    try {
      for await (const chunk of chunksOf(reader)) {
        if (chunk) rest.add(chunk)
        for await (const { fields, end } of records.after(chunk)) {
          const line = rest.line()
          const offset = rest.taken
          const columns = header
          const isText = rest.isText(end)
          if (columns)
            yield {
              offset,
              length: end - offset,
              line,
              row: (where) => rowOf(columns, fields, where, isText),
            }
          else if (!isText) throw wrongHeader(name, 'not valid UTF-8')
          else this.#header = header = headerOf(fields, name)
          rest.takeTo(end)
        }
      }
    } catch (error) {
      if (!isCsvError(error)) throw error
      throw malformed(`${name}:${rest.line()}`, said(error), { cause: error })
    }
  }

  row(bytes: Uint8Array, where: string): Row {
    const [fields] = this.#parse!(bytes, dialect(this.delimiter, this.limit)) as string[][]
    return rowOf(this.#header, fields, where, isUtf8(bytes))
  }
}

/** Form of a CSV file. */
export interface CsvOptions extends RecordFileOptions {
  /** Character between fields. Default a comma. */
  delimiter?: string
}

/**
 * The rows of a CSV file (its path) or Blob, as `read` makes records of them: the first line names the columns, every
 * field is a string, quotes as RFC 4180 has them. A malformed row is a CheckpointError that starts with FILE:LINE, or is
 * skipped on request; a quote that nothing closes cannot be skipped. Node only.
 */
export const csvRows = <R>(
  source: string | Blob,
  read: ReadRow<R>,
  { delimiter = ',', maxLineBytes = 16 * 2 ** 20, ...options }: CsvOptions = {},
): Dataset<R> => recordFile(source, new Csv(delimiter, maxLineBytes), read, options)
