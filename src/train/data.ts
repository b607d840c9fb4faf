/** @file What can be trained on, as batches: datasets, records in memory, or batches of one's own. */
import { UsageError } from '../errors.js'
import type { Model } from '../models/index.js'
import {
  batches,
  type BatchesOptions,
  type DataRecord,
  type Dataset,
  fromRecords,
  openTokenizer,
  type Tokenizer,
} from '../text/index.js'
import type { Batch } from './loss.js'
import type { Measures } from './measures.js'

/** Batches that know their number, and what is measured on them. */
export interface BatchSource {
  /** Batches over the epochs of a course, the same for the same course. */
  batches(course: Course): AsyncIterable<Batch>
  /** Number of batches that a course has. */
  count(course: Course): number
  readonly measures?: Measures
}

/**
 * A dataset (`jsonl(path)`), records in memory, a source of batches, or batches: an iterable that gives the same batches
 * each time, or a function that gives those of the run from number `startAt` on.
 */
export type Data =
  | Dataset
  | BatchSource
  | readonly DataRecord[]
  | AsyncIterable<Batch>
  | ((startAt: number) => AsyncIterable<Batch> | Iterable<Batch>)

/** Data of a run, in rows of tokens. */
export interface DataOptions extends Pick<BatchesOptions, 'packing' | 'multiple'> {
  /** Rows in a batch. Default 8. */
  readonly batch?: number
  /** The longest row in tokens; longer examples lose their end. Default 512, or the model's own limit where that is less. */
  readonly length?: number
  /** Default: that of the model's folder. */
  readonly tokenizer?: Tokenizer
}

export const isDataset = (data: Data): data is Dataset => 'pick' in data && 'size' in data

export const isBatchSource = (data: Data): data is BatchSource => 'batches' in data && 'count' in data

/** How many positions the model has for the tokens of a row. */
export const positionLimit = ({ architecture, config }: Pick<Model, 'architecture' | 'config'>): number =>
  (architecture.positions?.(config) ?? Infinity) - (architecture.virtual?.positions ?? 0)

const opened = new WeakMap<Model['checkpoint'], Promise<Tokenizer>>()

/** The tokenizer given, or the one in the model's folder, read once. */
export const tokenizerOf = async ({ checkpoint }: Model, given?: Tokenizer): Promise<Tokenizer> => {
  if (given) return given
  const tokenizer = opened.get(checkpoint) ?? openTokenizer(checkpoint.folder)
  opened.set(checkpoint, tokenizer)
  return tokenizer
}

/** Longest row in tokens: `length`, or 512 where the model has as many positions, else all of these. */
export const rowLength = (model: Parameters<typeof positionLimit>[0], length?: number): number =>
  length ?? Math.min(512, positionLimit(model))

/** Throws UsageError when the rows would be longer than the model's positions reach. */
export const checkLength = (model: Model, length: number): void => {
  if (length > positionLimit(model))
    throw new UsageError(
      'TooLong',
      `rows of ${length} tokens; the model has positions for ${positionLimit(model)}`,
    )
}

/** Throws UsageError unless the model predicts the next token, which is what records of text teach. */
const checkTask = ({ architecture, config, checkpoint }: Model): void => {
  const task = architecture.task(config)
  if (task !== 'causal')
    throw new UsageError(
      'WrongTask',
      `${checkpoint.folder}: ${architecture.name} is a model for the task '${task}'; records of text teach causal models`,
      { hint: 'Give batches instead, with the inputs and labels of the task.' },
    )
}

/** How a run goes through its data. */
export interface Course {
  /** Shuffles each epoch in its own order. Default: the order of the data. */
  readonly seed?: number | string
  /** Default 1. */
  readonly epochs?: number
  /** How many batches to leave out at the start. Default 0. */
  readonly startAt?: number
}

async function* skipped(source: AsyncIterable<Batch>, count: number): AsyncGenerator<Batch> {
  let i = 0
  for await (const batch of source) if (i++ >= count) yield batch
}

/** An iterable of batches over epochs; throws UsageError when it gives none. */
async function* repeated(source: AsyncIterable<Batch>, epochs: number): AsyncGenerator<Batch> {
  for (let epoch = 0; epoch < epochs; epoch++) {
    let any = false
    for await (const batch of source) {
      any = true
      yield batch
    }
    if (!any)
      throw new UsageError(
        'NoBatches',
        epoch ? 'the batches cannot be gone through again' : 'there is no batch',
        {
          hint: 'Give a dataset, an iterable that starts anew each time, or a function of the first number.',
        },
      )
  }
}

/** The batches of `data` for `model`: a function of the data and the options alone. */
export const batchesOf = async (
  model: Model,
  data: Data,
  options: DataOptions,
  { seed, epochs = 1, startAt = 0 }: Course = {},
): Promise<AsyncIterable<Batch> | Iterable<Batch>> => {
  if (typeof data === 'function') return data(startAt)
  if (isBatchSource(data)) return data.batches({ seed, epochs, startAt })
  const dataset = Array.isArray(data) ? fromRecords(data as DataRecord[]) : (data as Dataset)
  if (!isDataset(dataset)) return skipped(repeated(dataset, epochs), startAt)
  checkTask(model)
  const length = rowLength(model, options.length)
  checkLength(model, length)
  const source = batches(dataset, await tokenizerOf(model, options.tokenizer), {
    batch: options.batch ?? 8,
    length,
    packing: options.packing,
    multiple: options.multiple,
    dtype: 'int32',
    seed,
    epochs,
    startAt,
  })
  return asBatches(source)
}

async function* asBatches(source: AsyncIterable<object>): AsyncGenerator<Batch> {
  for await (const batch of source) yield { ...batch } as Batch
}

/** How many batches `epochs` epochs have. */
export const countBatches = async (
  model: Model,
  data: Data,
  options: DataOptions,
  course: Course,
): Promise<number> => {
  if (typeof data === 'function')
    throw new UsageError('BadOption', 'batches from a function may be endless: say how many steps (steps)')
  if (isBatchSource(data)) return data.count(course)
  const dataset = Array.isArray(data) ? fromRecords(data as DataRecord[]) : (data as Dataset)
  if (isDataset(dataset) && !options.packing)
    return Math.ceil(((await dataset.size()) * (course.epochs ?? 1)) / (options.batch ?? 8))
  let count = 0
  for await (const _ of await batchesOf(model, data, options, course)) count++
  return count
}
