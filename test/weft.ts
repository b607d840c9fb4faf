/** @file Runs the command line in this process, as its tests do. */
import { run } from '../src/cli/program.js'
import type { Environment } from '../src/cli/verb.js'

/** How a call ended, and what it wrote. */
export interface Outcome {
  code: number
  out: string
  err: string
}

/** `weft ...argv` with nothing in the environment but `env`. */
export const weftWith = async (
  env: Environment,
  argv: readonly string[],
  signal: AbortSignal = new AbortController().signal,
): Promise<Outcome> => {
  let [out, err] = ['', '']
  const code = await run(argv, {
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    env,
    signal,
  })
  return { code, out, err }
}

export const weft = (...argv: string[]): Promise<Outcome> => weftWith({}, argv)
