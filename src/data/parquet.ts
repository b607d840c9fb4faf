/** @file Parquet: columns in row groups, of which single pages are read as rows are wanted. */
import type { AsyncBuffer, FileMetaData } from 'hyparquet'
import { CheckpointError } from '../errors.js'
import { type ByteReader, nameOfSource, openBytes } from './bytes.js'
import { type Dataset, datasetOf, type RecordReader, type RecordSource, type SkipOptions } from './dataset.js'
import type { Layout } from './parquet-pages.js'
import { isMalformed, type ReadRow, type Row } from './row.js'

/** Options of reading a Parquet file. */
export interface ParquetOptions extends SkipOptions {
  /** Columns that are read, where they are there. Default all. */
  columns?: Iterable<string>
}

/** Bytes of a block's pages above which no second block is kept. */
const keptBytes = 16 * 2 ** 20

const broken = (name: string, what: string, cause?: unknown): CheckpointError =>
  new CheckpointError('BrokenParquet', `${name}: ${what}`, { cause })

const magic = async (reader: ByteReader, offset: number): Promise<string> =>
  new TextDecoder('latin1').decode(await reader.read(offset, 4))

/** Whole numbers as numbers where they are exact, strings where not. */
const plain = (value: unknown): unknown => {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString()
  if (value instanceof Uint8Array || value instanceof Date) return value
  if (Array.isArray(value)) return value.map(plain)
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<unknown>, plain)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, v]) => [key, plain(v)]))
}

/** A file's description, checked against its size. */
const readMetadata = async (file: AsyncBuffer, reader: ByteReader, name: string): Promise<FileMetaData> => {
  const { parquetMetadataAsync } = await import('hyparquet')
  if (reader.size < 12 || (await magic(reader, 0)) !== 'PAR1')
    throw broken(name, 'it is no Parquet file: it does not begin with PAR1')
  if ((await magic(reader, reader.size - 4)) !== 'PAR1')
    throw broken(name, `it is cut off: its ${reader.size} bytes do not end with PAR1`)
  const metadata = await parquetMetadataAsync(file).catch((cause: unknown) => {
    throw broken(name, `its footer cannot be read: ${(cause as Error).message}`, cause)
  })
  for (const { columns } of metadata.row_groups)
    for (const { meta_data: column } of columns) {
      const start = Number(column?.dictionary_page_offset || column?.data_page_offset)
      const end = start + Number(column?.total_compressed_size)
      if (!(start >= 4 && end <= reader.size))
        throw broken(name, `its footer places a column at bytes ${start} to ${end} of ${reader.size}`)
    }
  return metadata
}

/** An open file, of which the blocks that were read last are kept. */
class ParquetReader {
  readonly #layouts = new Map<number, Promise<Layout>>()
  /** Blocks of rows by their first row, the newest last. */
  readonly #blocks = new Map<number, readonly Row[]>()
  /** First rows of the row groups. */
  readonly #starts: number[] = []
  size = 0

  private constructor(
    readonly name: string,
    readonly metadata: FileMetaData,
    private readonly file: AsyncBuffer,
    private readonly reader: ByteReader,
    private readonly columns: ReadonlySet<string>,
  ) {
    for (const { num_rows } of metadata.row_groups) {
      this.#starts.push(this.size)
      this.size += Number(num_rows)
    }
  }

  static async open(source: string | Blob, wanted?: ReadonlySet<string>): Promise<ParquetReader> {
    const name = nameOfSource(source)
    const reader = await openBytes(source)
    try {
      const file = {
        byteLength: reader.size,
        slice: async (start: number, end = reader.size) => {
          const bytes = await reader.read(start, end - start)
          return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer
        },
      }
      const metadata = await readMetadata(file, reader, name)
      const { parquetSchema } = await import('hyparquet')
      const all = parquetSchema(metadata).children.map(({ element }) => element.name)
      const columns = new Set(all.filter((column) => !wanted || wanted.has(column)))
      return new ParquetReader(name, metadata, file, reader, columns.size > 0 ? columns : new Set(all))
    } catch (error) {
      await reader.close()
      throw error
    }
  }

  close(): Promise<void> {
    return this.reader.close()
  }

