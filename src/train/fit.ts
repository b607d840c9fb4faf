/** @file fit: a short loop over the step, with evaluation, checkpoints and exact resume around it. */
import type { JsonObject } from '../checkpoint/index.js'
import { UsageError, WeftError } from '../errors.js'
import type { Model } from '../models/index.js'
import type { OnProgress } from '../progress.js'
import { type Dataset, split } from '../text/index.js'
import {
  batchesOf,
  checkLength,
  countBatches,
  type Data,
  type DataOptions,
  isDataset,
  rowLength,
} from './data.js'
import { type Evaluation, type Evaluator, evaluator } from './evaluate.js'
import { type Batch, modelLoss } from './loss.js'
import { checkBatch, isMoved, trainingOf } from './method.js'
import { initialState, type Objective, type TrainingState } from './objective.js'
import { adamW, type Optimizer } from './optimizer.js'
import { recomputing } from './recompute.js'
import { type Schedule, schedule, type ScheduleName } from './schedule.js'
import { makeStep, type Step, type StepOptions, type StepResult } from './step.js'

/** Looks at a step that was taken, and may replace what is in `state` before the next. */
export type Hook = (state: TrainingState, result: StepResult) => void | Promise<void>

/** Settings of a training run. */
export interface FitOptions extends DataOptions, StepOptions {
  /** How many optimiser steps; the data are gone through as often as that takes. Default: as many as `epochs` has. */
  readonly steps?: number
  /** Default 1; ignored where `steps` is given. */
  readonly epochs?: number
  /** The highest learning rate. Default 2e-4. */
  readonly learningRate?: number
  /** A name, or a function of the step (from 0) that gives the rate. Default 'constant'. */
  readonly schedule?: ScheduleName | Schedule
  /** Steps of warm-up; see `schedule`. */
  readonly warmup?: number
  /** Default AdamW, with the settings that the model's method asks for. */
  readonly optimizer?: Optimizer
  /** Objectives in place of the model's own loss with `optimizer`: several losses, each with its optimiser and parameters. */
  readonly objectives?: readonly Objective[]
  /**
   * Keep of each block only what enters it, and compute the rest again in the backward pass: less memory, about a third
   * more time. Default false; with `objectives`, wrap their model in `recomputing` instead.
   */
  readonly recompute?: boolean
  /** Batches whose gradients make one step. Default 1. */
  readonly accumulate?: number
  /** Seed of the order of the data and of dropout. Default 0. */
  readonly seed?: number | string
  /** Data to evaluate on, or the share of the dataset to hold out for it (0 to 1). */
  readonly evaluation?: Data | number
  /** Steps between evaluations. Default: only at the end. */
  readonly evaluateEvery?: number
  /** Stop after this many evaluations in a row without a lower loss. */
  readonly patience?: number
  /** The run's folder: metrics.jsonl and checkpoints. Default: nothing is written. */
  readonly out?: string
  /** Steps between checkpoints, beside those at the end and on interruption. Default 100. */
  readonly checkpointEvery?: number
  /** Continue from the newest checkpoint in `out` (from the start where there is none). */
  readonly resume?: boolean
  /** Start anew in a folder that holds checkpoints. */
  readonly overwrite?: boolean
  /** Callback after each step. */
  readonly hook?: Hook
  /** Listener to the steps done. */
  readonly onProgress?: OnProgress
  /** Aborting it ends the run after the step under way, with a checkpoint. */
  readonly signal?: AbortSignal
}

/** Outcome of a training run. */
export interface FitResult<M extends Model = Model> {
  /** The model with the trained parameters: of the kind that was given, so that an adapter still folds. */
  readonly model: M
  readonly state: TrainingState
  readonly outcome: 'finished' | 'stopped early' | 'interrupted'
  /** Loss of the last step taken in this call; NaN when none was. */
  readonly loss: number
  /** The last evaluation, where there was one. */
  readonly evaluation?: Evaluation
}

/** Early stopping's memory; it goes into the checkpoint. */
interface Patience {
  best: number
  without: number
}

/** Everything that the loop needs; made once. */
interface Run {
  readonly model: Model
  readonly data: Data
  readonly options: FitOptions
  readonly steps: number
  readonly rate: Schedule
  readonly step: Step
  readonly evaluate?: () => Promise<Evaluation>
  readonly folder?: import('./run-folder.js').RunFolder
  readonly state: TrainingState
  readonly patience: Patience
}

/**
 * Trains `model` on `data` and returns it trained; the model given stays as it was. The same data, options and seed give
 * the same bits; a run that was interrupted or killed and is resumed ends with the bits of one that was not.
 * Throws UsageError for options that make no sense, CheckpointError for broken data or a checkpoint that does not fit.
 */
