/** @file Examples to batches of equal rows: padded one by one, or packed end to end. */
import { CheckpointError, UsageError } from '../errors.js'
import { type Value, valueOf } from '../tensor/value.js'
import { epochOrder } from '../data/dataset.js'
import type { Dataset } from './dataset.js'
import { type Example, examples, type ExampleOptions, ignored } from './examples.js'
import type { Tokenizer } from './tokenizer.js'
import { maxOf } from '../tensor/numbers.js'

/** Rows padded on the right. The first three: [batch, time], int64 unless asked otherwise. */
export type Batch = Readonly<{
  ids: Value
  /** 1 for tokens, 0 for padding. */
  attentionMask: Value
  /** The ids that the loss counts, not shifted; -100 elsewhere. */
  labels: Value
  /** The records' tasks: [batch] int32, -1 where a record names none; absent where none does, and from packed rows. */
  taskIds?: Value
}>

/** Form of the rows of a batch. */
export interface RowOptions {
  /** Rows in a batch. */
  batch: number
  /** The longest row, in tokens. */
  length: number
  /** The id that fills the rest of a row. */
  pad: number
  /** Leave out a last batch of fewer rows. Default false. */
  dropLast?: boolean
  /** Default int64. */
  dtype?: 'int32' | 'int64'
}

const checkSize = (name: string, n: number): void => {
  if (!Number.isInteger(n) || n < 1)
    throw new UsageError('BadBatch', `${name} is ${n}; expected a whole number of at least 1`)
}

const toBatch = (rows: readonly Example[], time: number, { pad, dtype = 'int64' }: RowOptions): Batch => {
  const shape = [rows.length, time]
  const fill = (of: (row: Example) => ArrayLike<number>, rest: number): Value => {
    const numbers = new Float64Array(rows.length * time).fill(rest)
    rows.forEach((row, i) => numbers.set(of(row), i * time))
    return valueOf(numbers, shape, dtype)
  }
  return {
    ids: fill((row) => row.ids, pad),
    attentionMask: fill((row) => new Uint8Array(row.ids.length).fill(1), 0),
    labels: fill((row) => row.labels, ignored),
    ...(rows.some(({ task }) => task !== undefined) && {
      taskIds: valueOf(
        rows.map(({ task = -1 }) => task),
        [rows.length],
        'int32',
      ),
    }),
  }
}

async function* grouped<T>(items: AsyncIterable<T>, size: number, dropLast: boolean): AsyncGenerator<T[]> {
  let group: T[] = []
  for await (const item of items) {
    group.push(item)
    if (group.length < size) continue
    yield group
    group = []
  }
  if (group.length > 0 && !dropLast) yield group
}

/** Full rows cut from the examples laid end to end; the last row may be shorter. */
async function* packRows(source: AsyncIterable<Example>, length: number): AsyncGenerator<Example> {
  let row: Example = { ids: [], labels: [] }
  for await (const { ids, labels } of source)
    for (let from = 0; from < ids.length;) {
      const to = Math.min(ids.length, from + length - row.ids.length)
      for (let i = from; i < to; i++) {
        row.ids.push(ids[i])
        row.labels.push(labels[i])
      }
      from = to
      if (row.ids.length < length) continue
      yield row
      row = { ids: [], labels: [] }
    }
  if (row.labels.some((label, i) => i > 0 && label !== ignored)) yield row
}

type Grouping = (
  source: AsyncIterable<Example>,
  options: RowOptions & { multiple?: number },
) => AsyncIterable<Example[]>

const groupings: Record<'padded' | 'packed', Grouping> = {
  padded: (source, { batch, dropLast = false }) => grouped(source, batch, dropLast),
  packed: (source, { batch, length, dropLast = false }) => grouped(packRows(source, length), batch, dropLast),
}

/** The longest row, rounded up to a multiple, at most `length`. */
const paddedTime = (rows: readonly Example[], length: number, multiple: number): number =>
  Math.min(length, Math.ceil(maxOf(rows.map((row) => row.ids.length)) / multiple) * multiple)

/**
 * One example a row. Rows are as long as the batch's longest, rounded up to `multiple` (default 64, so that a program
 * is compiled for few lengths) and at most `length`; examples must not be longer than that (see `examples`). Throws UsageError for
 * a longer one, and for sizes that are no whole numbers above 0.
 */
