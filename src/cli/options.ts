/**
 * @file Options are declared once, as a zod object: it types the library call, gives the flags and reads the config
 * file. A flag wins over the environment, which wins over the config file, which wins over the default.
 */
import { Option } from 'commander'
import { z } from 'zod'
import type {
  ZodBoolean,
  ZodDefault,
  ZodEnum,
  ZodNumber,
  ZodObject,
  ZodOptional,
  ZodString,
  ZodType,
} from 'zod'
import { check } from './config.js'
import type { ConfigFile, Place } from './config.js'
import { type Choice, definition, flag, shapeOf, size, styleOf, unwrap } from './schema.js'
import type { Environment } from './verb.js'

export { flag, size }

/** The option, taken by these choices alone; everything else about it as it was. */
export const onlyWhen = <T extends ZodType>(schema: T, when: readonly Choice[]): T =>
  schema.meta({ ...styleOf(schema), when })

type OneOf<T extends string> = ZodEnum<{ [K in T]: K }>

/** The types of `common`. */
export interface CommonOptions {
  readonly out: ZodString
  readonly threads: ZodOptional<ZodNumber>
  readonly device: ZodDefault<OneOf<'auto' | 'cpu' | 'webgpu' | 'cuda'>>
  readonly seed: ZodDefault<ZodNumber>
  readonly dtype: ZodOptional<OneOf<'float32' | 'float16' | 'bfloat16'>>
  readonly maxShardSize: ZodDefault<ZodType<number>>
  readonly memory: ZodOptional<ZodType<number>>
  readonly dryRun: ZodDefault<ZodBoolean>
  readonly resume: ZodDefault<ZodBoolean>
  readonly force: ZodDefault<ZodBoolean>
  readonly strict: ZodDefault<ZodBoolean>
}

/** Options that many verbs share, spelled and described once. */
export const common: CommonOptions = {
  out: flag(z.string().min(1), 'folder to write', { short: 'o', value: 'DIR', names: 'output' }),
  threads: flag(z.number().int().positive().optional(), 'processor threads to use (all cores)', {
    short: 'j',
    env: 'WEFT_THREADS',
    value: 'N',
  }),
  device: flag(z.enum(['auto', 'cpu', 'webgpu', 'cuda']).default('auto'), 'where to compute', {
    env: 'WEFT_DEVICE',
  }),
  seed: flag(z.number().int().nonnegative().default(0), 'seed of every random draw', { value: 'N' }),
  dtype: flag(z.enum(['float32', 'float16', 'bfloat16']).optional(), 'type of the numbers written'),
  maxShardSize: flag(size.default(5e9), 'largest file of weights (5GB)', { value: 'SIZE' }),
  memory: flag(size.optional(), 'refuse work that needs more memory than this', { value: 'SIZE' }),
  dryRun: flag(z.boolean().default(false), 'say what would be done, with its memory, and stop'),
  resume: flag(z.boolean().default(false), 'continue from the last checkpoint in the output folder'),
  force: flag(z.boolean().default(false), 'overwrite the output folder'),
  strict: flag(z.boolean().default(false), 'refuse a model whose index is out of step with its shards'),
}

/** `learningRate` -> `learning-rate`, `lora_alpha` -> `lora-alpha`. */
export const kebab = (key: string): string =>
  key
    .replace(/_/g, '-')
    .replace(/([a-z0-9])([A-Z])/g, '$1-$2')
    .toLowerCase()

const typeOf = (schema: ZodType): string => definition(unwrap(schema).inner).type

const alternatives = (schema: ZodType): string[] =>
  typeOf(schema) === 'union'
    ? definition(unwrap(schema).inner).options!.flatMap(alternatives)
    : [typeOf(schema)]

const metavariable = (schema: ZodType): string => {
  const d = definition(unwrap(schema).inner)
  if (d.type === 'enum') return Object.values(d.entries!).join('|')
  if (d.type === 'number') return 'N'
  if (d.type === 'record') return 'KEY=VALUE'
  return 'VALUE'
}

const isList = (schema: ZodType): boolean => alternatives(schema).some((t) => t === 'array' || t === 'record')

/** True for values that only code can give: `z.custom`, and maps of lists. */
export const isCodes = (schema: ZodType): boolean => {
  const { type, valueType } = definition(unwrap(schema).inner)
  return type === 'custom' || (type === 'record' && typeOf(valueType!) === 'array')
}

/** Commander's options for the keys of `schema`, but those of values that only code can give; a boolean gets `--x` and `--no-x`, of which the useful one is shown. */
export const flagsOf = (schema: ZodObject): Option[] =>
  Object.entries(shapeOf(schema)).flatMap(([key, value]) => {
    if (isCodes(value)) return []
    const { short, env, value: name, description = '' } = styleOf(value)
    const { fallback } = unwrap(value)
    const notes = [isShown(fallback) ? `default ${format(fallback)}` : '', env ? `or ${env}` : ''].filter(
      Boolean,
    )
    const text =
      notes.length && !/\([^)]*\)$/.test(description) ? `${description} (${notes.join('; ')})` : description
    const long = `--${kebab(key)}`
    const lead = short ? `${short.length > 1 ? '--' : '-'}${short}, ${long}` : long
    if (typeOf(value) === 'boolean') {
      const [yes, no] = [new Option(lead, text), new Option(`--no-${kebab(key)}`, text)]
      return [yes.hideHelp(fallback === true), no.hideHelp(fallback !== true)]
    }
    const option = new Option(`${lead} <${name ?? metavariable(value)}>`, text)
    if (isList(value)) option.argParser((next: string, all: string[] = []) => [...all, next])
    return [option]
  })

