/** @file What `weft train` and every `weft adapt` method share: options, checks before work starts, the run's folder. */
import { basename } from 'node:path'
import { z } from 'zod'
import type { ZodType } from 'zod'
import { CheckpointError, UsageError } from '../errors.js'
import type { Checkpoint } from '../checkpoint/index.js'
import { architectureFor, type Model } from '../models/index.js'
import { recordRun, type Run } from '../runs/index.js'
import { type Dataset, jsonl, split, type Tokenizer } from '../text/index.js'
import {
  fit,
  type FitOptions,
  type FitResult,
  adamW,
  movedParameters,
  type Optimizer,
  scheduleNames,
  sgd,
} from '../train/index.js'
import type { ScheduleName } from '../train/index.js'
import { formatConfig } from './config.js'
import { peakMemory } from './engine.js'
import { common, flag } from './options.js'
import type { Choice } from './schema.js'
import { saveInto } from './output.js'
import { formatBytes, formatTime, short } from './progress.js'
import { grouped } from './table.js'
import type { Context } from './verb.js'

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
  skipMalformed: boolean
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

/** The options of a run that trains; `learningRate` is its default. */
export const trainingOptions = (learningRate: number): Schemas<TrainingOptions> => ({
  data: flag(z.string().min(1), 'JSONL file to learn from', { short: 'd', value: 'FILE', names: 'input' }),
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
  evalData: flag(z.string().min(1).optional(), 'JSONL file to evaluate on', {
    value: 'FILE',
    names: 'input',
  }),
  evalEvery: flag(count.optional(), 'steps between evaluations (only at the end)', { when: evaluated }),
  patience: flag(count.optional(), 'stop after so many evaluations without a lower loss', {
    when: evaluated,
  }),
  checkpointEvery: flag(count.default(100), 'steps between checkpoints'),
  skipMalformed: flag(z.boolean().default(false), 'leave out lines that are no record'),
  seed: common.seed,
  resume: common.resume,
  force: common.force,
  dryRun: common.dryRun,
  strict: common.strict,
  device: common.device,
  threads: common.threads,
})

/** A JSONL file that has been read through: a malformed line is found now, not after hours. Throws CheckpointError. */
export const openData = async (
  file: string,
  skipMalformed: boolean,
  { progress, info, signal }: Pick<Context, 'progress' | 'info' | 'signal'>,
): Promise<Dataset> => {
  const data = jsonl(file, { skipMalformed })
  let records = 0
  for await (const _ of data) {
    records++
    if (records % 1000) continue
    signal.throwIfAborted()
    progress({ status: 'progress', name: basename(file), done: records, unit: 'records' })
  }
  if (records === 0) throw new CheckpointError('EmptyDataset', `${file}: it holds no record`)
  if (data.skipped) info(`${file}: left out ${data.skipped} malformed of ${records + data.skipped} lines`)
  return data
}

/** As `checkCausal`, for a checkpoint whose model is not opened yet. */
export const checkCausalCheckpoint = (checkpoint: Checkpoint): void => {
  const architecture = architectureFor(checkpoint.config)
  checkCausal({ architecture, config: architecture.readConfig(checkpoint.config), checkpoint })
}

/** Throws UsageError unless the model predicts the next token, which is what JSONL records teach. */
export const checkCausal = (model: Pick<Model, 'architecture' | 'config' | 'checkpoint'>): void => {
  const { architecture, config, checkpoint } = model
  const task = architecture.task(config)
  if (task !== 'causal')
    throw new UsageError(
      'WrongTask',
      `${checkpoint.folder}: ${architecture.name} is a model for the task "${task}"; JSONL text is for causal language models`,
      { hint: 'Use the library: fit(model, batches) takes batches of any kind.' },
    )
}

/** The data of a run, both parts checked. */
interface RunData {
  data: Dataset
  held?: Dataset
  records: number
}

/** Throws UsageError for options that do not go together: before a model is opened and data are read. */
export const checkTraining = ({ evalData, evalSplit, out, resume }: TrainingOptions): void => {
  if (evalData !== undefined && evalSplit !== undefined)
    throw new UsageError('BadUsage', '--eval-data and --eval-split exclude each other')
  if (resume && out === undefined)
    throw new UsageError('BadUsage', '--resume needs the folder of the run: --out DIR')
}

