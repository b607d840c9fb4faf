/** @file How a part of tokenizer.json is read: by its type, with every key known, or refused by name. */
import { z } from 'zod'
import { CheckpointError } from '../../errors.js'

/** A kind of part: the keys it may have, and what it does. */
export interface Kind<T> {
  readonly schema: z.ZodObject
  make(config: unknown, where: string): T
}

/** The kind whose keys are `shape`; `make` gets them checked, and where the part stands, for errors. */
export const kind = <S extends z.ZodRawShape, T>(
  shape: S,
  make: (config: z.infer<z.ZodObject<S>>, where: string) => T,
): Kind<T> => ({
  schema: z.strictObject({ type: z.string(), ...shape }),
  make: (config, where) => make(config as z.infer<z.ZodObject<S>>, where),
})

const hints = {
  broken: 'Save the tokenizer again with a "fast" Hugging Face tokenizer, which writes tokenizer.json.',
  unknown:
    'Weft follows tokenizer.json as huggingface/tokenizers 0.23 reads it; what it does not know it refuses.',
}

/** The error of a tokenizer.json that cannot be followed. `what` says why; `where` opens the message. */
export const broken = (
  where: string,
  what: string,
  { cause, hint = 'broken' }: { cause?: unknown; hint?: keyof typeof hints } = {},
): CheckpointError =>
  new CheckpointError('BrokenTokenizer', `${where}: ${what}`, { cause, hint: hints[hint] })

const typeOf = (json: unknown): unknown =>
  typeof json === 'object' && json !== null ? (json as { type?: unknown }).type : undefined

const issueText = ({ code, path, message, ...rest }: z.core.$ZodIssue): string =>
  code === 'unrecognized_keys'
    ? `the unknown key ${(rest as { keys: string[] }).keys.map((key) => `"${key}"`).join(', ')}`
    : `"${path.join('.')}": ${message}`

/**
 * The part that `json` describes, of one of `kinds` by its type. Throws CheckpointError `BrokenTokenizer`, beginning
 * with `where`, for a type or a key that is not known, and for a value of another kind than expected.
 */
export const choose = <T>(kinds: Readonly<Record<string, Kind<T>>>, json: unknown, where: string): T => {
  const type = typeOf(json)
  if (typeof type !== 'string' || !Object.hasOwn(kinds, type))
    throw broken(where, `its type is ${JSON.stringify(type)}; expected ${Object.keys(kinds).join(', ')}`, {
      hint: 'unknown',
    })
  const { schema, make } = kinds[type]
  const checked = schema.safeParse(json)
  if (!checked.success)
    throw broken(where, `${type} with ${issueText(checked.error.issues[0])}`, { hint: 'unknown' })
  return make(checked.data, where)
}

/** The parts of a sequence, each by `read`. */
export const chooseAll = <T>(
  read: (json: unknown, where: string) => T,
  list: readonly unknown[],
  where: string,
): T[] => list.map((json, i) => read(json, `${where}[${i}]`))
