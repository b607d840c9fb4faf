/** @file Reading what a client sends: JSON of a bounded size, and queries, checked by a schema. */
import type { Context } from 'hono'
import type { ZodType } from 'zod'
import { HttpError } from './errors.js'

/** Throws HttpError 400 that names the first field that is wrong. */
const checked = <T>(schema: ZodType<T>, value: unknown): T => {
  const { success, data, error } = schema.safeParse(value)
  if (success) return data
  const [{ path, message }] = error.issues
  throw new HttpError(400, 'BadRequest', `${path.join('.') || 'the request'}: ${message}`)
}

/** The request's JSON body. Throws HttpError 400 for what is no JSON or does not fit. */
export const bodyOf = async <T>(c: Context, schema: ZodType<T>): Promise<T> => {
  const text = await c.req.text()
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
