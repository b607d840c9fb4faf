/** @file What people bring: files of rows and folders of images, as datasets that are streamed and shuffled without being held. */
export {
  type Dataset,
  datasetOf,
  epochOrder,
  numbered,
  type RecordReader,
  type RecordSource,
  type SkipOptions,
  split,
  subset,
} from './dataset.js'
export { type ColumnMap, mappedRows } from './columns.js'
export { csvRows, type CsvOptions } from './csv.js'
export { parquetRows, type ParquetOptions } from './parquet.js'
export { joined, type TableOptions, tableRows } from './table.js'
export { type DataPlace, findData } from './where.js'
export { jsonlRows } from './jsonl.js'
export type { RecordFileOptions } from './record-file.js'
export { type ReadRow, type Row } from './row.js'
export * from './image.js'
export * from './image-folder.js'
export * from './preprocess.js'
