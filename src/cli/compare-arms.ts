/** @file The arms of `weft adapt compare`: each trains in a process of its own, so that its memory is its own. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type AdapterMethod, methods } from '../adapt/index.js'
import { sizedFor } from '../adapt/index.js'
import { nearest, UsageError } from '../errors.js'
import type { Model } from '../models/index.js'
import { readMetrics, readRun } from '../runs/index.js'
import { weftChild } from './child.js'
import type { EvaluationReport } from './eval.js'
import type { TrainingResult } from './training.js'
import type { Context } from './verb.js'
import { sizeOf } from '../tensor/shape.js'
import { medianOf } from '../tensor/numbers.js'

/** The reference of every comparison: all weights train. */
export const fullMethod = 'full'

/** One training: a method at a size and a learning rate. */
export interface Arm {
  readonly name: string
  readonly method: string
  readonly rate: number
  /** What the budget decided. */
  readonly options: Readonly<Record<string, number>>
  readonly parameters: number
}

/** What came of it, or why nothing did. */
export interface ArmResult extends Arm {
  readonly folder: string
  readonly error?: string
  /** Held-out. */
  readonly loss?: number
  /** On multiple choice or classes. */
  readonly accuracy?: number
  /** Median seconds of a step. */
  readonly stepSeconds?: number
  /** Bytes: the most that its process held. */
  readonly peakMemory?: number
  /** How much the loss on the base's own data has risen. */
  readonly forgetting?: number
  /** Loss by step. */
  readonly curve: readonly { readonly step: number; readonly loss: number }[]
}

/** The method of this name. Throws UsageError with the nearest. */
const methodOf = (name: string): AdapterMethod<never> => {
  const match = methods.find(({ paper }) => paper.id === name)
  if (match) return match
  const known = [fullMethod, ...methods.map(({ paper }) => paper.id)]
  throw new UsageError('NoSuchMethod', `--methods: no method is called '${name}'`, {
    hint: `Nearest: ${nearest(name, known).join(', ')}.`,
  })
}

/** Every method at the budget, with every rate. Throws UsageError for a method that there is not. */
export const armsOf = async (
  base: Model,
  { names, budget, rates }: { names: readonly string[]; budget: number; rates: readonly number[] },
): Promise<Arm[]> => {
  const all = base.architecture.table(base.config).filter(({ tied, kind }) => !tied && kind !== 'buffer')
  const whole = all.reduce((sum, { shape }) => sum + sizeOf(shape), 0)
  const arms: Arm[] = []
  for (const method of names) {
    const full = { options: {}, parameters: whole }
    const sized = method === fullMethod ? full : await sizedFor(methodOf(method), base, budget)
    for (const rate of rates)
      arms.push({ name: rates.length > 1 ? `${method}@${rate}` : method, method, rate, ...sized })
  }
  return arms
}

/** What the verb's flags say to every arm. */
export interface ArmSetting {
  readonly base: string
  readonly out: string
  /** Flags of training, the same for all. */
  readonly flags: readonly string[]
  readonly baseData?: string
  /** Loss of the base on its own data. */
  readonly baseLoss?: number
  readonly resume: boolean
}

/** Trains one arm, unless it is resumed and done, and evaluates it on the base's data. An arm that fails says why. */
export const runArm = async (arm: Arm, setting: ArmSetting, context: Context): Promise<ArmResult> => {
  const folder = join(setting.out, arm.name)
  try {
    const trained = await trainArm(arm, folder, setting, context)
    const { loss, accuracy } = trained.evaluation ?? {}
    return {
      ...{ ...arm, folder, loss, accuracy },
      // What was counted without training it is checked against what trained.
      parameters: trained.trainable,
      peakMemory: trained.peakMemory,
      forgetting: await forgettingOf(arm, folder, setting, context),
      ...(await stepsOf(folder)),
    }
  } catch (error) {
    context.signal.throwIfAborted()
    return { ...arm, folder, curve: [], error: (error as Error).message }
  }
}

const trainArm = async (
  { name, method, rate, options }: Arm,
  folder: string,
  { base, flags, resume }: ArmSetting,
  { signal, progress }: Context,
): Promise<TrainingResult> => {
  const before = resume ? await readRun(folder) : undefined
  if (before?.status === 'finished') return before.result as unknown as TrainingResult
  if (!before) await rm(folder, { recursive: true, force: true })
  const flagsOfMethod = Object.entries(options).flatMap(([key, value]) => [
    `--${key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`,
    String(value),
  ])
  const verb = method === fullMethod ? ['train', '--model', base] : ['adapt', method, base, ...flagsOfMethod]
  const call = [...verb, ...flags, '--learning-rate', String(rate), '--out', folder]
  const onProgress: Context['progress'] = (event) => progress({ ...event, name })
  return (await weftChild(before ? [...call, '--resume'] : call, { signal, onProgress })) as TrainingResult
}

const forgettingOf = async (
  { name, method }: Arm,
  folder: string,
  { base, baseData, baseLoss }: ArmSetting,
  { signal, progress }: Context,
): Promise<number | undefined> => {
  if (baseData === undefined || baseLoss === undefined) return undefined
  const model = method === fullMethod ? [folder] : [base, '--adapter', folder]
  const onProgress: Context['progress'] = (event) =>
    progress({ ...event, name: `${name} on the base's data` })
  const report = await weftChild(['eval', ...model, '--data', baseData], { signal, onProgress })
  return (report as EvaluationReport).loss - baseLoss
}

/** The curve of a run, and how long its steps took: the first few compile. */
const stepsOf = async (folder: string): Promise<Pick<ArmResult, 'curve' | 'stepSeconds'>> => {
  const { rows } = await readMetrics(folder)
  const steps = rows.filter(({ values }) => 'loss' in values && 'stepSeconds' in values)
  const timed = steps.slice(Math.min(2, steps.length - 1))
  return {
    curve: steps.map(({ step = 0, values }) => ({ step, loss: values.loss })),
    stepSeconds: steps.length ? medianOf(timed.map(({ values }) => values.stepSeconds)) : undefined,
  }
}
