/** @file What a training run will need, said before anything is loaded or run: its peak of memory and the time of a step. */
import type { Model } from '../models/index.js'
import { rehearsal, type RehearsedRun } from '../runtime/index.js'
import {
  addWork,
  arenaBytes,
  byteLength,
  engineBytes,
  mappedBytes,
  sizeOf,
  type Value,
  type Work,
} from '../tensor/index.js'
import { maxOf } from '../tensor/numbers.js'
import { batchesOf, type Data } from './data.js'
import { type FitOptions, objectiveOf } from './fit.js'
import type { Batch } from './loss.js'
import { trainingOf } from './method.js'
import { initialState, type TrainingState } from './objective.js'
import { makeStep } from './step.js'

/** Needs of a training run. */
export interface Needs {
  /** Bytes: the most that the process will hold beside what it holds now, the files that it maps included. */
  readonly memory: number
  /** Bytes of it that are mapped files. */
  readonly mapped: number
  /** Bytes of it that the largest program computes with. */
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
 * Most bytes of values beside the engine's at once: what a run makes is there until the last run that reads it, and for good where
 * it is in `kept`; what it is given from outside, as long as it runs. What is in `before` was there anyway.
 */
const mostAlive = (
  runs: readonly RehearsedRun[],
  kept: ReadonlySet<Value>,
  before: ReadonlySet<Value>,
): number => {
  const last = new Map<Value, number>()
  runs.forEach(({ given, made }, i) => {
    for (const v of [...given, ...made]) last.set(v, kept.has(v) ? runs.length : i)
  })
  const made = new Set(runs.flatMap((run) => run.made))
  const leaving = (i: number): number => bytesOf([...made].filter((v) => last.get(v) === i))
  let alive = 0
  let most = 0
  runs.forEach((run, i) => {
    alive += bytesOf(run.made)
    most = Math.max(most, alive + bytesOf(run.given.filter((v) => !made.has(v) && !before.has(v))))
    alive -= leaving(i)
  })
  return most
}

/**
 * Needs of training `model` on `data`: two steps are traced and lowered as `fit` would, on the largest of the first batches,
 * and their graphs are walked; the second begins with what the first leaves. Nothing is run. Throws UsageError as `fit` does.
 */
export const rehearse = async (model: Model, data: Data, options: FitOptions = {}): Promise<Needs> => {
  const { batch, mean } = await largestOf(model, data, options)
  const objectives = options.objectives ?? [objectiveOf(model, options)]
  const state = initialState(objectives, model.parameters)
  // Parameters are there already; of moments that nobody has written there are no pages yet.
  const before = new Set(valuesOf(state))
  const stage = rehearsal()
  const { accumulate = 1, learningRate = 2e-4, seed } = options
  const step = makeStep(objectives, { ...options, openSession: stage.openSession })
  const takeStep = async (): Promise<void> => {
    const own = trainingOf(model).inputs?.(state, { steps: 2, seed: seed ?? 0, learningRate })
    const batches = Array.from({ length: accumulate }, () => ({ ...batch, ...own }))
    await step(state, batches, { learningRate, seed })
  }
  await takeStep()
  const first = stage.runs.length
  await takeStep()
  const mapped = mappedBytes(stage.sessions)
  const arenas = stage.sessions.map(arenaBytes)
  const alive = mostAlive(stage.runs, new Set(valuesOf(state)), before)
  return {
    memory: alive + arenas.reduce((sum, n) => sum + n, 0) + mapped + engineBytes(stage.sessions),
    mapped,
    values: maxOf(arenas, 0),
    work: stage.runs
      .slice(first)
      .map(({ session }) => session.footprint.work)
      .reduce(addWork),
    tokens: { largest: tokensOf(batch), mean },
  }
}

const valuesOf = ({ parameters, optimizers }: TrainingState): Value[] => [
  ...Object.values(parameters),
  ...optimizers.flatMap((slots) => Object.values(slots).flatMap((slot) => Object.values(slot))),
]
