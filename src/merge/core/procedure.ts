/**
 * @file What a merge is that a function of aligned tensors cannot be: one that looks at data, searches, aligns or trains.
 * A procedure takes whole models and gives one; options, the command line and where the result goes are the same for all.
 */
import { z } from 'zod'
import type { Checkpoint, JsonObject } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import type { Paper } from '../../papers/card.js'
import type { DrawnPlot } from '../../papers/plot.js'
import type { OnProgress } from '../../progress.js'
import type { Tokenizer } from '../../text/index.js'
import type { Data } from '../../train/index.js'

/** What every procedure is given beside its own options. */
export interface ProcedureContext {
  /** What the models are called in reports and recipes. Default: their folders. */
  readonly names?: readonly string[]
  /** What the models started from. */
  readonly base?: Checkpoint
  /** What it searches, aligns or trains on. */
  readonly data?: Data
  /** What it is scored on, where that must be other data. Default: as the procedure says. */
  readonly evaluation?: Data
  /** Default: that of the first model's folder. */
  readonly tokenizer?: Tokenizer
  /** Of everything drawn at random. Default 0. */
  readonly seed?: number | string
  readonly onProgress?: OnProgress
  readonly signal?: AbortSignal
}

/** What came of a procedure. */
export interface Merged {
  /** What was found out on the way: coefficients, scores, what was accepted. Saved as merge-report.json. */
  readonly report: JsonObject
  /** What a user should know: warnings, and what the report comes to. */
  readonly notes: readonly string[]
  /** What the lab draws of it: the run's plots.json. */
  readonly plots?: readonly DrawnPlot[]
  /** Writes the merged checkpoint, which loads as its sources do; the folder is made. */
  save(folder: string): Promise<void>
}

/** What a procedure's file declares. `O`: its own options. */
export interface ProcedureDefinition<O> {
  readonly paper: Paper
  /** Its name on the command line. Default: the paper's id. */
  readonly name?: string
  /** What it does, in a line. */
  readonly summary: string
  readonly base: 'required' | 'optional' | 'none'
  readonly data: 'required' | 'optional' | 'none'
  /** Whether its models may be adapter folders as they are. Default false: adapters are folded into their base first. */
  readonly adapters?: boolean
  /** How many models it takes beside the base: [least, most]. */
  readonly counts: readonly [number, number]
  /** A strict object of its own options, each with a default or optional, and described. */
  readonly options: z.ZodObject
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

/** Declares a procedure. */
export const procedure = <O>({ run, ...about }: ProcedureDefinition<O>): Procedure<O> => {
  const name = about.name ?? about.paper.id
  const call = async (
    models: readonly Checkpoint[],
    given: Partial<O> & ProcedureContext = {},
  ): Promise<Merged> => {
    const result = about.options.safeParse(withoutContext<O>(given).own)
    if (!result.success) throw new UsageError('BadOption', `${name}: ${z.prettifyError(result.error)}`)
    checkInputs({ ...about, name }, models.length, given)
    return run(models, result.data as O, given)
  }
  // A function's own name is not writable until it is defined anew.
  return Object.assign(
    Object.defineProperty(call, 'name', { value: name, writable: true }),
    about,
  ) as Procedure<O>
}

/** Throws UsageError when there are too few or too many models, or no base or data where there must be. */
const checkInputs = (
  { name, base, data, counts: [least, most] }: Pick<Procedure<never>, 'name' | 'base' | 'data' | 'counts'>,
  models: number,
  given: ProcedureContext,
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
}
