/** @file Values of config.json by key, with defaults, and with errors that name the key and what it should be. */
import { CheckpointError, nearest } from '../errors.js'
import { activation, activations, type Tensor } from '../tensor/index.js'
import { fixedKeys, harmlessKeys, type UnreadKeys } from './config-keys.js'

type Json = Readonly<Record<string, unknown>>

/** More than any model has; it keeps a nonsensical configuration from filling the memory with names. */
const mostOfAnything = 65_536

const isObject = (x: unknown): x is Json => typeof x === 'object' && x !== null && !Array.isArray(x)

/** A value of config.json in a message, cut where it is long. */
const shown = (value: unknown): string => {
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? 'undefined')
  return text.length > 60 ? `${text.slice(0, 60)}...` : text
}

/** Reads one config.json. `null` counts as absent; an absent key without a default is an error. */
export class ConfigReader {
  private readonly asked = new Set<string>()

  constructor(
    private readonly json: Json,
    /** Stands before the key in messages, as 'rope_parameters.'. */
    private readonly path = '',
    /** Whether it is a model's whole configuration, in which the keys of every model may stand. */
    private readonly whole = path === '',
  ) {}

  private fail(key: string, expected: string): never {
    const found = this.json[key]
    const what = found === undefined ? 'is missing' : `is ${shown(found)}`
    throw new CheckpointError(
      'InvalidConfig',
      `config.json: ${this.path}${key} ${what}; expected ${expected}.`,
    )
  }

  /** The value of `key`, which counts as read from now on. */
  private value(key: string): unknown {
    this.asked.add(key)
    return this.json[key] ?? undefined
  }

  private read<T>(key: string, fallback: T | undefined, expected: string, fits: (x: unknown) => boolean): T {
    const found = this.value(key)
    if (found === undefined && fallback !== undefined) return fallback
    return fits(found) ? (found as T) : this.fail(key, expected)
  }

  /** Throws CheckpointError naming `key` unless it fits the other keys. */
  require(fits: boolean, key: string, expected: string): void {
    if (!fits) this.fail(key, expected)
  }

  /** Whether `key` is there and not null. */
  has(key: string): boolean {
    return this.value(key) !== undefined
  }

  /**
   * Throws CheckpointError for a key that has not been read, is not harmless and is not at a value that changes nothing.
   * architecture: named in the message.
   */
  refuseUnread(architecture: string, { harmless = [], fixed = {} }: UnreadKeys = {}): void {
    const allowed: UnreadKeys['fixed'] = { ...(this.whole ? fixedKeys : {}), ...fixed }
    const passes = (key: string): boolean =>
      this.asked.has(key) ||
      harmless.includes(key) ||
      (this.whole && (harmlessKeys.has(key) || key.startsWith('_')))
    for (const [key, value] of Object.entries(this.json)) {
      if (value === null || value === undefined || passes(key)) continue
      const values = Object.hasOwn(allowed, key) ? allowed[key] : undefined
      if (!values) this.failUnknown(key, architecture)
      if (!values.some((one) => JSON.stringify(one) === JSON.stringify(value)))
        throw new CheckpointError(
          'UnsupportedConfig',
          `config.json: ${this.path}${key} is ${shown(value)}, which Weft's ${architecture} does not support; expected ${values.map(shown).join(' or ') || 'none'}.`,
        )
    }
  }

  private failUnknown(key: string, architecture: string): never {
    throw new CheckpointError(
      'UnsupportedConfig',
      `config.json: ${this.path}${key} is ${shown(this.json[key])}: a key that Weft's ${architecture} neither reads nor knows to be harmless.`,
      {
        hint: `Nearest that it reads: ${nearest(key, this.asked, 1)[0] ?? 'none'}. If the key changes nothing that the model computes, take it out of config.json.`,
      },
    )
  }

  /** The activation that `key` names. */
  activation(key: string, fallback: string): (x: Tensor) => Tensor {
    const name = this.string(key, fallback)
    if (Object.hasOwn(activations, name)) return activation(name)
    return this.fail(key, `an activation (nearest: ${nearest(name, Object.keys(activations)).join(', ')})`)
  }

  /** A positive integer: a width, a size. */
  size(key: string, fallback?: number): number {
    return this.read(key, fallback, 'a positive integer', (x) => Number.isSafeInteger(x) && (x as number) > 0)
  }

  /** A positive integer of which there are as many names: layers, experts. */
  count(key: string, fallback?: number): number {
    return this.read(
      key,
      fallback,
      `an integer from 1 to ${mostOfAnything}`,
      (x) => Number.isInteger(x) && (x as number) > 0 && (x as number) <= mostOfAnything,
    )
  }

  /** A finite number. */
  number(key: string, fallback?: number): number {
    return this.read(key, fallback, 'a number', Number.isFinite)
  }

  /** A switch. */
  boolean(key: string, fallback?: boolean): boolean {
    return this.read(key, fallback, 'true or false', (x) => typeof x === 'boolean')
  }

  /** A text. */
  string(key: string, fallback?: string): string {
    return this.read(key, fallback, 'a string', (x) => typeof x === 'string')
  }

  /** The value of `key`, or undefined when absent. */
  optional<K extends 'size' | 'number' | 'string' | 'boolean'>(
    kind: K,
    key: string,
  ): ReturnType<ConfigReader[K]> | undefined {
    return this.has(key) ? (this[kind](key) as ReturnType<ConfigReader[K]>) : undefined
  }