export const fit = async <M extends Model>(
  model: M,
  data: Data,
  options: FitOptions = {},
): Promise<FitResult<M>> => {
  check(model, data, options)
  const { train, held } = await holdOut(data, options)
  const objectives = options.objectives ?? [objectiveOf(model, options)]
  const state = initialState(objectives, model.parameters)
  const steps = await countSteps(model, train, options)
  const { folder, position } = await openFolder(state, steps, options)
  // An evaluation is not cut short: patience must see the same losses in a run that goes on later.
  const uncut = { ...options, signal: undefined }
  const evaluated: Evaluator | undefined = held && evaluator(model, held, uncut)
  const run: Run = {
    model: model,
    data: train,
    options,
    steps,
    rate: rateOf(steps, options),
    step: makeStep(objectives, options),
    evaluate: evaluated && (() => evaluated(state.parameters)),
    folder,
    state,
    patience: position?.patience ?? { best: Infinity, without: 0 },
  }
  const result = await loop(run)
  return { ...result, model: model.with({ ...state.parameters }) as M, state }
}

/** Objective of `fit` where none is given: the model's own loss, for all of its parameters that follow the gradient, as its method would have it. */
export const objectiveOf = (model: Model, { recompute, optimizer }: FitOptions): Objective => {
  const training = trainingOf(model)
  const loss = modelLoss(recompute ? recomputing(model) : model)
  const usual = { loss, optimizer: optimizer ?? adamW(training.optimizer), moves: isMoved(model) }
  return training.objective?.(usual) ?? usual
}

const check = (model: Model, data: Data, options: FitOptions): void => {
  const whole = (name: 'steps' | 'epochs' | 'accumulate' | 'evaluateEvery' | 'checkpointEvery'): void => {
    const n = options[name]
    if (n !== undefined && !(Number.isInteger(n) && n >= 1))
      throw new UsageError('BadOption', `${name} is ${n}; expected a whole number of at least 1`)
  }
  for (const name of ['steps', 'epochs', 'accumulate', 'evaluateEvery', 'checkpointEvery'] as const)
    whole(name)
  if (Object.keys(model.parameters).length === 0)
    throw new UsageError('NothingTrains', 'the model has no parameter that trains', {
      hint: 'Open it with openModel(checkpoint, { trainable: true }), or adapt it: lora(checkpoint, { ... }).',
    })
  if (options.patience !== undefined && options.evaluation === undefined)
    throw new UsageError('BadOption', 'patience needs something to evaluate on (evaluation)')
  if (Array.isArray(data) || isDataset(data)) checkLength(model, rowLength(model, options.length))
}

const holdOut = async (
  data: Data,
  { evaluation, seed }: FitOptions,
): Promise<{ train: Data; held?: Data }> => {
  if (typeof evaluation !== 'number') return { train: data, held: evaluation }
  const { fromRecords } = await import('../text/index.js')
  const dataset = Array.isArray(data) ? fromRecords(data) : data
  if (!isDataset(dataset as Data))
    throw new UsageError('BadOption', 'a share to evaluate on can be held out of a dataset or records only')
  const { train, evaluation: held } = await split(dataset as Dataset, evaluation, seed)
  return { train, held }
}

const countSteps = async (model: Model, data: Data, options: FitOptions): Promise<number> => {
  const { steps, epochs = 1, accumulate = 1, seed = 0 } = options
  if (steps !== undefined) return steps
  return Math.ceil((await countBatches(model, data, options, { seed, epochs })) / accumulate)
}

const rateOf = (steps: number, options: FitOptions): Schedule => {
  const { schedule: chosen = 'constant', learningRate = 2e-4, warmup } = options
  return typeof chosen === 'function' ? chosen : schedule(chosen, { learningRate, steps, warmup })
}

/** What must be the same for a resumed run to end with the same bits. */
const settingsOf = (steps: number, options: FitOptions): JsonObject => {
  const { batch = 8, length = null, packing = false, accumulate = 1, seed = 0, clip = null } = options
  const { learningRate = 2e-4, warmup = null, schedule: chosen = 'constant' } = options
  const scheduled = typeof chosen === 'string' ? chosen : 'own'
  return { steps, batch, length, packing, accumulate, seed, clip, learningRate, warmup, schedule: scheduled }
}

const openFolder = async (
  state: TrainingState,
  steps: number,
  options: FitOptions,
): Promise<Pick<Run, 'folder'> & { position?: { patience: Patience } }> => {
  const { out, resume = false, overwrite = false } = options
  if (out === undefined) return {}
  const { RunFolder } = await import('./run-folder.js')
  const folder = new RunFolder(out)
  if (!resume && !overwrite && (await folder.steps()).length > 0)
    throw new UsageError('FolderInUse', `${out} holds the checkpoints of a run`, {
      hint: 'Continue it (resume, --resume), start it anew (overwrite, --force), or choose another folder.',
    })
  const position = resume ? await folder.restore(state) : undefined
  if (!resume) await folder.clear()
  if (position) checkSettings(out, position.settings as JsonObject, settingsOf(steps, options))
  await folder.open(state.step)
  return { folder, position: position as { patience: Patience } | undefined }
}

