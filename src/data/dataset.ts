/** @file Datasets: records that can be read in any order, again and again, without being held in memory. */
import { UsageError, WeftError } from '../errors.js'
import { Stream } from '../random/index.js'

/** Numbered records. Iterating reads them in order, from the start each time. */
export interface Dataset<R> extends AsyncIterable<R> {
  /** Name of it in messages: a file's path. */
  readonly name: string
  /** How many malformed records have been left out so far, each counted once. */
  readonly skipped: number
  /** How many records there are, the malformed ones included. */
  size(): Promise<number>
  /** The records in order, each with its number; a malformed one that is skipped gives nothing. */
  entries(): AsyncIterable<readonly [number, R]>
  /** A reader of single records. */
  open(): Promise<RecordReader<R>>
  /** The records with these numbers, in this order; a malformed one that is skipped gives nothing. */
  pick(numbers: Iterable<number>): AsyncIterable<R>
}

/** Treatment of records that are none. */
export interface SkipOptions {
  /** Leave malformed records out (counted in `skipped`) instead of throwing. Default false. */
  skipMalformed?: boolean
}

/** Records by number, as long as it is open. */
export interface RecordReader<R> {
  /** The record; undefined for a malformed one that is skipped. */
  at(number: number): Promise<R | undefined>
  close(): Promise<void>
}

/** Source of a dataset's records. */
export type RecordSource<R> = Pick<Dataset<R>, 'name' | 'skipped' | 'size' | 'entries' | 'open'>

/** The dataset of a source, which stays as it is. `pick` throws WeftError for a number that there is not. */
export const datasetOf = <R>(source: RecordSource<R>): Dataset<R> => ({
  name: source.name,
  get skipped() {
    return source.skipped
  },
  size: () => source.size(),
  entries: () => source.entries(),
  open: () => source.open(),
  async *[Symbol.asyncIterator]() {
    for await (const [, record] of source.entries()) yield record
  },
  async *pick(numbers) {
    const size = await source.size()
    const reader = await source.open()
    try {
      for (const i of numbers) {
        if (!(Number.isInteger(i) && i >= 0 && i < size))
          throw new WeftError('NoSuchRecord', `${source.name}: no record ${i} of ${size}`)
        const record = await reader.at(i)
        if (record !== undefined) yield record
      }
    } finally {
      await reader.close()
    }
  },
})

/** A dataset of `count` records that `read` gives by number. */
export const numbered = <R>(name: string, count: number, read: (i: number) => R | Promise<R>): Dataset<R> =>
  datasetOf({
    name,
    skipped: 0,
    size: async () => count,
    async *entries() {
      for (let i = 0; i < count; i++) yield [i, await read(i)] as const
    },
    open: async () => ({ at: async (i) => read(i), close: async () => {} }),
  })

/** The records of `dataset` with these numbers ([count]), as a dataset that numbers them anew. */
export const subset = <R>(dataset: Dataset<R>, numbers: ArrayLike<number>): Dataset<R> => {
  const open = async (): Promise<RecordReader<R>> => {
    const reader = await dataset.open()
    return { at: (i) => reader.at(numbers[i]), close: () => reader.close() }
  }
  return datasetOf({
    name: dataset.name,
    get skipped() {
      return dataset.skipped
    },
    size: async () => numbers.length,
    async *entries() {
      const reader = await open()
      try {
        for (let i = 0; i < numbers.length; i++) {
          const record = await reader.at(i)
          if (record !== undefined) yield [i, record] as const
        }
      } finally {
        await reader.close()
      }
    },
    open,
  })
}

/** Numbers of the records of two parts without a common one, both in rising order. */
export interface SplitNumbers {
  readonly train: Uint32Array
  readonly evaluation: Uint32Array
}

/**
 * Numbers of the two parts of `size` records (`name` stands in messages): `evaluation` holds the share given (at least one
 * record, at most all but one), drawn by `seed`. Throws UsageError for a share outside (0, 1) or fewer than two records.
 */
export const splitNumbers = (
  name: string,
  size: number,
  share: number,
  seed: number | string = 0,
): SplitNumbers => {
  if (!(share > 0 && share < 1))
    throw new UsageError('BadSplit', `an evaluation share of ${share}; expected a number between 0 and 1`)
  if (size < 2) throw new UsageError('BadSplit', `${name}: ${size} records cannot be split in two`)
  const held = Math.min(size - 1, Math.max(1, Math.round(share * size)))
  const order = new Stream(seed).fork('split').permutation(size)
  return { train: order.slice(held).sort(), evaluation: order.slice(0, held).sort() }
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
  const { train, evaluation } = splitNumbers(dataset.name, await dataset.size(), share, seed)
  return { train: subset(dataset, train), evaluation: subset(dataset, evaluation) }
}

/** The order of epoch `epoch`: a permutation of 0 to size - 1 that depends on size, seed and epoch alone. */
export const epochOrder = (size: number, seed: number | string, epoch: number): Uint32Array =>
  new Stream(seed).fork('epoch').fork(epoch).permutation(size)
