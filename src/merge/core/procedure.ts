/**
 * @file What a merge is that a function of aligned tensors cannot be: one that looks at data, searches, aligns or trains.
 * A procedure takes whole models and gives one; options, the command line and where the result goes are the same for all.
 */
import { rm } from 'node:fs/promises'
import { z } from 'zod'
import {
  type Checkpoint,
  type CheckpointForm,
  exists,
  type JsonObject,
  reformat,
} from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import type { Paper } from '../../papers/card.js'
import type { DrawnPlot } from '../../papers/plot.js'
import type { OnProgress } from '../../progress.js'
import { checkInputs } from '../../stream/shards.js'
import { asIs } from '../../stream/stream.js'
import type { TensorJob } from '../../stream/task.js'
import type { Tokenizer } from '../../text/index.js'
import type { Data } from '../../train/index.js'

/** Surroundings that every procedure is given beside its own options. */
export interface ProcedureContext {
  /** Names of the models in reports and recipes. Default: their folders. */
  readonly names?: readonly string[]
  /** Checkpoint that the models started from. */
  readonly base?: Checkpoint
  /** Data that it searches, aligns or trains on. */
  readonly data?: Data
  /** Data that it is scored on, where these must be others. Default: as the procedure says. */
  readonly evaluation?: Data
  /** Default: that of the first model's folder. */
  readonly tokenizer?: Tokenizer
  /** Seed of everything drawn at random. Default 0. */
  readonly seed?: number | string
  readonly onProgress?: OnProgress
  readonly signal?: AbortSignal
}

/** Result of a procedure. */
export interface Merged {
  /** Findings on the way: coefficients, scores, what was accepted. Saved as merge-report.json. */
  readonly report: JsonObject
  /** Notes for the user: warnings, and what the report comes to. */
  readonly notes: readonly string[]
  /** Plots that the lab draws: the run's plots.json. */
  readonly plots?: readonly DrawnPlot[]
  /** Writes the merged checkpoint, which loads as its sources do; the folder is made. A procedure itself ignores `form`. */
  save(folder: string, form?: CheckpointForm): Promise<void>
}

/** How a procedure is tried in moments: what the family's contract suite calls it with beside base and data. */
export interface ProcedureExample {
  /** The suite's tiny models: networks that tell classes apart, or language models with a tokenizer. Default classifiers. */
  readonly models?: 'classifiers' | 'decoders'
  /** Options that make it small. Default: its own defaults. */
  readonly options?: Readonly<Record<string, unknown>>
}

/** Declaration of a procedure. `O`: its own options. */
export interface ProcedureDefinition<O> {
  readonly paper: Paper
  /** Name on the command line. Default: the paper's id. */
  readonly name?: string
  /** Summary of what it does, in a line. */
  readonly summary: string
  readonly base: 'required' | 'optional' | 'none'
  readonly data: 'required' | 'optional' | 'none'
  /** Whether it scores on other data than it looks at. Default none. */
  readonly evaluation?: 'optional' | 'none'
  /** Whether its models may be adapter folders as they are. Default false: adapters are folded into their base first. */
  readonly adapters?: boolean
  /** How many models it takes beside the base: [least, most]. */
  readonly counts: readonly [number, number]
  /** A strict object of its own options, each with a default or optional, and described. */
  readonly options: z.ZodObject
  readonly example?: ProcedureExample
  /** models: in the order given. Throws UsageError for options that do not fit them, CheckpointError for models that do not fit each other. */
  run(models: readonly Checkpoint[], options: O, context: ProcedureContext): Promise<Merged>
}

/** A procedure, called as a function: `await greedySoup([a, b, c], { data })`. */
export interface Procedure<O> extends Omit<ProcedureDefinition<O>, 'run'> {
  (models: readonly Checkpoint[], options?: Partial<O> & ProcedureContext): Promise<Merged>
  readonly name: string
}

const contextKeys = [
  'names',
  'base',
  'data',
  'evaluation',
  'tokenizer',
  'seed',
  'onProgress',
  'signal',
] as const

