/** @file What `weft train` and every `weft adapt` method share: options, checks before work starts, the run's folder. */
import { basename } from 'node:path'
import { z } from 'zod'
import type { ZodType } from 'zod'
import { UsageError } from '../errors.js'
import type { Checkpoint } from '../checkpoint/index.js'
import type { Model } from '../models/index.js'
import { recordRun, type Run } from '../runs/index.js'
import { type DataRecord, type Dataset, split, type Tokenizer } from '../text/index.js'
import { openRecords, openTask, type TaskName, taskOptions, type OpenedTask } from '../tasks/index.js'
import {
  fit,
  type FitOptions,
  type FitResult,
  adamW,
  type Evaluation,
  movedParameters,
  type Optimizer,
  rowLength,
  scheduleNames,
  sgd,
} from '../train/index.js'
import type { ScheduleName } from '../train/index.js'
import { formatConfig } from './config.js'
import { peakMemory } from './engine.js'
import { common, flag } from './options.js'
import type { Choice } from './schema.js'
import { considering, forecast, memoryLimit, type Plan, planText, stateBytes } from './needs.js'
import { saveInto } from './output.js'
import { formatTime, short } from './progress.js'
import type { Context } from './verb.js'
import { sizeOf } from '../tensor/shape.js'

/** Options of every run that trains. */
export interface TrainingOptions {
  data: string
  out?: string
  steps?: number
  epochs: number
  learningRate: number
  schedule: ScheduleName
  warmup?: number
  optimizer: 'adamw' | 'sgd'
  weightDecay: number
  betas: number[]
  epsilon: number
  epsilonBeforeCorrection: boolean
  momentum: number
  clip: number
  batch: number
  accumulate: number
  length?: number
  packing: boolean
  evalSplit?: number
  evalData?: string
  evalEvery?: number
  patience?: number
  checkpointEvery: number
  task?: TaskName
  textColumn?: string
  labelColumn?: string
  map: Record<string, string>
  skipMalformed: boolean
  recompute: boolean
  memory?: number
  everyToken: boolean
  overlap?: number
  seed: number
  resume: boolean
  force: boolean
  dryRun: boolean
  strict: boolean
  device: string
  threads?: number
}

/** Schemas of the values of `T`. */
export type Schemas<T> = { readonly [K in keyof T]-?: ZodType<T[K]> }

const count = z.number().int().positive()

/** What the options of AdamW need. */
const adaptive: readonly Choice[] = [{ optimizer: ['adamw'] }]

/** Options that say what to evaluate on. */
const evaluated: readonly Choice[] = [{ evalSplit: 'given' }, { evalData: 'given' }]

/** What `--data` takes. */
export const dataHelp = (what: string): string =>
  `data to ${what}: .jsonl, .csv, .tsv or .parquet, a folder or pattern of these, a folder of images a class, a dataset's id`

const { task, textColumn, labelColumn, map, skipMalformed, everyToken, overlap } = taskOptions.shape

/** The options of data and tasks as flags. */
export const taskFlags = {
  task,
  textColumn: flag(textColumn, textColumn.description!, { value: 'NAME' }),
  labelColumn: flag(labelColumn, labelColumn.description!, { value: 'NAME' }),
  map: flag(map, map.description!, { value: 'COLUMN=FIELD' }),
  skipMalformed,
  everyToken,
  overlap,
}

const memoryOptions: Schemas<Pick<TrainingOptions, 'recompute' | 'memory'>> = {
  recompute: flag(
    z.boolean().default(false),
    'keep of each block only what enters it: less memory, more time',
  ),
  memory: common.memory,
}

