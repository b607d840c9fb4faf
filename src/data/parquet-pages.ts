/** @file Where the pages of a Parquet file lie: found by their headers, so that single pages are read of large row groups. */
import type { ColumnMetaData, FileMetaData, OffsetIndex, RowGroup } from 'hyparquet'
import { parquetHeader } from 'hyparquet/src/column.js'
import type { ByteReader } from './bytes.js'

type PageLocation = OffsetIndex['page_locations'][number]

/** Pages of the leaf columns of a row group by their dotted paths. */
export type PagesByColumn = Readonly<Record<string, PageLocation[]>>

/** More than any header with its statistics takes. */
const largestHeader = 1 << 22

/** One header, and its length in bytes. Throws for bytes that are none. */
const headerAt = async (
  reader: ByteReader,
  offset: number,
  end: number,
): Promise<{ header: ReturnType<typeof parquetHeader>; length: number }> => {
  for (let size = 1 << 12; ; size *= 16) {
    const bytes = await reader.read(offset, Math.min(size, end - offset))
    const position = { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), offset: 0 }
    try {
      return { header: parquetHeader(position), length: position.offset }
    } catch (error) {
      if (size >= largestHeader || size >= end - offset) throw error
    }
  }
}

/** The pages of a column whose rows are one value each. Throws for headers that make no sense. */
const pagesOf = async (
  reader: ByteReader,
  { data_page_offset, dictionary_page_offset, total_compressed_size }: ColumnMetaData,
): Promise<PageLocation[]> => {
  const start = Number(dictionary_page_offset || data_page_offset)
  const end = start + Number(total_compressed_size)
  const pages: PageLocation[] = []
  let row = 0
  for (let offset = start; offset < end;) {
    const { header, length } = await headerAt(reader, offset, end)
    const size = length + header.compressed_page_size
    if (!(header.compressed_page_size >= 0)) throw new Error(`the page at ${offset} has no size`)
    const rows = header.data_page_header_v2?.num_rows ?? header.data_page_header?.num_values
    if (rows !== undefined) {
      pages.push({ offset: BigInt(offset), compressed_page_size: size, first_row_index: BigInt(row) })
      row += rows
    }
    offset += size
  }
  return pages
}

/** Dotted paths of the leaf columns of which a row holds one value: no list is around them. */
const singleValued = ({ schema }: FileMetaData): ReadonlySet<string> => {
  const paths = new Set<string>()
  let next = 1
  const visit = (path: readonly string[], repeated: boolean): void => {
    const { name, num_children = 0, repetition_type } = schema[next++]
    const here = [...path, name]
    const many = repeated || repetition_type === 'REPEATED'
    if (num_children === 0 && !many) paths.add(here.join('.'))
    for (let i = 0; i < num_children; i++) visit(here, many)
  }
  while (next < schema.length) visit([], false)
  return paths
}

/** A row group in blocks of rows that are read together. */
export interface Layout {
  readonly pages: PagesByColumn
  /** First rows of the blocks, counted in the row group; the first is 0. */
  readonly starts: readonly number[]
}

/**
 * How a row group is read in blocks: those of the column with the most pages. A column of lists that has no index of
 * pages is read whole, and then the row group is one block.
 */
export const layoutOf = async (
  reader: ByteReader,
  metadata: FileMetaData,
  group: RowGroup,
  columns: ReadonlySet<string>,
): Promise<Layout> => {
  const single = singleValued(metadata)
  const pages: Record<string, PageLocation[]> = {}
  let starts: readonly number[] = [0]
  let whole = false
  for (const { meta_data: column, offset_index_length } of group.columns) {
    if (!column || !columns.has(column.path_in_schema[0])) continue
    const path = column.path_in_schema.join('.')
    if (single.has(path)) {
      pages[path] = await pagesOf(reader, column)
      if (pages[path].length > starts.length)
        starts = pages[path].map(({ first_row_index }) => Number(first_row_index))
    } else whole ||= !offset_index_length
  }
  return { pages, starts: whole ? [0] : starts }
}
