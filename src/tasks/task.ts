/** @file What a task makes of data: the columns of its rows, its records, batches of them and what is measured. */
import type { JsonObject } from '../checkpoint/index.js'
import type { Dataset } from '../data/dataset.js'
import type { ReadRow } from '../data/row.js'
import type { Stream } from '../random/index.js'
import type { Tokenizer } from '../text/index.js'
import type { Batch, Measures } from '../train/index.js'

/** What a task knows of its model before it is opened. */
export interface TaskModel {
  /** Folder of the model: its preprocessor_config.json lies there. */
  readonly folder: string
  /** config.json. */
  readonly config: JsonObject
  /** Whether its head is new, and takes its classes from the data. Default false. */
  readonly fresh?: boolean
  /** The model's tokenizer; throws where it has none. */
  tokenizer(): Promise<Tokenizer>
  /** Longest row in tokens. */
  readonly length: number
  /** Rows are padded to a multiple of this many tokens. */
  readonly multiple: number
  /** Whether every token of a word has the word's tag, not the first alone. Default false. */
  readonly everyToken?: boolean
  /** Tokens that windows of a long text share. Default 128. */
  readonly overlap?: number
}

/** Records of a task and the batches made of them. `R` is a record. */
export interface TaskFormat<R> {
  /** Columns that rows may have. */
  readonly fields: readonly string[]
  /** Column that --text-column stands for; absent where the task reads no text. */
  readonly text?: string
  /** Column that --label-column stands for; absent where there is no such column. */
  readonly label?: string
  /** Reader of the rows of a file in `folder`, to which paths in them are relative. */
  reading(folder: string): ReadRow<R>
  /** Records of a folder of images; absent where the task reads none. */
  images?(folder: string): Promise<Dataset<R>>
  /** How many rows a record gives, of which `batch` is given the record with the number `part` of each. Default 1. */
  parts?(record: R): Promise<number>
  /** Looks at a record without decoding it whole; throws CheckpointError for what is none. */
  check?(record: R): Promise<void>
  /** Config.json with what was learned of the classes, once all records have been read; undefined where nothing was. */
  settled?(): JsonObject | undefined
  /** One batch; `random` is a stream of its own. */
  batch(records: readonly R[], random: Stream): Promise<Batch>
  readonly measures?: Measures
}
