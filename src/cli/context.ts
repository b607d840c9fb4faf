/** @file What a running verb has to do with its surroundings: streams, levels, progress. */
import { progressDisplay } from './progress.js'
import type { Context, Environment, Input, Output } from './verb.js'

/** What surrounds the program. `signal` aborts with the signal's name (`SIGINT`, `SIGTERM`) as its reason. */
export interface World {
  stdout: Output
  stderr: Output
  /** Default: no input. */
  stdin?: Input
  env: Environment
  signal: AbortSignal
}

/** The context of one call, from its common flags; `finish` removes what progress has left on the terminal. */
export const contextOf = (
  flags: Record<string, unknown>,
  world: World,
): { context: Context; finish: () => void } => {
  const { stdout, stderr, stdin, env, signal } = world
  const json = flags.json === true
  const quiet = flags.quiet === true || (!flags.verbose && env.WEFT_LOG === 'error')
  const debug = Boolean(flags.verbose) || (!flags.quiet && env.WEFT_LOG === 'debug')
  const display = progressDisplay(stderr, { json, quiet, env })
  const say = (shown: boolean, text: string): void => {
    if (!shown) return
    display.clear()
    stderr.write(`${json ? JSON.stringify({ status: 'log', text }) : text}\n`)
  }
  const context: Context = {
    stdout,
    stderr,
    stdin,
    env,
    signal,
    json,
    home: env.WEFT_HOME || 'runs',
    result: (value, text) => {
      display.clear()
      stdout.write(`${json ? JSON.stringify(value, null, 2) : text(value)}\n`)
    },
    info: (text) => say(!quiet, text),
    debug: (text) => say(debug, text),
    progress: display.report,
  }
  return { context, finish: display.clear }
}