/** What was given, apart: a procedure's own options, and the rest. */
export const withoutContext = <O>(
  given: Partial<O> & ProcedureContext,
): { readonly own: Partial<O>; readonly context: ProcedureContext } => {
  const isContext = ([key]: [string, unknown]): boolean => (contextKeys as readonly string[]).includes(key)
  const entries = Object.entries(given)
  return {
    own: Object.fromEntries(entries.filter((entry) => !isContext(entry))) as Partial<O>,
    context: Object.fromEntries(entries.filter(isContext)),
  }
}

/** Declares a procedure. What it gives throws UsageError for options and inputs that do not fit. */
export const procedure = <O>({ run, ...about }: ProcedureDefinition<O>): Procedure<O> => {
  const name = about.name ?? about.paper.id
  const call = async (
    models: readonly Checkpoint[],
    given: Partial<O> & ProcedureContext = {},
  ): Promise<Merged> => {
    const result = about.options.safeParse(withoutContext<O>(given).own)
    if (!result.success) throw new UsageError('BadOption', `${name}: ${z.prettifyError(result.error)}`)
    checkGiven({ ...about, name }, models.length, given)
    const { signal } = given
    signal?.throwIfAborted()
    await checkFinite(models, given)
    const merged = await run(models, result.data as O, given)
    signal?.throwIfAborted()
    return { ...merged, save: (folder, form = {}) => savedWhole(merged, folder, form, signal) }
  }
  // A function's own name is not writable until it is defined anew.
  return Object.assign(
    Object.defineProperty(call, 'name', { value: name, writable: true }),
    about,
  ) as Procedure<O>
}

/** Throws CheckpointError (NotFinite) for models with NaN or infinities: before anything is searched, aligned or trained. */
const checkFinite = async (
  models: readonly Checkpoint[],
  { base, signal }: ProcedureContext,
): Promise<void> => {
  const tensors = [...models, ...(base ? [base] : [])].flatMap((checkpoint) =>
    checkpoint.names().map((name): TensorJob => {
      const info = checkpoint.info(name)
      const { dtype, shape } = info
      return { name, dtype, shape, action: 'copy', inputs: [{ checkpoint, info }], parameters: undefined }
    }),
  )
  await checkInputs({ method: asIs, tensors }, { name: 'check', signal })
}

/** Saves to `folder` in the form that is asked for. What fails leaves nothing where there was nothing. */
const savedWhole = async (
  merged: Merged,
  folder: string,
  form: CheckpointForm,
  signal: AbortSignal | undefined,
): Promise<void> => {
  signal?.throwIfAborted()
  const wasThere = await exists(folder)
  try {
    await merged.save(folder)
    await reformat(folder, form)
  } catch (error) {
    if (!wasThere) await rm(folder, { recursive: true, force: true })
    throw error
  }
}

/** What of a procedure's declaration says which inputs it takes. */
type Inputs = Pick<Procedure<never>, 'name' | 'base' | 'data' | 'evaluation' | 'counts'>

/**
 * Throws UsageError when there are too few or too many models, no base or data where there must be, or some that it has
 * no use for. models: how many.
 */
export const checkGiven = (
  { name, base, data, evaluation = 'none', counts: [least, most] }: Inputs,
  models: number,
  given: Readonly<Partial<Record<'base' | 'data' | 'evaluation', unknown>>>,
): void => {
  const refuse = (code: string, message: string, hint: string): never => {
    throw new UsageError(code, `${name}: ${message}`, { hint })
  }
  if (models < least || models > most)
    refuse(
      'ModelCount',
      `given ${models} models`,
      `It takes ${least === most ? least : most === Infinity ? `at least ${least}` : `${least} to ${most}`}.`,
    )
  if (base === 'required' && !given.base)
    refuse('NoBase', 'it needs the model that the others started from', 'Give it as base (--base).')
  if (base === 'none' && given.base)
    refuse('UnwantedBase', 'it has no use for a base', 'Leave it out, or give it among the models.')
  if (data === 'required' && !given.data)
    refuse('NoData', 'it needs data', 'Give them as data (--data FILE).')
  if (data === 'none' && given.data) refuse('UnwantedData', 'it looks at no data', 'Leave them out.')
  if (evaluation === 'none' && given.evaluation)
    refuse('UnwantedData', 'it scores on no data of their own', 'Leave them out (--eval-data).')
}
