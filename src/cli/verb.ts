/**
 * @file What a verb of the command line is. A verb is a plain object, so that the help page costs nothing: whatever is
 * heavy (schemas, YAML, the engine) is imported inside `options` and `run`.
 */
import type { ZodObject, infer as Infer } from 'zod'
import type { OnProgress } from '../progress.js'

/** Where text goes: `process.stdout`, `process.stderr`, or a test's buffer. */
export interface Output {
  write(text: string): unknown
  isTTY?: boolean
  columns?: number
}

/** Where lines come from: `process.stdin`, or a test's stream. */
export type Input = NodeJS.ReadableStream & { readonly isTTY?: boolean }

/** Environment variables by name. */
export type Environment = Record<string, string | undefined>

/** The world as a verb sees it. */
export interface Context {
  stdout: Output
  stderr: Output
  /** Standard input; absent where there is none. */
  stdin?: Input
  env: Environment
  /** Aborted by the first Ctrl-C or SIGTERM: write what must be kept, then return or throw. */
  signal: AbortSignal
  /** `--json`: results and events are JSON. */
  json: boolean
  /** Where runs are written when no `--out` is given: WEFT_HOME, else `runs`. */
  home: string
  /** Prints the result on stdout: as JSON with `--json`, else as `text` says. */
  result<T>(value: T, text: (value: T) => string): void
  /** Prints a line on stderr, unless `-q`. */
  info(text: string): void
  /** Prints a line on stderr with `-v` or `WEFT_LOG=debug`. */
  debug(text: string): void
  /** Draws progress on stderr: a bar on a terminal, else a line every few seconds; JSON lines with `--json`. */
  progress: OnProgress
}

/** A positional argument. */
export interface Argument {
  name: string
  summary: string
  optional?: boolean
  /** Takes all that remain; the last argument only. */
  many?: boolean
  /** Kind of file that it names: the program checks that a model is there before the verb runs. */
  names?: 'model'
}

/** The heading of the help page under which a verb stands. */
export type Group = 'Start' | 'Checkpoints' | 'Train and adapt' | 'Use' | 'Research'

/** What every verb and noun has. */
interface Named {
  name: string
  summary: string
  examples: readonly string[]
}

/** A command that runs. */
export interface Action extends Named {
  /** An argument named `config` is the config file. */
  arguments: readonly Argument[]
  /** Adds `-c, --config FILE`. */
  config?: boolean
  /** Keeps a run under `home` where no `--out` is given: the program checks that it can. */
  keepsRun?: boolean
  /** The options, which are flags and config keys alike (see options.ts for short names and environment variables). */
  options?: () => Promise<ZodObject>
  /** Lines for the help page about what was chosen: the parameters of the method that `--method` names. */
  about?: (chosen: Readonly<Record<string, unknown>>) => Promise<string>
  run(
    call: { arguments: Record<string, string | string[] | undefined>; options: object },
    context: Context,
  ): Promise<void>
}

/** A command that only holds others: `weft adapt lora`, `weft adapt vera`, ... Loaded when the verb is named. */
export interface Family extends Named {
  /** What its members are called in the help: `method`. */
  noun: string
  members: () => Promise<readonly Action[]>
}

export type Verb = (Action | Family) & { group: Group }

type Arguments<A extends readonly Argument[]> = {
  [P in A[number] as P['name']]: P extends { many: true }
    ? string[]
    : P extends { optional: true }
      ? string | undefined
      : string
}

/** An action whose `run` sees its arguments and options typed; the type parameters are inferred. */
export interface TypedAction<A extends readonly Argument[], O extends ZodObject> extends Named {
  arguments: A
  config?: boolean
  keepsRun?: boolean
  options?: () => Promise<O>
  about?: Action['about']
  run(call: { arguments: Arguments<A>; options: Infer<O> }, context: Context): Promise<void>
}

/** Declares an action. The cast is sound: the program gives `run` what `arguments` and `options` have validated. */
export const action = <const A extends readonly Argument[], O extends ZodObject>(
  definition: TypedAction<A, O>,
): Action => definition as unknown as Action
