/** @file What a row of a file is, and the error for one that is none. */
import { CheckpointError } from '../errors.js'

/** The columns of a row by name. */
export type Row = Readonly<Record<string, unknown>>

/** Reader of a row: the record that it stands for. `where` names file and row, and opens the message of the CheckpointError for a malformed one. */
export type ReadRow<R> = (row: unknown, where: string) => R

/** The error for a row that cannot be what it should. */
export const malformed = (where: string, what: string, options: { cause?: unknown } = {}): CheckpointError =>
  new CheckpointError('MalformedRecord', `${where}: ${what}`, {
    ...options,
    hint: 'Correct the line, or skip malformed lines: skipMalformed, --skip-malformed.',
  })

/** Whether an error says that a row is malformed, which is what may be skipped. */
export const isMalformed = (error: unknown): boolean =>
  error instanceof CheckpointError && error.code === 'MalformedRecord'

/** A value's kind in the words of messages. */
export const kindOf = (x: unknown): string =>
  x === null ? 'null' : Array.isArray(x) ? 'a list' : `a ${typeof x}`
