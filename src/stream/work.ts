/** @file What a thread of a stream is given, does and says. */
import { CheckpointError, exitCodes, MemoryError, UsageError, WeftError } from '../errors.js'
import type { Board } from './board.js'
import type { BlockMethod, MethodAddress } from './method.js'
import { check, type Desk, runsOf, type Turn } from './stream.js'
import { type Task, writeAll } from './task.js'

/** What a worker is given. */
export interface WorkerStart {
  readonly tasks: readonly Task[]
  readonly method: MethodAddress
  readonly seed: string
  /** Bytes of inputs that it may keep in memory between passes. */
  readonly kept: number
  readonly shared: SharedArrayBuffer
}

/** What a worker says: a task is done, or how it failed. */
export type WorkerNews = { readonly done: number } | { readonly failure: Failure }

/** An error as a message carries it. */
export interface Failure {
  readonly code?: string
  readonly message: string
  readonly hint?: string
  readonly exitCode?: number
}

/** `error` as a message. */
export const failureOf = (error: unknown): Failure => {
  const { code, message, hint, exitCode } = error as WeftError
  return error instanceof WeftError
    ? { code, message, hint, exitCode }
    : { code, message: message ?? String(error) }
}

const kinds: Readonly<Record<number, typeof WeftError | undefined>> = {
  [exitCodes.usage]: UsageError,
  [exitCodes.checkpoint]: CheckpointError,
  [exitCodes.memory]: MemoryError,
}

/** The error that a message carries. */
export const errorOf = ({ code, message, hint, exitCode }: Failure): Error => {
  if (exitCode === undefined) return Object.assign(new Error(message), { code })
  // The message ends with the hint already.
  return Object.assign(new (kinds[exitCode] ?? WeftError)(code!, message), { hint })
}

/** Thrown within a thread to leave its task when another has failed. */
export class Stopped extends Error {}

/** Does one task: writes what its `out` says, or checks its inputs. */
export const perform = async (
  task: Task,
  method: BlockMethod,
  seed: string,
  { board, ...desk }: Desk & { readonly board: Board; readonly turn: Turn },
): Promise<void> => {
  if (!task.out) return check(task, desk)
  const { file, offset } = task.out
  let at = offset
  for await (const bytes of runsOf(task, method, seed, desk)) {
    writeAll(file, bytes, at)
    at += bytes.length
    board.add(bytes.length)
    await desk.turn()
  }
}
