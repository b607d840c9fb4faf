/** @file Reading what a client sends: JSON of a bounded size, and queries, checked by a schema. */
import type { Context, MiddlewareHandler } from 'hono'
import type { ZodType } from 'zod'
import { HttpError } from './errors.js'

/** Throws HttpError 400 that names the first field that is wrong. */
const checked = <T>(schema: ZodType<T>, value: unknown): T => {
  const { success, data, error } = schema.safeParse(value)
  if (success) return data
  const [{ path, message }] = error.issues
  throw new HttpError(400, 'BadRequest', `${path.join('.') || 'the request'}: ${message}`)
}

/** Bytes of a request's body at most. */
const limit = 64 * 1024

const tooLarge = (): HttpError => new HttpError(413, 'TooLarge', `a body has at most ${limit} bytes`)

/** Refuses a body that says it is too large before any of it is read. Throws HttpError 413. */
export const declaredLength: MiddlewareHandler = async (c, next) => {
  if (Number(c.req.header('content-length') ?? 0) > limit) throw tooLarge()
  await next()
}

/**
 * The request's body as text; empty where it has none. It need not say its length: no more than the limit is read. Throws
 * HttpError 413, and 400 for a body that breaks off.
 */
const textOf = async ({ req }: Context): Promise<string> => {
  const chunks: Uint8Array[] = []
  let size = 0
  try {
    for await (const chunk of (req.raw.body ?? []) as AsyncIterable<Uint8Array>) {
      size += chunk.length
      if (size > limit) throw tooLarge()
      chunks.push(chunk)
    }
  } catch (error) {
    throw error instanceof HttpError ? error : new HttpError(400, 'BodyCut', 'the body broke off')
  }
  return Buffer.concat(chunks).toString()
}

/** The request's JSON body. Throws HttpError 413, and 400 for what is no JSON or does not fit. */
export const bodyOf = async <T>(c: Context, schema: ZodType<T>): Promise<T> => {
  const text = await textOf(c)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new HttpError(400, 'BadJson', 'the body is not JSON')
  }
  return checked(schema, value)
}

/** The request's query; an empty value counts as none. */
export const queryOf = <T>(c: Context, schema: ZodType<T>): T =>
  checked(schema, Object.fromEntries(Object.entries(c.req.query()).filter(([, value]) => value !== '')))
