/** @file What training needs of the machine: said by `--dry-run`, and refused beforehand where the machine has not that much. */
import { totalmem } from 'node:os'
import type { Checkpoint } from '../checkpoint/index.js'
import { MemoryError } from '../errors.js'
import { architectureFor, type Model } from '../models/index.js'
import { engineBytes, mappedBytes, type ProgramNeeds, sizeOf, valueBytes } from '../tensor/index.js'
import { calibrate, type Data, type FitOptions, rehearse, secondsOf } from '../train/index.js'
import { rowLength } from '../train/data.js'
import { formatBytes, short } from './progress.js'
import { grouped } from './table.js'

/** Bytes that this process may hold: `--memory`, else the machine's or those of its control group. */
export const memoryLimit = (memory?: number): number => {
  const group = process.constrainedMemory() ?? 0
  return memory ?? (group > 0 ? Math.min(group, totalmem()) : totalmem())
}

/** What a run will take. */
export interface Forecast {
  /** Bytes at most, of which the files that are mapped. */
  readonly memory: number
  readonly mapped: number
  /** Bytes that there are. */
  readonly limit: number
  /** Of a step on a batch of the average length. */
  readonly stepSeconds: number
  /** Flags with which it would fit, where it does not. */
  readonly fits?: string
}

/** The same run with less memory: what its flags would be, the gentlest first. */
const smaller = (
  model: Model,
  options: FitOptions,
): { readonly flags: string; readonly options: FitOptions }[] => {
  const found: { flags: string; options: FitOptions }[] = []
  const recompute = options.recompute ? '' : '--recompute '
  const add = (flags: string, changes: FitOptions): void =>
    void found.push({ flags: flags.trim(), options: { ...options, ...changes } })
  if (recompute) add(recompute, { recompute: true })
  const { batch = 8, accumulate = 1 } = options
  for (let rows = Math.floor(batch / 2); rows >= 1; rows = Math.floor(rows / 2)) {
    const batches = Math.ceil((batch * accumulate) / rows)
    add(`${recompute}--batch ${rows} --accumulate ${batches}`, {
      recompute: true,
      batch: rows,
      accumulate: batches,
    })
  }
  const length = rowLength(model, options.length)
  for (let tokens = Math.floor(length / 2); tokens >= 32; tokens = Math.floor(tokens / 2))
    add(`${recompute}--batch 1 --length ${tokens}`, { recompute: true, batch: 1, length: tokens })
  return found
}

/** The gentlest flags with which the run takes no more than `room` beside what is held; undefined where none would do. */
export const fitting = async (
  model: Model,
  data: Data,
  options: FitOptions,
  room: number,
): Promise<string | undefined> => {
  for (const { flags, options: changed } of smaller(model, options))
    if ((await rehearse(model, data, changed)).memory <= room) return flags
  return undefined
}

/** What the run of these options will take. Throws as `rehearse` and `calibrate` do, and the reason of an aborted signal. */
export const forecast = async (
  model: Model,
  data: Data,
  options: FitOptions,
  limit: number,
): Promise<Forecast> => {
  options.signal?.throwIfAborted()
  const needs = await rehearse(model, data, options)
  options.signal?.throwIfAborted()
  // Before the calibration, whose own memory no run takes.
  const held = process.memoryUsage.rss()
  const memory = held + needs.memory
  const speed = await calibrate()
  const share = needs.tokens.mean / needs.tokens.largest
  return {
    memory,
    mapped: needs.mapped,
    limit,
    stepSeconds: secondsOf(needs.work, speed) * share,
    ...(memory > limit && { fits: await fitting(model, data, options, limit - held) }),
  }
}

const refuse = (memory: number, limit: number, fits: string | undefined): never => {
  throw new MemoryError(
    'TooLarge',
    `training would take ${formatBytes(memory)}; there are ${formatBytes(limit)}`,
    {
      hint: fits
        ? `It would fit with: ${fits}`
        : 'Take a smaller model, or a machine with more memory; an adapter (weft adapt) trains with less than the whole model.',
    },
  )
}

/** The optimiser's part of the options, and what may be held. */
interface StateOptions {
  readonly optimizer: 'adamw' | 'sgd' | (string & {})
  readonly momentum: number
  readonly memory?: number
  readonly dryRun: boolean
}

/** Bytes of so many trained numbers, their gradients and the optimiser's moments. */
export const stateBytes = (
  trainable: number,
  { optimizer, momentum }: Pick<StateOptions, 'optimizer' | 'momentum'>,
): number => trainable * 4 * (optimizer === 'adamw' ? 4 : momentum ? 3 : 2)

/**
 * Throws MemoryError where training all of a checkpoint needs more than there is, whatever its batches: before it is read. A dry
 * run says so instead.
 */
export const checkState = ({ config }: Pick<Checkpoint, 'config'>, options: StateOptions): void => {
  if (options.dryRun) return
  const architecture = architectureFor(config)
  const table = architecture.table(architecture.readConfig(config))
  const trained = table.filter(({ tied, kind }) => tied === undefined && kind !== 'buffer')
  const bytes = stateBytes(
    trained.reduce((sum, { shape }) => sum + sizeOf(shape), 0),
    options,
  )
  const limit = memoryLimit(options.memory)
  if (bytes > limit) refuse(bytes, limit, undefined)
}

/**
 * Refuses a program of the run that would take more than `limit` bytes, before it is opened: for `compile`'s `consider`. What
 * programs before it have mapped is not counted once more.
 */
export const considering = (
  model: Model,
  data: Data,
  options: FitOptions,
  limit: number,
): ((program: ProgramNeeds) => Promise<void>) => {
  const before: ProgramNeeds[] = []
  return async (program) => {
    const mapped = mappedBytes([...before, program]) - mappedBytes(before)
    before.push(program)
    const held = process.memoryUsage.rss()
    const memory = held + engineBytes([program]) + mapped + valueBytes(program)
    if (memory > limit) refuse(memory, limit, await fitting(model, data, options, limit - held))
  }
}

/** What `--dry-run` says. */
export interface Plan extends Forecast {
  readonly base: string
  readonly out?: string
  readonly records: number
  readonly trainable: number
  /** Bytes of trained numbers, their gradients and the optimiser's moments. */
  readonly stateBytes: number
}

/** A plan as text, a line a fact. */
export const planText = (plan: Plan): string => {
  const { base, out, records, trainable, memory, mapped, limit, stepSeconds, fits } = plan
  const more = memory <= limit ? '' : fits ? ` It would fit with: ${fits}` : ' No flag would make it fit.'
  return [
    `Would train ${grouped(trainable)} numbers on ${grouped(records)} records, beginning from ${base},`,
    `and write ${out ?? 'a new folder under runs/'}.`,
    `Memory: ${formatBytes(memory)} at most, ${formatBytes(mapped)} of it the model's file; there are ${formatBytes(limit)}.${more}`,
    `Parameters, gradients and optimiser: ${formatBytes(plan.stateBytes)}.`,
    `A step takes about ${short(stepSeconds)} s.`,
  ].join('\n')
}