/** The options of a run that trains; `learningRate` is its default. */
export const trainingOptions = (learningRate: number): Schemas<TrainingOptions> => ({
  data: flag(z.string().min(1), dataHelp('learn from'), { short: 'd', value: 'FILE', names: 'data' }),
  out: flag(z.string().min(1).optional(), 'folder to write (a new one under runs/)', {
    short: 'o',
    value: 'DIR',
    names: 'output',
  }),
  steps: flag(count.optional(), 'optimiser steps; wins over --epochs'),
  epochs: flag(count.default(1), 'times to go through the data'),
  learningRate: flag(z.number().positive().default(learningRate), 'highest learning rate', {
    short: 'lr',
  }),
  schedule: flag(z.enum(scheduleNames).default('warmup-cosine'), 'how the rate goes on'),
  warmup: flag(z.number().int().nonnegative().optional(), 'steps over which the rate rises (3 %)'),
  optimizer: flag(z.enum(['adamw', 'sgd']).default('adamw'), 'optimiser'),
  weightDecay: flag(z.number().nonnegative().default(0.01), 'decay of the weights'),
  betas: flag(
    z.array(z.number().min(0).lt(1)).length(2).default([0.9, 0.999]),
    'decay of the moments of adamw',
    {
      value: 'B1,B2',
      when: adaptive,
    },
  ),
  epsilon: flag(z.number().positive().default(1e-8), 'epsilon of adamw', { when: adaptive }),
  epsilonBeforeCorrection: flag(
    z.boolean().default(false),
    "add adamw's epsilon before the bias of its moments is corrected",
    { when: adaptive },
  ),
  momentum: flag(z.number().min(0).max(1).default(0), 'momentum of sgd', {
    when: [{ optimizer: ['sgd'] }],
  }),
  clip: flag(z.number().nonnegative().default(1), 'highest norm of the gradient; 0 for any'),
  batch: flag(count.default(8), 'rows in a batch', { short: 'b' }),
  accumulate: flag(count.default(1), 'batches whose gradients make one step'),
  length: flag(count.optional(), "longest row in tokens (512, or the model's own limit)"),
  packing: flag(z.boolean().default(false), 'lay documents end to end instead of padding each'),
  evalSplit: flag(z.number().gt(0).lt(1).optional(), 'share of the data to hold out for evaluation'),
  evalData: flag(z.string().min(1).optional(), 'data to evaluate on', { value: 'FILE', names: 'data' }),
  evalEvery: flag(count.optional(), 'steps between evaluations (only at the end)', { when: evaluated }),
  patience: flag(count.optional(), 'stop after so many evaluations without a lower loss', {
    when: evaluated,
  }),
  checkpointEvery: flag(count.default(100), 'steps between checkpoints'),
  ...taskFlags,
  ...memoryOptions,
  seed: common.seed,
  resume: common.resume,
  force: common.force,
  dryRun: common.dryRun,
  strict: common.strict,
  device: common.device,
  threads: common.threads,
})

/** Records of text that have been read through: a malformed one is found now, not after hours. Throws CheckpointError. */
export const openData = (
  where: string,
  { progress, info, signal }: Pick<Context, 'progress' | 'info' | 'signal'>,
): Promise<Dataset> => openRecords(where, { onProgress: progress, onWarning: info, signal })

/** The data of a run, both parts checked. */
export interface RunData extends Omit<OpenedTask, 'newHead'> {
  readonly newHead?: boolean
}

/** Throws UsageError for options that do not go together: before a model is opened and data are read. */
export const checkTraining = ({ evalData, evalSplit, out, resume }: TrainingOptions): void => {
  if (evalData !== undefined && evalSplit !== undefined)
    throw new UsageError('BadUsage', '--eval-data and --eval-split exclude each other')
  if (resume && out === undefined)
    throw new UsageError('BadUsage', '--resume needs the folder of the run: --out DIR')
}

/** Where a run's data are, and how they are read. */
const reading = (
  options: TrainingOptions,
  task: TaskName | undefined,
  { progress, info, signal }: Context,
) => {
  const { data, evalData, evalSplit, seed, batch, length, packing, steps } = options
  const { textColumn, labelColumn, map, skipMalformed, everyToken, overlap } = options
  return {
    ...{ data, evalData, evalSplit, seed, batch, length, packing, steps },
    ...{ task, textColumn, labelColumn, map, skipMalformed, everyToken, overlap, newHead: true },
    ...{ onProgress: progress, onWarning: info, signal },
  }
}

