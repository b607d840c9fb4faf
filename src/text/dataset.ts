/** @file Datasets of text: what is learned from JSONL files, and from records in memory. */
import { type Dataset as DatasetOf, numbered } from '../data/dataset.js'
import { jsonlRows } from '../data/jsonl.js'
import type { RecordFileOptions } from '../data/record-file.js'
import { type DataRecord, toRecord } from './records.js'

/** Numbered records. Iterating reads them in order, from the start each time. `R` is a record of text unless said otherwise. */
export type Dataset<R = DataRecord> = DatasetOf<R>

/** Treatment of lines that are no record. */
export type JsonlOptions = RecordFileOptions

/** Records in memory as a dataset, checked as a file's lines are. `name` stands in errors, with the record's number. */
export const fromRecords = (records: readonly DataRecord[], name = 'records'): Dataset =>
  numbered(name, records.length, (i) => toRecord(records[i], `${name}[${i}]`))

/**
 * The records of a JSONL file (its path, in Node) or Blob. Iterating streams it: a chunk and a line are in memory at a
 * time, and the first pass leaves an index of 20 bytes a line, by which `pick` (and so shuffling and splitting) reads
 * single lines. Nothing is read before. A malformed line is a CheckpointError that starts with FILE:LINE, or is skipped
 * on request. Line ends may be LF or CRLF; blank lines and a byte order mark are ignored.
 */
export const jsonl = (source: string | Blob, options: JsonlOptions = {}): Dataset =>
  jsonlRows(source, toRecord, options)
