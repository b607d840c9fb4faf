/** @file What a training run will need, said before anything is loaded or run: its peak of memory and the time of a step. */
import type { Model } from '../models/index.js'
import { rehearsal } from '../runtime/index.js'
import {
  addWork,
  byteLength,
  engineBytes,
  mappedBytes,
  sizeOf,
  type Value,
  valueBytes,
  type Work,
} from '../tensor/index.js'
import { maxOf } from '../tensor/numbers.js'
import { batchesOf, type Data } from './data.js'
import { type FitOptions, objectiveOf } from './fit.js'
import type { Batch } from './loss.js'
import { trainingOf } from './method.js'
import { initialState } from './objective.js'
import { makeStep } from './step.js'

/** What a run needs. */
export interface Needs {
  /** Bytes: the most that the process will hold beside what it holds now, the files that it maps included. */
  readonly memory: number
  /** Of which: files that are mapped, and what the largest program computes with. */
  readonly mapped: number
  readonly values: number
  /** Work of one step on the largest batch. */
  readonly work: Work
  /** Tokens of the largest batch, and of the batches on average: [] each. */
  readonly tokens: { readonly largest: number; readonly mean: number }
}

/** Batches that are looked at for the largest. */
const sampled = 64

const tokensOf = (batch: Batch): number => {
  const { shape } = batch.ids ?? batch.labels ?? Object.values(batch)[0]
  return sizeOf(shape)
}

const largestOf = async (
  model: Model,
  data: Data,
  options: FitOptions,
): Promise<{ batch: Batch; mean: number }> => {
  let [count, total] = [0, 0]
  let batch: Batch | undefined
  for await (const next of await batchesOf(model, data, options, { seed: options.seed ?? 0 })) {
    total += tokensOf(next)
    count++
    if (!batch || tokensOf(next) > tokensOf(batch)) batch = next
    if (count === sampled) break
  }
  return { batch: batch!, mean: total / count }
}

const bytesOf = (values: Iterable<Value>): number =>
  [...values].reduce((sum, { dtype, shape }) => sum + byteLength(dtype, sizeOf(shape)), 0)

/**
 * What training `model` on `data` will need: one step is traced and lowered as `fit` would, on the largest of the first batches, and
 * its graphs are walked. Nothing is run. Throws UsageError as `fit` does.
 */
export const rehearse = async (model: Model, data: Data, options: FitOptions = {}): Promise<Needs> => {
  const { batch, mean } = await largestOf(model, data, options)
  const objectives = options.objectives ?? [objectiveOf(model, options)]
  const state = initialState(objectives, model.parameters)
  const stage = rehearsal()
  const { accumulate = 1, learningRate = 2e-4, seed } = options
  // Of the state the parameters are there already; the moments take memory once they are written.
  const moments = state.optimizers.flatMap((slots) =>
    Object.values(slots).flatMap((slot) => Object.values(slot)),
  )
  const own = trainingOf(model).inputs?.(state, { steps: 1, seed: seed ?? 0, learningRate })
  const step = makeStep(objectives, { ...options, openSession: stage.openSession })
  await step(
    state,
    Array.from({ length: accumulate }, () => ({ ...batch, ...own })),
    { learningRate, seed },
  )
  const kept = new Set([...Object.values(model.parameters), ...moments])
  const values = maxOf(
    stage.runs.map(({ session, given }) => bytesOf(given.filter((v) => !kept.has(v))) + valueBytes(session)),
    0,
  )
  const mapped = mappedBytes(stage.sessions)
  return {
    memory: bytesOf(moments) + values + mapped + engineBytes(stage.sessions),
    mapped,
    values,
    work: stage.runs.map(({ session }) => session.footprint.work).reduce(addWork),
    tokens: { largest: tokensOf(batch), mean },
  }
}