/** Whether the help names a default: not for switches and empty collections, which say it themselves. */
const isShown = (fallback: unknown): boolean =>
  fallback !== undefined &&
  typeof fallback !== 'boolean' &&
  !(typeof fallback === 'object' && Object.keys(fallback ?? {}).length === 0)

const format = (value: unknown): string => (typeof value === 'object' ? JSON.stringify(value) : String(value))

/** The value that a flag's or variable's text stands for; the schema then judges it. */
const read = (schema: ZodType, text: unknown): unknown => {
  const { inner } = unwrap(schema)
  const d = definition(inner)
  if (styleOf(schema).verbatim) return text
  if (Array.isArray(text)) return readList(inner, text as string[])
  if (typeof text !== 'string') return text
  const kinds = alternatives(inner)
  if (kinds.includes('number') && /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text)) return Number(text)
  if (kinds.includes('boolean') && /^(true|false|1|0|yes|no|on|off)$/i.test(text))
    return /^(true|1|yes|on)$/i.test(text)
  if (isList(inner)) return readList(inner, [text])
  if (d.type === 'object' || d.type === 'tuple') return readJson(text)
  return text
}

const readJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

const readList = (schema: ZodType, texts: string[]): unknown => {
  const kinds = alternatives(schema)
  const branches = typeOf(schema) === 'union' ? definition(schema).options! : [schema]
  if (kinds.includes('record') && texts.every((text) => text.includes('='))) {
    const { valueType } = definition(unwrap(branches.find((b) => typeOf(b) === 'record')!).inner)
    return Object.fromEntries(
      texts.flatMap(entries).map((text) => {
        const split = text.lastIndexOf('=')
        return [text.slice(0, split), read(valueType!, text.slice(split + 1))]
      }),
    )
  }
  const list = branches.find((b) => typeOf(b) === 'array')
  // Where a string is allowed too, a single one that is no plain name (a pattern, `all-linear`) stays a string.
  const single =
    texts.length === 1 &&
    kinds.includes('string') &&
    !/^[\w.]+$/.test(texts[0]) &&
    pieces(texts[0]).length === 1
  if (!list || single) return texts.length === 1 ? texts[0] : texts
  const { element } = definition(unwrap(list).inner)
  return texts.flatMap(pieces).map((text) => read(element!, text))
}

/** `a=1,b=2` are two; a comma in a pattern (`h.{0,1}`) is none between entries. */
const entries = (text: string): string[] => {
  const split = text.split(/,(?=[A-Za-z_])/)
  return split.every((entry) => entry.includes('=')) ? split : [text]
}

/** `a,b` are two; text with anything but names, paths and numbers between its commas is one. */
const pieces = (text: string): string[] =>
  /^[\w./:+-]+(,[\w./:+-]+)+$/.test(text) ? text.split(',') : [text]

/** The options of one call. */
export interface Resolved {
  /** Values by key, checked, defaults filled in. */
  readonly options: Record<string, unknown>
  /** Where each value that was asked for was asked: `--rank`, or the place in the config file. A default is not asked for. */
  readonly given: ReadonlyMap<string, string>
}

/**
 * The options of one call, from the text of the flags given (by key), the environment and the config file. Throws
 * UsageError naming the flag, the variable, or the config file's line and column.
 */
export const resolveOptions = (
  schema: ZodObject,
  flags: Record<string, unknown>,
  env: Environment,
  config?: ConfigFile,
): Resolved => {
  const shape = shapeOf(schema)
  const sources = new Map<string, string>()
  const data: Record<string, unknown> = config ? { ...asMap(config) } : {}
  for (const [key, value] of Object.entries(shape)) {
    const variable = styleOf(value).env
    const fromEnv = variable ? env[variable] || undefined : undefined
    const text = flags[key] ?? fromEnv
    if (text === undefined) continue
    data[key] = read(value, text)
    sources.set(key, flags[key] === undefined ? variable! : `--${kebab(key)}`)
  }
  const place: Place = (path, part) => {
    const key = String(path[0] ?? '')
    const written = config && Object.hasOwn((config.data ?? {}) as object, key)
    return sources.get(key) ?? (written ? config.place(path, part) : `--${kebab(key)}`)
  }
  const options = check(schema, data, place) as Record<string, unknown>
  const setKeys = Object.keys(data).filter(
    (key) => flags[key] !== undefined || (config && !isDefault(shape[key], options[key])),
  )
  return { options, given: new Map(setKeys.map((key) => [key, place([key], 'key')])) }
}

/** A saved config file names every option; one at its default says nothing. */
const isDefault = (schema: ZodType, value: unknown): boolean =>
  JSON.stringify(unwrap(schema).fallback) === JSON.stringify(value)

const asMap = (config: ConfigFile): Record<string, unknown> =>
  check(z.record(z.string(), z.unknown()), config.data ?? {}, config.place)