  /** The object under `key`; an empty one when absent. */
  object(key: string): ConfigReader {
    const found = this.value(key) ?? {}
    return isObject(found) ? new ConfigReader(found, `${this.path}${key}.`) : this.fail(key, 'an object')
  }

  /** The configuration of a part of the model under `key`: an empty one when absent. What it says under `older` wins, as in Transformers. */
  part(key: string, older: string): ConfigReader {
    const json = this.value(key) ?? {}
    const over = this.value(older) ?? {}
    if (!isObject(json)) return this.fail(key, 'an object')
    if (!isObject(over)) return this.fail(older, 'an object')
    return new ConfigReader({ ...json, ...over }, `${this.path}${key}.`, true)
  }

  /** The list of `length` elements under `key`, or undefined when absent. */
  list<T extends string | number>(key: string, type: 'string' | 'number', length: number): T[] | undefined {
    if (!this.has(key)) return undefined
    return this.read<T[]>(
      key,
      undefined,
      `a list of ${length} ${type}s`,
      (x) => Array.isArray(x) && x.length === length && x.every((e) => typeof e === type),
    )
  }

  /** Numbers of layers under `key`: none when absent. */
  layers(key: string): readonly number[] {
    return this.read<readonly number[]>(
      key,
      [],
      'a list of numbers of layers',
      (x) =>
        Array.isArray(x) && x.length <= mostOfAnything && x.every((n) => Number.isSafeInteger(n) && n >= 0),
    )
  }

  /** The list of positive numbers under `key`, or undefined when absent. */
  numbers(key: string): readonly number[] | undefined {
    if (!this.has(key)) return undefined
    return this.read<readonly number[]>(
      key,
      undefined,
      'a list of positive numbers',
      (x) => Array.isArray(x) && x.length <= mostOfAnything && x.every((n) => Number.isFinite(n) && n > 0),
    )
  }

  /** How many classes a classifier tells apart: the entries of id2label, or else num_labels, or else 2. */
  classes(): number {
    const labels = Object.keys(this.object('id2label').json).length
    return labels || this.count('num_labels', 2)
  }

  /** The first of the strings under `key`, or undefined where there is none. */
  first(key: string): string | undefined {
    const list = this.value(key)
    if (list === undefined) return undefined
    if (Array.isArray(list) && list.length === 0) return undefined
    return Array.isArray(list) && typeof list[0] === 'string' ? list[0] : this.fail(key, 'a list of strings')
  }

  /** A list of one or more positive integers, none above `most`; `fallback` [n] where it is absent. */
  sizes(
    key: string,
    fallback?: readonly number[],
    most: number = Number.MAX_SAFE_INTEGER,
  ): readonly number[] {
    return this.read<readonly number[]>(
      key,
      fallback,
      `a list of positive integers${most < Number.MAX_SAFE_INTEGER ? ` up to ${most}` : ''}`,
      (x) =>
        Array.isArray(x) &&
        x.length > 0 &&
        x.length <= mostOfAnything &&
        x.every((n) => Number.isSafeInteger(n) && n > 0 && n <= most),
    )
  }

  /** Height and width: a number for both, or a list of the two. */
  pair(key: string, fallback?: number): readonly [number, number] {
    if (!Array.isArray(this.value(key))) return [this.size(key, fallback), this.size(key, fallback)]
    const [height, width] = this.list<number>(key, 'number', 2)!
    const fit = [height, width].every((n) => Number.isSafeInteger(n) && n > 0)
    return fit ? [height, width] : this.fail(key, 'a positive integer, or two')
  }

  /**
   * One size a layer: the list that config.json has under `weft`, or else `key` for every layer, or else `fallback` (for
   * every layer, or [layers]).
   */
  perLayer(key: string, layers: number, fallback?: number | readonly number[]): number[] {
    const weft = this.object('weft')
    const each = weft.list<number>(key, 'number', layers)
    this.asked.add(key)
    if (!each && Array.isArray(fallback) && !this.has(key)) return [...(fallback as readonly number[])]
    if (!each) return new Array<number>(layers).fill(this.size(key, fallback as number))
    if (each.every((n) => Number.isSafeInteger(n) && n > 0)) return each
    return weft.fail(key, 'positive integers')
  }
}

/** `json` with today's name for each key that has another, and with the defaults of what it leaves out. */
const canonical = (json: Json, { aliases = {}, defaults = {} }: UnreadKeys): Json => {
  const copy: Record<string, unknown> = { ...json }
  for (const [alias, key] of Object.entries(aliases)) {
    const value = copy[alias] ?? undefined
    if (value === undefined) continue
    const named = copy[key] ?? undefined
    if (named !== undefined && named !== value)
      throw new CheckpointError(
        'InvalidConfig',
        `config.json: ${alias} is ${shown(value)} and ${key} ${shown(named)}; they are two names of one setting.`,
      )
    copy[key] = value
    delete copy[alias]
  }
  for (const [key, value] of Object.entries(defaults)) if (copy[key] === undefined) copy[key] = value
  return copy
}

/**
 * A `readConfig` of an architecture: `read` asks for what it needs, and whatever else config.json says must be harmless
 * or, by `keys`, at a value that changes nothing. What it gives throws CheckpointError for anything else.
 */
export const reading =
  <C>(architecture: string, keys: UnreadKeys, read: (config: ConfigReader) => C) =>
  (json: Json): C => {
    const config = new ConfigReader(canonical(json, keys))
    const result = read(config)
    config.refuseUnread(architecture, keys)
    return result
  }
