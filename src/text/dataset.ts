/** @file Datasets: records that can be read in any order, again and again, without being held in memory. */
import { UsageError } from '../errors.js'
import { Stream } from '../random/index.js'
import { type DataRecord, toRecord } from './records.js'

/**
 * Numbered records. Iterating reads them in order, from the start each time. `R` is a record of text unless said
 * otherwise.
 */
export interface Dataset<R = DataRecord> extends AsyncIterable<R> {
  /** Name of it in messages: a file's path. */
  readonly name: string
  /** How many malformed records have been left out so far, each counted once. */
  readonly skipped: number
  /** How many records there are, the malformed ones included. */
  size(): Promise<number>
  /** The records with these numbers, in this order; a malformed one that is skipped gives nothing. */
  pick(numbers: Iterable<number>): AsyncIterable<R>
}

/** Records in memory as a dataset, checked as a file's lines are. `name` stands in errors, with the record's number. */
export const fromRecords = (records: readonly DataRecord[], name = 'records'): Dataset => {
  const at = (i: number): DataRecord => toRecord(records[i], `${name}[${i}]`)
  return {
    name,
    skipped: 0,
    size: async () => records.length,
    async *pick(numbers) {
      for (const i of numbers) yield at(i)
    },
    async *[Symbol.asyncIterator]() {
      for (const i of records.keys()) yield at(i)
    },
  }
}

/** The records of `dataset` with these numbers ([count]), as a dataset. */
export const subset = <R>(dataset: Dataset<R>, numbers: ArrayLike<number>): Dataset<R> => ({
  name: dataset.name,
  get skipped() {
    return dataset.skipped
  },
  size: async () => numbers.length,
  pick: (chosen) => dataset.pick(mapped(chosen, numbers)),
  [Symbol.asyncIterator]: () => dataset.pick(Array.from(numbers))[Symbol.asyncIterator](),
})

function* mapped(chosen: Iterable<number>, numbers: ArrayLike<number>): Iterable<number> {
  for (const i of chosen) yield numbers[i]
}

/**
 * Two datasets without a common record: `evaluation` holds the share given (at least one record, at most all but
 * one), drawn by `seed`. Both keep the order of the whole. Throws UsageError for a share outside (0, 1) or fewer than
 * two records.
 */
export const split = async <R>(
  dataset: Dataset<R>,
  share: number,
  seed: number | string = 0,
): Promise<{ train: Dataset<R>; evaluation: Dataset<R> }> => {
  const size = await dataset.size()
  if (!(share > 0 && share < 1))
    throw new UsageError('BadSplit', `an evaluation share of ${share}; expected a number between 0 and 1`)
  if (size < 2) throw new UsageError('BadSplit', `${dataset.name}: ${size} records cannot be split in two`)
  const held = Math.min(size - 1, Math.max(1, Math.round(share * size)))
  const order = new Stream(seed).fork('split').permutation(size)
  return {
    train: subset(dataset, order.slice(held).sort()),
    evaluation: subset(dataset, order.slice(0, held).sort()),
  }
}

/** The order of epoch `epoch`: a permutation of 0 to size - 1 that depends on size, seed and epoch alone. */
export const epochOrder = (size: number, seed: number | string, epoch: number): Uint32Array =>
  new Stream(seed).fork('epoch').fork(epoch).permutation(size)