/** What the model in `checkpoint` learns from and is evaluated on: by its task, which `task` may name. */
export const openRunData = (
  checkpoint: Pick<Checkpoint, 'folder' | 'config'>,
  options: TrainingOptions,
  task: TaskName | undefined,
  context: Context,
): Promise<RunData> => openTask(checkpoint, reading(options, task, context))

/** What a new model learns from and is evaluated on: text, each record of which `onRecord` sees where none is held out. */
export const openTextData = async (
  options: TrainingOptions,
  context: Context,
  onRecord: (record: DataRecord) => void,
): Promise<RunData> => {
  const { evalSplit, evalData, seed, task } = options
  if (task !== undefined && task !== 'causal')
    throw new UsageError('WrongTask', `--task ${task}: a new model predicts the next token`)
  const how = reading(options, task, context)
  const whole = await openRecords(options.data, { ...how, ...(evalSplit === undefined && { onRecord }) })
  const parts = evalSplit === undefined ? undefined : await split(whole, evalSplit, seed)
  if (parts) for await (const record of parts.train) onRecord(record)
  const data = parts?.train ?? whole
  const held = evalData === undefined ? parts?.evaluation : await openRecords(evalData, how)
  return { task: 'causal', data, held, records: await data.size() }
}

/** What a verb gives `runTraining`. */
export interface Training {
  /** The verb. */
  command: string
  /** Its noun: the method. */
  method?: string
  /** What the run starts from. */
  base: string
  model: Model
  /** Absent where the task reads no text. */
  tokenizer?: Tokenizer
  options: TrainingOptions
  data: RunData
  /** Writes the trained model. */
  save: (model: Model, folder: string) => Promise<void>
}

/** How a run went; in its run.json, and printed. */
export interface TrainingResult extends Pick<FitResult, 'outcome' | 'evaluation'> {
  folder: string
  steps: number
  /** Of the last step. */
  loss?: number
  /** Numbers that train. */
  trainable: number
  seconds: number
  /** Bytes: the most that the process has held. */
  peakMemory: number
}

const sizeOfModel = (model: Model): number =>
  Object.values(movedParameters(model)).reduce((sum, { shape }) => sum + sizeOf(shape), 0)

/** The optimiser that the options name. */
const optimizerOf = (options: TrainingOptions): Optimizer => {
  const { optimizer, weightDecay, momentum, betas, epsilon, epsilonBeforeCorrection } = options
  if (optimizer === 'sgd') return sgd({ momentum, weightDecay })
  return adamW({ betas: [betas[0], betas[1]], epsilon, epsilonBeforeCorrection, weightDecay })
}

/** Steps of a run over packed rows, whose tokens are known; undefined where they are not. */
const packedSteps = (
  { epochs, batch, accumulate, length }: TrainingOptions,
  { tokens }: RunData,
  limit: number,
): number | undefined =>
  tokens === undefined
    ? undefined
    : Math.max(1, Math.ceil(Math.ceil(Math.ceil((tokens * epochs) / (length ?? limit)) / batch) / accumulate))

/** The library's options for those of the command line. */
const fitOptions = (
  { options, tokenizer, data, model }: Training,
  out: string,
  { progress, signal }: Context,
): FitOptions => ({
  out,
  signal,
  onProgress: progress,
  tokenizer,
  steps: options.steps ?? packedSteps(options, data, rowLength(model, options.length)),
  epochs: options.epochs,
  learningRate: options.learningRate,
  schedule: options.schedule,
  warmup: options.warmup,
  optimizer: optimizerOf(options),
  clip: options.clip || undefined,
  batch: options.batch,
  accumulate: options.accumulate,
  length: options.length,
  packing: options.packing,
  recompute: options.recompute,
  seed: options.seed,
  evaluation: data.held,
  evaluateEvery: options.evalEvery,
  patience: options.patience,
  checkpointEvery: options.checkpointEvery,
  resume: options.resume,
  overwrite: options.force && !options.resume,
})

