/** @file How a method's options stand in PEFT's adapter_config.json: one table a method, read both ways. */
import type { Json, JsonObject } from '../../checkpoint/index.js'
import { isJsonObject } from '../../checkpoint/web.js'
import { CheckpointError } from '../../errors.js'
import type { Model } from '../../models/index.js'
import type { Site } from '../../models/sites.js'

/** What a key may look at beside its value. */
export interface PeftPlace {
  readonly base: Model
  /** Where the adapter stands; none while a config is read. */
  readonly sites: readonly Site[]
}

/** A key that says an option in words of its own. */
export type PeftKey<O> = {
  [K in keyof O]-?: {
    readonly option: K
    /** The value of the key; undefined leaves it out. Default: the option's, null where it has none. */
    write?(value: O[K], options: O, place: PeftPlace): Json | undefined
    /** The option's value; undefined is its default. Default: the key's, where it says anything. Not called for null. */
    read?(json: Exclude<Json, null>, config: JsonObject, place: PeftPlace): O[K] | undefined
  }
}[keyof O]

/** How adapter_config.json says what a method's options are. */
export interface PeftTable<O> {
  /** Keys by the option that they say. */
  readonly keys?: Readonly<Record<string, (keyof O & string) | PeftKey<O>>>
  /** Values of options whose keys are missing, where PEFT's default is not the schema's. */
  readonly missing?: Partial<O>
  /** Keys that follow from where the adapter stands. They are written, and passed over when read. */
  derived?(place: PeftPlace): JsonObject
  /** Keys of what the method has not, as PEFT writes them where it is not in use. Any other value that says something is refused. */
  readonly unused?: JsonObject
  /** Keys that change no output of a trained adapter, as PEFT writes them. They are passed over when read. */
  readonly harmless?: JsonObject
  /** Throws CheckpointError for what the method cannot do: keys that are well each by itself. */
  check?(config: JsonObject): void
  /** The options, where a key changes what others say. */
  adjust?(options: O, config: JsonObject, place: PeftPlace): O
}

/** Whether a value of a config says anything: null, false, '' and empty lists and objects are "not used". */
export const says = (json: Json | undefined): json is Exclude<Json, null> => {
  if (json === undefined || json === null || json === false || json === '') return false
  if (Array.isArray(json)) return json.length > 0
  return !isJsonObject(json) || Object.keys(json).length > 0
}

/** The error of a key whose value asks for what Weft has not. */
export const unsupported = (
  method: string,
  key: string,
  json: Json | undefined,
  hint?: string,
): CheckpointError =>
  new CheckpointError(
    'UnsupportedAdapter',
    `adapter_config.json: ${key} is ${JSON.stringify(json)}, which Weft's ${method} has not.`,
    hint === undefined ? {} : { hint },
  )

type Write<O> = (value: unknown, options: O, place: PeftPlace) => Json | undefined
type Read = (json: Json, config: JsonObject, place: PeftPlace) => unknown

const plain = (value: unknown): Json => {
  if (value === undefined || value === null) return null
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value !== 'object') return value as Json
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, plain(part)]))
}

const keysOf = <O>({ keys = {} }: PeftTable<O>): [string, PeftKey<O>][] =>
  Object.entries(keys).map(([key, entry]) => [
    key,
    typeof entry === 'object' ? entry : ({ option: entry } as unknown as PeftKey<O>),
  ])

/** The method's own keys of adapter_config.json. */
export const writeTable = <O>(table: PeftTable<O>, options: O, place: PeftPlace): JsonObject => {
  const written = keysOf(table).map(([key, { option, write }]) => {
    const value = options[option]
    return [key, write ? (write as Write<O>)(value, options, place) : plain(value)] as const
  })
  return {
    ...table.unused,
    ...table.harmless,
    ...table.derived?.(place),
    ...Object.fromEntries(written.filter((entry): entry is [string, Json] => entry[1] !== undefined)),
  }
}

/**
 * The options that a config says, those of all methods apart. Throws CheckpointError `UnsupportedAdapter` for a key of the
 * table that asks for what the method has not, with its value.
 */
export const readTable = <O>(
  method: string,
  table: PeftTable<O>,
  config: JsonObject,
  place: PeftPlace,
): Partial<O> => {
  for (const [key, usual] of Object.entries(table.unused ?? {}))
    if (says(config[key]) && JSON.stringify(config[key]) !== JSON.stringify(usual))
      throw unsupported(method, key, config[key])
  table.check?.(config)
  const options = keysOf(table).map(([key, { option, read }]) => {
    const json = config[key]
    if (json === undefined || json === null) return [option, undefined]
    if (read) return [option, (read as Read)(json, config, place)]
    return [option, says(json) || json === false ? json : undefined]
  })
  return {
    ...table.missing,
    ...Object.fromEntries(options.filter(([, value]) => value !== undefined)),
  } as Partial<O>
}

/** The keys that a table knows. */
export const knownKeys = <O>(table: PeftTable<O>, place: PeftPlace): string[] => [
  ...Object.keys(table.keys ?? {}),
  ...Object.keys(table.unused ?? {}),
  ...Object.keys(table.harmless ?? {}),
  ...Object.keys(table.derived?.(place) ?? {}),
]