  /** The rows of the block that holds row `i`, and the number of its first. */
  async block(i: number): Promise<{ first: number; rows: readonly Row[] }> {
    let group = this.#starts.length - 1
    while (this.#starts[group] > i) group--
    const { starts, pages } = await this.#layout(group, i)
    let block = starts.length - 1
    while (starts[block] > i - this.#starts[group]) block--
    const first = this.#starts[group] + starts[block]
    const next = starts[block + 1] ?? Number(this.metadata.row_groups[group].num_rows)
    const rows =
      this.#blocks.get(first) ?? (await this.#read(group, first, this.#starts[group] + next, pages))
    this.#keep(first, rows, Number(this.metadata.row_groups[group].total_byte_size) / starts.length)
    return { first, rows }
  }

  /** Keeps the block, and of older ones what fits. */
  #keep(first: number, rows: readonly Row[], bytes: number): void {
    this.#blocks.delete(first)
    this.#blocks.set(first, rows)
    const most = Math.max(1, Math.floor(keptBytes / Math.max(1, bytes)))
    for (const old of this.#blocks.keys()) if (this.#blocks.size > most) this.#blocks.delete(old)
  }

  #layout(group: number, row: number): Promise<Layout> {
    const { metadata, reader, columns } = this
    const known =
      this.#layouts.get(group) ??
      import('./parquet-pages.js')
        .then(({ layoutOf }) => layoutOf(reader, metadata, metadata.row_groups[group], columns))
        .catch((cause: unknown) => {
          throw broken(this.name, `the row group of row ${row + 1}: ${(cause as Error).message}`, cause)
        })
    this.#layouts.set(group, known)
    return known
  }

  async #read(group: number, from: number, to: number, pages: Layout['pages']): Promise<Row[]> {
    const [{ parquetReadObjects }, { compressors }] = await Promise.all([
      import('hyparquet'),
      import('hyparquet-compressors'),
    ])
    const pageLocationsByGroup = this.metadata.row_groups.map((_, i) => (i === group ? pages : {}))
    const { file, metadata } = this
    const range = { columns: [...this.columns], rowStart: from, rowEnd: to, useOffsetIndex: true }
    // Bytes stay bytes but where the file says that they are text.
    const options = { file, metadata, compressors, utf8: false, ...range, pageLocationsByGroup }
    const rows = await parquetReadObjects(options).catch((cause: unknown) => {
      throw broken(this.name, `rows ${from + 1} to ${to}: ${(cause as Error).message}`, cause)
    })
    if (rows.length !== to - from)
      throw broken(this.name, `rows ${from + 1} to ${to}: ${rows.length} of them could be read`)
    return rows.map((row) => plain(row) as Row)
  }
}

class ParquetSource<R> implements RecordSource<R> {
  readonly name: string
  readonly #malformed = new Set<number>()
  #size: number | undefined

  constructor(
    private readonly source: string | Blob,
    private readonly read: ReadRow<R>,
    private readonly skip: boolean,
    private readonly columns: ReadonlySet<string> | undefined,
  ) {
    this.name = nameOfSource(source)
  }

  get skipped(): number {
    return this.#malformed.size
  }

  async size(): Promise<number> {
    if (this.#size === undefined) await (await this.#open()).close()
    return this.#size!
  }

  async *entries(): AsyncGenerator<readonly [number, R]> {
    const reader = await this.#open()
    try {
      for (let i = 0; i < reader.size;) {
        const { rows, first } = await reader.block(i)
        for (const row of rows.slice(i - first)) {
          const record = this.#record(row, i)
          if (record !== undefined) yield [i, record]
          i++
        }
      }
    } finally {
      await reader.close()
    }
  }

  async open(): Promise<RecordReader<R>> {
    const reader = await this.#open()
    return {
      at: async (i) => {
        const { first, rows } = await reader.block(i)
        return this.#record(rows[i - first], i)
      },
      close: () => reader.close(),
    }
  }

  async #open(): Promise<ParquetReader> {
    const reader = await ParquetReader.open(this.source, this.columns)
    this.#size = reader.size
    return reader
  }

  #record(row: Row, i: number): R | undefined {
    try {
      return this.read(row, `${this.name}:${i + 1}`)
    } catch (error) {
      if (!this.skip || !isMalformed(error)) throw error
      this.#malformed.add(i)
      return undefined
    }
  }
}

/**
 * The rows of a Parquet file (its path, in Node) or Blob, as `read` makes records of them: read page by page, so that a
 * large row group is never in memory whole, unless a column of lists has no index of pages. Rows are counted from 1 in
 * messages. A file that is cut off or broken is a CheckpointError that names it and, where it can, the rows.
 */
export const parquetRows = <R>(
  source: string | Blob,
  read: ReadRow<R>,
  { skipMalformed = false, columns }: ParquetOptions = {},
): Dataset<R> => datasetOf(new ParquetSource(source, read, skipMalformed, columns && new Set(columns)))