/** Options that say how one call is made, not what the run is. */
const ofTheCall = ['out', 'resume', 'force', 'dryRun', 'strict', 'device', 'threads', 'memory']

const lasting = (options: TrainingOptions): Record<string, unknown> =>
  Object.fromEntries(Object.entries(options).filter(([key]) => !ofTheCall.includes(key)))

/**
 * Trains and fills the run's folder (`--out`, else a fresh one under `home`): the trained model, weft.yaml (the
 * options), run.json, metrics.jsonl and checkpoints. An interrupted run leaves checkpoints and no model.
 */
export const runTraining = async (training: Training, context: Context): Promise<void> => {
  const { command, method, base, options } = training
  const { out, resume, force, seed } = options
  if (options.dryRun) return context.result(await planOf(training, context), planText)
  const config = lasting(options)
  const words = [command, method].filter(Boolean).join(' ')
  const subject = [method, basename(base)].filter(Boolean).join(' ')
  const about = { command, subject, config: { base, ...config }, seed }
  const start = { ...about, folder: out, resume, replace: force && !resume }
  const work = async (run: Run): Promise<TrainingResult> => {
    await run.artifact('weft.yaml', `# weft ${words} ... --config FILE\n${formatConfig(config)}`)
    return trainInto(run.folder, training, context)
  }
  const result = await recordRun(context.home, start, work, { signal: context.signal })
  if (result.outcome !== 'interrupted') return context.result(result, summary)
  context.info(
    `Stopped after step ${result.steps}. To continue, run the same with: --out ${result.folder} --resume`,
  )
}

const trainInto = async (folder: string, training: Training, context: Context): Promise<TrainingResult> => {
  const start = performance.now()
  const { data, save, model } = training
  const settings = fitOptions(training, folder, context)
  const consider = considering(model, data.data, settings, memoryLimit(training.options.memory))
  const result = await fit(model, data.data, { ...settings, consider })
  const { outcome, evaluation, loss, state } = result
  if (outcome !== 'interrupted') await saveInto(folder, async (fresh) => save(result.model, fresh))
  return {
    ...{ folder, outcome, evaluation, steps: state.step, trainable: sizeOfModel(model) },
    ...(Number.isNaN(loss) ? {} : { loss }),
    seconds: (performance.now() - start) / 1000,
    peakMemory: peakMemory(),
  }
}

/** The measures of a task that tell most. */
const measuresOf = ({ perplexity, accuracy, f1, entityF1, exactMatch, wordF1 }: Evaluation): string => {
  const shown = [
    accuracy !== undefined && `accuracy ${short(accuracy)}`,
    f1 !== undefined && `F1 ${short(f1)}`,
    entityF1 !== undefined && `F1 of entities ${short(entityF1)}`,
    exactMatch !== undefined && `exact match ${short(exactMatch)}`,
    wordF1 !== undefined && `F1 of words ${short(wordF1)}`,
    perplexity !== undefined && `perplexity ${short(perplexity)}`,
  ].filter(Boolean)
  return shown.length > 0 ? ` (${shown.join(', ')})` : ''
}

const summary = ({ folder, outcome, steps, loss, evaluation, seconds }: TrainingResult): string =>
  [
    `Wrote ${folder} after ${steps} steps${outcome === 'stopped early' ? ' (stopped early)' : ''}`,
    ` in ${formatTime(seconds)}`,
    loss === undefined ? '' : `, loss ${short(loss)}`,
    evaluation ? `, held-out loss ${short(evaluation.loss)}${measuresOf(evaluation)}` : '',
  ].join('')

const planOf = async (training: Training, context: Context): Promise<Plan> => {
  const { base, model, data, options } = training
  const trainable = sizeOfModel(model)
  const settings = fitOptions(training, '', context)
  return {
    ...{ base, out: options.out, records: data.records, trainable },
    stateBytes: stateBytes(trainable, options),
    ...(await forecast(model, data.data, settings, memoryLimit(options.memory))),
  }
}
