/** @file Refusals with an HTTP status, and what any error says to a client. */
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { CheckpointError, UsageError, WeftError } from '../errors.js'
import type { ErrorBody } from './api.js'

/** A request that is refused, with its status. */
export class HttpError extends WeftError {
  constructor(
    readonly status: ContentfulStatusCode,
    code: string,
    message: string,
    options: { hint?: string } = {},
  ) {
    super(code, message, options)
  }
}

/** A 404 that names what is not there. */
export const notFound = (what: string, name: string): HttpError =>
  new HttpError(404, 'NotFound', `there is no ${what} ${JSON.stringify(name.slice(0, 200))}`)

/** Status and JSON for an error. What is not ours stays inside: its text may name files. */
export const describeError = (error: unknown): { status: ContentfulStatusCode; body: ErrorBody } => {
  if (!(error instanceof WeftError))
    return { status: 500, body: { error: { code: 'Internal', message: 'the lab failed at this' } } }
  const status =
    error instanceof HttpError
      ? error.status
      : error instanceof UsageError || error instanceof CheckpointError
        ? 400
        : 500
  const [message] = error.message.split('\n  ')
  return { status, body: { error: { code: error.code, message, hint: error.hint } } }
}