const checkSettings = (out: string, before: JsonObject, now: JsonObject): void => {
  const changed = Object.keys(now).filter((key) => JSON.stringify(before[key]) !== JSON.stringify(now[key]))
  if (changed.length === 0) return
  const shown = changed.map(
    (key) => `${key} (${JSON.stringify(before[key])}, now ${JSON.stringify(now[key])})`,
  )
  throw new UsageError(
    'ResumeMismatch',
    `${out}: the run was started with other settings: ${shown.join(', ')}`,
    {
      hint: 'Resume with the same settings, or start a new run in another folder.',
    },
  )
}

/** Groups of `size` batches; the last may have fewer. */
async function* grouped(
  source: AsyncIterable<Batch> | Iterable<Batch>,
  size: number,
): AsyncGenerator<Batch[]> {
  let group: Batch[] = []
  for await (const batch of source) {
    group.push(batch)
    if (group.length < size) continue
    yield group
    group = []
  }
  if (group.length) yield group
}

const loop = async (run: Run): Promise<Pick<FitResult, 'outcome' | 'loss' | 'evaluation'>> => {
  const { model, data, options, steps, state, folder } = run
  const { accumulate = 1, seed = 0, checkpointEvery = 100, signal } = options
  const course = { seed, epochs: Infinity, startAt: state.step * accumulate }
  let [loss, saved] = [NaN, state.step]
  let evaluation: Evaluation | undefined
  const save = async (): Promise<void> => {
    if (saved !== state.step || state.step === 0) await folder?.save(state, positionOf(run))
    saved = state.step
  }
  options.onProgress?.({ status: 'initiate', name: 'train', done: state.step, total: steps, unit: 'steps' })
  let outcome: FitResult['outcome'] = 'finished'
  if (state.step < steps)
    for await (const group of grouped(await batchesOf(model, data, options, course), accumulate)) {
      if (signal?.aborted) {
        outcome = 'interrupted'
        break
      }
      loss = await takeStep(run, group)
      if (state.step >= steps) break
      if (run.evaluate && state.step % (options.evaluateEvery ?? Infinity) === 0)
        evaluation = await evaluateNow(run)
      if (run.patience.without >= (options.patience ?? Infinity)) {
        outcome = 'stopped early'
        break
      }
      if (state.step % checkpointEvery === 0) await save()
    }
  if (run.evaluate && outcome === 'finished' && !Number.isNaN(loss)) evaluation = await evaluateNow(run)
  await save()
  if (outcome !== 'interrupted')
    options.onProgress?.({ status: 'done', name: 'train', done: state.step, total: steps, unit: 'steps' })
  return { outcome, loss, evaluation }
}

const positionOf = ({ patience, options, steps, state }: Run): JsonObject => ({
  batches: state.step * (options.accumulate ?? 1),
  seed: options.seed ?? 0,
  patience: { ...patience, best: Number.isFinite(patience.best) ? patience.best : 1e300 },
  settings: settingsOf(steps, options),
})

const tokensIn = (batches: readonly Batch[]): number =>
  batches.reduce((n, { ids, labels }) => n + ((ids ?? labels)?.data.length ?? 0), 0)

const takeStep = async (run: Run, batches: readonly Batch[]): Promise<number> => {
  const { model, state, options, rate, step, folder, steps } = run
  const { seed = 0 } = options
  const training = trainingOf(model)
  const learningRate = rate(state.step)
  const start = performance.now()
  const course = { steps, seed, learningRate }
  const own = training.inputs?.(state, course)
  const given = own ? batches.map((batch) => ({ ...batch, ...own })) : batches
  for (const batch of given) checkBatch(model, batch)
  const result = await step(state, given, { learningRate, seed })
  await training.between?.(state, { ...course, batches, result, step })
  await options.hook?.(state, result)
  const stepSeconds = (performance.now() - start) / 1000
  const tokensPerSecond = tokensIn(batches) / stepSeconds
  const [loss] = result.losses
  if (!Number.isFinite(loss))
    throw new WeftError('LossNotFinite', `the loss of step ${state.step} is ${loss}`, {
      hint: 'Lower the learning rate, or clip the gradient (clip).',
    })
  const others = result.losses.slice(1).map((l, i) => [`loss${i + 1}`, l])
  const line = { step: state.step, loss, ...Object.fromEntries(others), ...result.metrics, learningRate }
  await folder?.log({ ...line, stepSeconds, tokensPerSecond: Math.round(tokensPerSecond) })
  const metrics = { loss, 'tokens/s': tokensPerSecond, ...result.metrics }
  options.onProgress?.({
    status: 'progress',
    name: 'train',
    done: state.step,
    total: steps,
    unit: 'steps',
    metrics,
  })
  return loss
}

const evaluateNow = async ({ evaluate, patience, folder, state }: Run): Promise<Evaluation> => {
  const evaluation = await evaluate!()
  if (evaluation.loss < patience.best) Object.assign(patience, { best: evaluation.loss, without: 0 })
  else patience.without++
  await folder?.log({ step: state.step, evaluation })
  return evaluation
}
