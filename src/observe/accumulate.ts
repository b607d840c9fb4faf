/** @file Sums over batches of what a graph gives: the one accumulator of everything that is measured on data. */
import { UsageError, WeftError } from '../errors.js'
import { type RunOptions, type Tensor, toNumbers, type Value, value } from '../tensor/index.js'
import type { Model } from '../models/index.js'
import { byShape } from '../train/by-shape.js'
import { batchesOf, type Data, type DataOptions } from '../train/data.js'
import type { Batch } from '../train/loss.js'

/** Batches that can be gone through several times: a list, or a function that begins anew each time. */
export type Batches = readonly Batch[] | (() => AsyncIterable<Batch>)

/** Surroundings of going through batches. */
export interface ObserveOptions {
  /** Most numbers that are summed at once: what needs more goes through the batches again. Default 2^26, half a gigabyte. */
  readonly limit?: number
  /** Aborts between two batches. */
  readonly signal?: AbortSignal
}

/** Options of `accumulated`. */
export interface AccumulateOptions<P> extends Pick<ObserveOptions, 'signal'> {
  /** Values that the graph gets beside each batch. Default none. */
  readonly parameters?: P
  /** Place of the random draws at a batch of this number. Default: the same at each. */
  readonly random?: (batch: number) => RunOptions
}

/** Sums by name, and how many batches they are over. */
export interface Accumulated<K extends string = string> {
  readonly sums: Readonly<Record<K, Float64Array>>
  readonly count: number
}

type Named<T> = Readonly<Record<string, T>>

/** The batches, from the beginning. */
export const batchesFrom = (batches: Batches): AsyncIterable<Batch> | Iterable<Batch> =>
  typeof batches === 'function' ? batches() : batches

/** The first `count` batches of `data`, none where there are no data. */
export const batchesAtMost = (
  count: number,
  model: Model,
  data: Data | undefined,
  options: DataOptions = {},
): Batches =>
  async function* () {
    if (data === undefined) return
    let left = count
    for await (const batch of await batchesOf(model, data, options)) {
      yield batch
      if (--left === 0) return
    }
  }

/** The first batch, where there is one. */
export const firstBatch = async (batches: Batches): Promise<Batch | undefined> => {
  for await (const batch of batchesFrom(batches)) return batch
  return undefined
}

/** The batches given. Throws UsageError where there are none to choose `what` by. */
export const requireBatches = (
  method: string,
  what: string,
  batches: readonly Batch[] | undefined,
): readonly Batch[] => {
  if (batches?.length) return batches
  throw new UsageError('NoCalibration', `${method}: choosing by ${what} needs batches of data`, {
    hint: 'Give some as the option calibration, or choose by what the weights say.',
  })
}

const added = (sum: Float64Array | undefined, more: Float64Array, name: string): Float64Array => {
  if (sum === undefined) return more
  if (sum.length !== more.length)
    throw new WeftError(
      'MomentShape',
      `'${name}' has ${more.length} numbers on one batch and ${sum.length} on another: they cannot be added`,
      { hint: 'Sum over positions inside the graph, so that only widths remain.' },
    )
  for (let i = 0; i < sum.length; i++) sum[i] += more[i]
  return sum
}

/**
 * Sums over `batches`, in float64, of what `f` gives for each: compiled once for each set of input shapes. Only the sums
 * outlive a batch. Throws WeftError (MomentShape) for results whose sizes differ from batch to batch.
 */
export const accumulated = async <O extends Named<Tensor>, P extends Named<Value> = Named<Value>>(
  batches: Batches,
  f: (batch: Batch<Tensor>, parameters: Readonly<Record<keyof P, Tensor>>) => O,
  { parameters, random, signal }: AccumulateOptions<P> = {},
): Promise<Accumulated<keyof O & string>> => {
  type Inputs = { batch: Batch<Tensor>; parameters: Readonly<Record<keyof P, Tensor>> }
  const program = byShape((inputs: Inputs) => f(inputs.batch, inputs.parameters))
  const sums: Record<string, Float64Array> = {}
  let count = 0
  for await (const batch of batchesFrom(batches)) {
    signal?.throwIfAborted()
    const inputs = { batch, parameters: parameters ?? {} } as unknown as Parameters<typeof program>[0]
    const results = (await program(inputs, random?.(count))) as unknown as Named<Value>
    for (const [name, result] of Object.entries(results)) {
      const numbers = toNumbers(value(await result.read(), result.shape, result.dtype))
      sums[name] = added(sums[name], numbers, name)
    }
    count++
  }
  return { sums: sums as Record<keyof O & string, Float64Array>, count }
}

/** Items in groups whose sizes together stay within `limit`; one that is larger stands alone. */
export const inPasses = <T>(
  items: readonly T[],
  sizeOf: (item: T) => number,
  limit: number = 2 ** 26,
): T[][] => {
  const passes: T[][] = []
  let size = Infinity
  for (const item of items) {
    size += sizeOf(item)
    if (size > limit) {
      passes.push([])
      size = sizeOf(item)
    }
    passes.at(-1)!.push(item)
  }
  return passes
}
