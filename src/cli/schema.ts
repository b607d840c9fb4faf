/** @file Reads zod schemas: what an option is, beneath its defaults and wrappers. Needed for flags and for errors. */
import { z } from 'zod'
import type { ZodObject, ZodType } from 'zod'

/** Values that a choice may have: one of a list, any but those of a list, some value, or none. */
export type Chosen = readonly unknown[] | { readonly not: readonly unknown[] } | 'given' | 'absent'

/**
 * A choice that takes an option: every option or argument named here has one of its values. An argument of several
 * words stands for its first.
 */
export type Choice = Readonly<Record<string, Chosen>>

/** How an option looks as a flag and what it needs; given with `flag`. */
export interface FlagStyle {
  /** Short name: `o` for `-o`, `lr` for `--lr`. */
  short?: string
  /** Environment variable that gives it when no flag does. */
  env?: string
  /** Name of its value in the help: `DIR`, `N`, `SIZE`. */
  value?: string
  /** Each text given is one entry of a list, whatever commas it has. Default false: `a,b` are two. */
  verbatim?: boolean
  /** Choices of which any takes the option. Where none is made, the option is refused. Default: all take it. */
  when?: readonly Choice[]
  /** Description that a choice has of it, for the help page of a call that has made it. Default: the same for all. */
  about?: (chosen: Readonly<Record<string, unknown>>) => string | undefined
  /** Its default counts as chosen on the help page. */
  decides?: boolean
  /** Kind of file that it names: the program checks `input`, `data` and `output` before the verb runs. */
  names?: 'input' | 'data' | 'output'
}

/** Describes an option for the help page and says how it looks as a flag. Call it last, around defaults. */
export const flag = <T extends ZodType>(schema: T, description: string, style: FlagStyle = {}): T =>
  schema.meta({ description, ...style })

const units: Record<string, number> = { '': 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12 }
const binaryUnits: Record<string, number> = { ki: 2 ** 10, mi: 2 ** 20, gi: 2 ** 30, ti: 2 ** 40 }

/** `5GB`, `512MiB` or a plain number of bytes, in bytes; any other value is given back for the schema to refuse. */
const readSize = (value: unknown): unknown => {
  if (typeof value !== 'string') return value
  const match = /^(\d+(?:\.\d+)?)\s*(?:([kmgt]i?)?b?)$/i.exec(value.trim())
  if (!match) return value
  const unit = (match[2] ?? '').toLowerCase()
  return Math.round(Number(match[1]) * (units[unit] ?? binaryUnits[unit]))
}

/** An amount of bytes: `5GB` is 5e9, `512MiB` is 512 x 2^20. */
export const size: ZodType<number> = z.preprocess(
  readSize,
  z.number({ error: 'expected a size such as 5GB or 512MiB' }).int().nonnegative(),
)

interface Definition {
  type: string
  innerType?: ZodType
  in?: ZodType
  out?: ZodType
  element?: ZodType
  valueType?: ZodType
  options?: ZodType[]
  entries?: Record<string, string | number>
  values?: unknown[]
  shape?: Record<string, ZodType>
  catchall?: ZodType
  defaultValue?: unknown
}

/** The definition that zod keeps of a schema. */
export const definition = (schema: ZodType): Definition => schema.def as unknown as Definition

/** The schema beneath defaults, optionality and transformations; and the default met on the way. */
export const unwrap = (schema: ZodType): { inner: ZodType; fallback?: unknown } => {
  let inner = schema
  let fallback: unknown
  for (;;) {
    const d = definition(inner)
    if (d.type === 'default' || d.type === 'prefault') fallback ??= d.defaultValue
    // A preprocessing pipe describes its output, a transforming one its input.
    const next = d.type === 'pipe' ? (definition(d.in!).type === 'transform' ? d.out : d.in) : d.innerType
    if (!next) return { inner, fallback }
    inner = next
  }
}

/** The description and flag style of a schema, wherever among its wrappers they were given. */
export const styleOf = (schema: ZodType): FlagStyle & { description?: string } => {
  const ownStyle = schema.meta() as (FlagStyle & { description?: string }) | undefined
  const inner = definition(schema).innerType
  return { ...(inner ? styleOf(inner) : {}), ...ownStyle }
}

/** A place in a nested value: keys and list positions from the top. */
export type Path = (string | number)[]

/** Keys of `value` that `schema` does not know, at any depth, each with the keys known at its place. */
export const unknownKeys = (
  schema: ZodType,
  value: unknown,
  path: Path = [],
): { path: Path; known: string[] }[] => {
  if (value === null || typeof value !== 'object') return []
  const d = definition(unwrap(schema).inner)
  if (Array.isArray(value))
    return d.type === 'array' ? value.flatMap((v, i) => unknownKeys(d.element!, v, [...path, i])) : []
  const entries = Object.entries(value)
  if (d.type === 'record') return entries.flatMap(([k, v]) => unknownKeys(d.valueType!, v, [...path, k]))
  if (d.type === 'union')
    // The alternative that explains the most is the one that was meant.
    return d
      .options!.filter((o) => ['object', 'record', 'union'].includes(definition(unwrap(o).inner).type))
      .map((o) => unknownKeys(o, value, path))
      .reduce<{ path: Path; known: string[] }[]>(
        (best, candidate, i) => (i && best.length <= candidate.length ? best : candidate),
        [],
      )
  if (d.type !== 'object') return []
  const shape = d.shape!
  // An object that takes any further keys may still hold some that do not.
  const takesAny = d.catchall !== undefined && definition(d.catchall).type !== 'never'
  return entries.flatMap(([key, v]) =>
    Object.hasOwn(shape, key)
      ? unknownKeys(shape[key], v, [...path, key])
      : takesAny
        ? []
        : [{ path: [...path, key], known: Object.keys(shape) }],
  )
}

/** The schema's keys. */
export const shapeOf = (schema: ZodObject): Record<string, ZodType> => schema.shape as Record<string, ZodType>
