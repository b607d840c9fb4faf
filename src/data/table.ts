/** @file Files of rows by the ends of their names, one after the other as one dataset. */
import { csvRows } from './csv.js'
import { type Dataset, datasetOf, type RecordReader, type SkipOptions } from './dataset.js'
import { jsonlRows } from './jsonl.js'
import { parquetRows } from './parquet.js'
import type { ReadRow } from './row.js'

/** Options of reading files of rows. */
export interface TableOptions extends SkipOptions {
  /** Columns that are read of formats that can leave others alone. Default all. */
  columns?: Iterable<string>
}

/**
 * The rows of a file (its path, in Node) or a File, as `read` makes records of them: CSV, TSV or Parquet by the end of its
 * name, JSONL where it ends otherwise. A malformed row is a CheckpointError that starts with FILE:ROW, or is skipped on
 * request.
 */
export const tableRows = <R>(
  source: string | File,
  read: ReadRow<R>,
  options: TableOptions = {},
): Dataset<R> => {
  const name = typeof source === 'string' ? source : source.name
  const ending = /\.(\w+)$/.exec(name)?.[1].toLowerCase()
  const { skipMalformed } = options
  if (ending === 'parquet') return parquetRows(source, read, options)
  if (ending === 'csv') return csvRows(source, read, { skipMalformed })
  if (ending === 'tsv') return csvRows(source, read, { skipMalformed, delimiter: '\t' })
  return jsonlRows(source, read, { skipMalformed })
}

/** At most so many files of a dataset are open at a time. */
const mostOpen = 16

/** Readers of the parts, of which those used last stay open. */
class PartReaders<R> {
  readonly #open = new Map<number, RecordReader<R>>()
  constructor(private readonly parts: readonly Dataset<R>[]) {}

  async at(part: number, number: number): Promise<R | undefined> {
    const reader = this.#open.get(part) ?? (await this.parts[part].open())
    this.#open.delete(part)
    this.#open.set(part, reader)
    for (const [old, other] of this.#open)
      if (this.#open.size > mostOpen) {
        this.#open.delete(old)
        await other.close()
      }
    return reader.at(number)
  }

  async close(): Promise<void> {
    for (const reader of this.#open.values()) await reader.close()
  }
}

/** Datasets one after the other, as one; `name` stands in messages. */
export const joined = <R>(name: string, parts: readonly Dataset<R>[]): Dataset<R> => {
  if (parts.length === 1) return parts[0]
  /** First numbers of the parts, and the number after the last. */
  const starts = async (): Promise<number[]> => {
    const firsts = [0]
    for (const part of parts) firsts.push(firsts[firsts.length - 1] + (await part.size()))
    return firsts
  }
  return datasetOf({
    name,
    get skipped() {
      return parts.reduce((sum, { skipped }) => sum + skipped, 0)
    },
    size: async () => (await starts())[parts.length],
    async *entries() {
      let first = 0
      for (const part of parts) {
        for await (const [i, record] of part.entries()) yield [first + i, record] as const
        first += await part.size()
      }
    },
    async open() {
      const firsts = await starts()
      const readers = new PartReaders(parts)
      const at = async (i: number): Promise<R | undefined> => {
        const part = firsts.findLastIndex((first) => first <= i)
        return readers.at(part, i - firsts[part])
      }
      return { at, close: () => readers.close() }
    },
  })
}