/** What a run learns from and is evaluated on. */
export const openRunData = async (options: TrainingOptions, context: Context): Promise<RunData> => {
  const { data: file, evalData, evalSplit, skipMalformed, seed } = options
  const data = await openData(file, skipMalformed, context)
  if (evalSplit !== undefined) {
    const { train, evaluation } = await split(data, evalSplit, seed)
    return { data: train, held: evaluation, records: await train.size() }
  }
  const held = evalData === undefined ? undefined : await openData(evalData, skipMalformed, context)
  return { data, held, records: await data.size() }
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
  tokenizer: Tokenizer
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
  Object.values(movedParameters(model)).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)

/** The optimiser that the options name. */
const optimizerOf = (options: TrainingOptions): Optimizer => {
  const { optimizer, weightDecay, momentum, betas, epsilon, epsilonBeforeCorrection } = options
  if (optimizer === 'sgd') return sgd({ momentum, weightDecay })
  return adamW({ betas: [betas[0], betas[1]], epsilon, epsilonBeforeCorrection, weightDecay })
}

/** The library's options for those of the command line. */
const fitOptions = (
  { options, tokenizer, data }: Training,
  out: string,
  { progress, signal }: Context,
): FitOptions => ({
  out,
  signal,
  onProgress: progress,
  tokenizer,
  steps: options.steps,
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
  seed: options.seed,
  evaluation: data.held,
  evaluateEvery: options.evalEvery,
  patience: options.patience,
  checkpointEvery: options.checkpointEvery,
  resume: options.resume,
  overwrite: options.force && !options.resume,
})

/** Options that say how one call is made, not what the run is. */
const ofTheCall = ['out', 'resume', 'force', 'dryRun', 'strict', 'device', 'threads']

const lasting = (options: TrainingOptions): Record<string, unknown> =>
  Object.fromEntries(Object.entries(options).filter(([key]) => !ofTheCall.includes(key)))

/**
 * Trains and fills the run's folder (`--out`, else a fresh one under `home`): the trained model, weft.yaml (the
 * options), run.json, metrics.jsonl and checkpoints. An interrupted run leaves checkpoints and no model.
 */
export const runTraining = async (training: Training, context: Context): Promise<void> => {
  const { command, method, base, options } = training
  const { out, resume, force, seed } = options
  if (options.dryRun) return context.result(planOf(training), planText)
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
  const result = await fit(model, data.data, fitOptions(training, folder, context))
  const { outcome, evaluation, loss, state } = result
  if (outcome !== 'interrupted') await saveInto(folder, (fresh) => save(result.model, fresh))
  return {
    ...{ folder, outcome, evaluation, steps: state.step, trainable: sizeOfModel(model) },
    ...(Number.isNaN(loss) ? {} : { loss }),
    seconds: (performance.now() - start) / 1000,
    peakMemory: peakMemory(),
  }
}

const summary = ({ folder, outcome, steps, loss, evaluation, seconds }: TrainingResult): string =>
  [
    `Wrote ${folder} after ${steps} steps${outcome === 'stopped early' ? ' (stopped early)' : ''}`,
    ` in ${formatTime(seconds)}`,
    loss === undefined ? '' : `, loss ${short(loss)}`,
    evaluation
      ? `, held-out loss ${short(evaluation.loss)} (perplexity ${short(evaluation.perplexity)})`
      : '',
  ].join('')

/** What `--dry-run` says. */
interface Plan {
  base: string
  out?: string
  records: number
  trainable: number
  /** Bytes of trained numbers, their gradients and the optimiser's moments; activations come on top. */
  stateBytes: number
}

const planOf = ({ base, model, data, options }: Training): Plan => {
  const trainable = sizeOfModel(model)
  const copies = options.optimizer === 'adamw' ? 4 : options.momentum ? 3 : 2
  return { base, out: options.out, records: data.records, trainable, stateBytes: trainable * 4 * copies }
}

const planText = ({ base, out, records, trainable, stateBytes }: Plan): string =>
  [
    `Would train ${grouped(trainable)} numbers on ${grouped(records)} records, beginning from ${base},`,
    `and write ${out ?? 'a new folder under runs/'}.`,
    `Parameters, gradients and optimiser: ${formatBytes(stateBytes)}, activations on top.`,
  ].join('\n')
