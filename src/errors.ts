/** @file The root of every error that Weft throws on purpose, and the exit codes that the command line gives them. */

/** What a shell sees. Documented in the README; below 126 so that no code is mistaken for a signal. */
export const exitCodes = {
  ok: 0,
  failure: 1,
  usage: 2,
  checkpoint: 3,
  memory: 4,
  remote: 5,
  interrupted: 130,
  terminated: 143,
} as const

/**
 * An error with a stable `code`. The message says what was wrong, names the offending thing and its value, and says
 * what was expected; `hint` says what to do. Subclasses set `exitCode` when the failure is not a plain runtime failure.
 */
export class WeftError extends Error {
  readonly code: string
  readonly hint?: string
  readonly exitCode: number = exitCodes.failure

  constructor(code: string, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(options.hint ? `${message}\n  ${options.hint}` : message, { cause: options.cause })
    this.name = code
    this.code = code
    this.hint = options.hint
  }
}

/** The command line, an option or a config file was wrong: nothing was started. */
export class UsageError extends WeftError {
  override readonly exitCode: number = exitCodes.usage
}

/** A checkpoint, adapter or dataset file is broken or does not fit what is asked of it. */
export class CheckpointError extends WeftError {
  override readonly exitCode: number = exitCodes.checkpoint
}

/** The work would need more memory than the stated budget. */
export class MemoryError extends WeftError {
  override readonly exitCode: number = exitCodes.memory
}

/** A peer, a hub or a server failed or refused. */
export class RemoteError extends WeftError {
  override readonly exitCode: number = exitCodes.remote
}

/** Edit distance between `a` and `b` (insertions, deletions, substitutions), for "did you mean". */
export const editDistance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1))
    row = next
  }
  return row[b.length]
}

/** The `count` members of `known` nearest to `name` in edit distance, nearest first. */
export const nearest = (name: string, known: Iterable<string>, count = 3): string[] =>
  [...known]
    .map((k) => ({ k, d: editDistance(name.toLowerCase(), k.toLowerCase()) }))
    .sort((p, q) => p.d - q.d || (p.k < q.k ? -1 : 1))
    .slice(0, count)
    .map(({ k }) => k)
