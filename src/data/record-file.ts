/** @file Files of records: streamed in order, or read at the offsets of an index that the first pass makes. */
import { type ByteReader, nameOfSource, openBytes } from './bytes.js'
import { type Dataset, datasetOf, type RecordReader, type RecordSource, type SkipOptions } from './dataset.js'
import { growing } from './growing.js'
import { isMalformed, type ReadRow } from './row.js'

/** Treatment of a file of records. */
export interface RecordFileOptions extends SkipOptions {
  /** The longest record that is read, in bytes; a longer one is malformed. Default 16 MiB. */
  maxLineBytes?: number
}

/** A record as it lies in its file. */
export interface Piece {
  /** Where it starts, in bytes. */
  readonly offset: number
  readonly length: number
  /** Number of its (first) line, counted from 1. */
  readonly line: number
  /** Its columns; throws CheckpointError that `where` opens. */
  row(where: string): unknown
}

/** How one file is cut into records. */
export interface FileFormat {
  /** Its records in order; a chunk and a record are in memory at a time. `name` opens messages. */
  pieces(reader: ByteReader, name: string): AsyncIterable<Piece>
  /** The columns of a record by its bytes; `pieces` has been gone through before. */
  row(bytes: Uint8Array, where: string): unknown
}

/** Where each record starts, how long it is and on which line it begins: 20 bytes of memory a record. */
interface Index {
  readonly offsets: Float64Array
  readonly lengths: Float64Array
  readonly lines: Uint32Array
}

/** An index that is being made. */
class Indexing {
  readonly #offsets = growing()
  readonly #lengths = growing()
  readonly #lines = growing()

  add({ offset, length, line }: Piece): void {
    this.#offsets.push(offset)
    this.#lengths.push(length)
    this.#lines.push(line)
  }

  done(): Index {
    const lines = Uint32Array.from(this.#lines.array())
    return { offsets: this.#offsets.array(), lengths: this.#lengths.array(), lines }
  }
}

class RecordFile<R> implements RecordSource<R> {
  readonly name: string
  readonly #source: string | Blob
  readonly #format: FileFormat
  readonly #read: ReadRow<R>
  readonly #skip: boolean
  readonly #malformed = new Set<number>()
  #index: Index | undefined

  constructor(
    source: string | Blob,
    format: FileFormat,
    read: ReadRow<R>,
    { skipMalformed = false }: SkipOptions,
  ) {
    this.name = nameOfSource(source)
    this.#source = source
    this.#format = format
    this.#read = read
    this.#skip = skipMalformed
  }

  get skipped(): number {
    return this.#malformed.size
  }

  async size(): Promise<number> {
    return (await this.#indexed()).offsets.length
  }

  async *entries(): AsyncGenerator<readonly [number, R]> {
    let number = 0
    for await (const piece of this.#pieces()) {
      const record = this.#record((where) => piece.row(where), piece.line)
      if (record !== undefined) yield [number, record]
      number++
    }
  }

  async open(): Promise<RecordReader<R>> {
    const { offsets, lengths, lines } = await this.#indexed()
    const reader = await openBytes(this.#source)
    return {
      at: async (i) => {
        const bytes = await reader.read(offsets[i], lengths[i])
        return this.#record((where) => this.#format.row(bytes, where), lines[i])
      },
      close: () => reader.close(),
    }
  }

  /** The file's pieces; having gone through them all leaves the index. */
  async *#pieces(): AsyncGenerator<Piece> {
    const reader = await openBytes(this.#source)
    const indexing = this.#index ? undefined : new Indexing()
    try {
      for await (const piece of this.#format.pieces(reader, this.name)) {
        indexing?.add(piece)
        yield piece
      }
    } finally {
      await reader.close()
    }
    if (indexing) this.#index ??= indexing.done()
  }

  /** The index, made on first need where no pass has left it. */
  async #indexed(): Promise<Index> {
    if (!this.#index) for await (const _ of this.#pieces());
    return this.#index!
  }

  #record(row: (where: string) => unknown, line: number): R | undefined {
    const where = `${this.name}:${line}`
    try {
      return this.#read(row(where), where)
    } catch (error) {
      if (!this.#skip || !isMalformed(error)) throw error
      this.#malformed.add(line)
      return undefined
    }
  }
}

/**
 * The records of a file (its path, in Node) or Blob, as `read` makes them of its rows. The first pass over it, whether
 * it is gone through for its records or for their number, leaves an index of 20 bytes a record, by which `pick` (and so
 * shuffling and splitting) reads single records. Nothing is read before. A malformed record is a CheckpointError that
 * starts with FILE:LINE, or is skipped on request.
 */
export const recordFile = <R>(
  source: string | Blob,
  format: FileFormat,
  read: ReadRow<R>,
  options: SkipOptions = {},
): Dataset<R> => datasetOf(new RecordFile(source, format, read, options))