export async function* padded(
  source: AsyncIterable<Example>,
  options: RowOptions & { multiple?: number },
): AsyncGenerator<Batch> {
  const { batch, length, multiple = 64 } = options
  checkSize('batch', batch)
  checkSize('length', length)
  checkSize('multiple', multiple)
  for await (const rows of groupings.padded(source, options)) {
    const long = rows.find((row) => row.ids.length > length)
    if (long)
      throw new UsageError('BadBatch', `an example has ${long.ids.length} tokens; expected at most ${length}`)
    yield toBatch(rows, paddedTime(rows, length, multiple), options)
  }
}

/**
 * Examples end to end (each ends with eos when made by `examples`), cut into rows of exactly `length` tokens: no
 * padding but in the very last row. A row's tokens attend to the whole row before them, other documents included.
 */
export async function* packed(source: AsyncIterable<Example>, options: RowOptions): AsyncGenerator<Batch> {
  checkSize('batch', options.batch)
  checkSize('length', options.length)
  for await (const rows of groupings.packed(source, options)) yield toBatch(rows, options.length, options)
}

/** Form and order of the batches of a dataset. */
export interface BatchesOptions extends Omit<RowOptions, 'pad'>, Pick<ExampleOptions, 'appendEos'> {
  /** Lay documents end to end instead of padding each. Default false. */
  packing?: boolean
  /** See `padded`. */
  multiple?: number
  /** Shuffle, each epoch in its own order. Default: the order of the dataset. */
  seed?: number | string
  /** How many times to go through the dataset; Infinity is allowed. Default 1. */
  epochs?: number
  /** How many batches to leave out at the start, to continue a run: the rest is as if they had been taken. Default 0. */
  startAt?: number
}

interface EpochOptions extends Pick<BatchesOptions, 'seed' | 'epochs'>, ExampleOptions {
  /** How much of the sequence to leave out, as `measure` counts it. */
  skip: number
  measure: (example: Example) => number
}

const after = ({ ids, labels }: Example, start: number): Example => ({
  ids: ids.slice(start),
  labels: labels.slice(start),
})

/**
 * The examples of epochs 0, 1, ... one after the other. All epochs measure the same, so that those left out whole are
 * not read once one has been. Throws CheckpointError when an epoch has no example.
 */
async function* epochs(
  dataset: Dataset,
  tokenizer: Tokenizer,
  options: EpochOptions,
): AsyncGenerator<Example> {
  const { seed, epochs: count = 1, measure } = options
  let left = options.skip
  let whole = Infinity
  for (let epoch = 0; epoch < count; epoch++) {
    if (left >= whole) {
      left -= whole
      continue
    }
    const records = seed === undefined ? dataset : dataset.pick(epochOrder(await dataset.size(), seed, epoch))
    const source = examples(records, tokenizer, options)
    whole = 0
    for await (const example of source) {
      const size = measure(example)
      whole += size
      if (left < size) yield left > 0 ? after(example, left) : example
      left = Math.max(0, left - size)
    }
    if (whole === 0)
      throw new CheckpointError(
        'EmptyDataset',
        `${dataset.name}: nothing to learn from: ${source.dropped} records without a token that counts, ${dataset.skipped} malformed ones skipped`,
      )
  }
}

/**
 * Batches of a dataset over epochs. The sequence is a function of the dataset, the tokenizer and the options alone;
 * batches and packed rows run on over the end of an epoch. `startAt` is exact whatever was truncated, dropped or
 * packed; it tokenises what it leaves out, but at most one epoch and a part of another.
 */
export async function* batches(
  dataset: Dataset,
  tokenizer: Tokenizer,
  options: BatchesOptions,
): AsyncGenerator<Batch> {
  const { packing = false, batch, length, startAt = 0, multiple = 64 } = options
  checkSize('batch', batch)
  checkSize('length', length)
  checkSize('multiple', multiple)
  const rowOptions = { ...options, pad: tokenizer.pad ?? tokenizer.eos ?? 0 }
  const source = epochs(dataset, tokenizer, {
    ...options,
    length: packing ? undefined : length,
    skip: startAt * batch * (packing ? length : 1),
    measure: packing ? ({ ids }) => ids.length : () => 1,
  })
  const groups = groupings[packing ? 'packed' : 'padded'](source, rowOptions)
  for await (const rows of groups)
    yield toBatch(rows, packing ? length : paddedTime(rows, length, multiple), rowOptions)
}
