/** @file Values of config.json by key, with defaults, and with errors that name the key and what it should be. */
import { CheckpointError } from '../errors.js'

type Json = Readonly<Record<string, unknown>>

/** More than any model has; it keeps a nonsensical configuration from filling the memory with names. */
const mostOfAnything = 65_536

const isObject = (x: unknown): x is Json => typeof x === 'object' && x !== null && !Array.isArray(x)

/** Reads one config.json. `null` counts as absent; an absent key without a default is an error. */
export class ConfigReader {
  constructor(
    private readonly json: Json,
    /** Stands before the key in messages, as 'rope_parameters.'. */
    private readonly path = '',
  ) {}

  private fail(key: string, expected: string): never {
    const found = this.json[key]
    const what = found === undefined ? 'is missing' : `is ${JSON.stringify(found)}`
    throw new CheckpointError(
      'InvalidConfig',
      `config.json: ${this.path}${key} ${what}; expected ${expected}.`,
    )
  }

  private read<T>(key: string, fallback: T | undefined, expected: string, fits: (x: unknown) => boolean): T {
    const found = this.json[key] ?? undefined
    if (found === undefined && fallback !== undefined) return fallback
    return fits(found) ? (found as T) : this.fail(key, expected)
  }

  /** Throws CheckpointError naming `key` unless it fits the other keys. */
  require(fits: boolean, key: string, expected: string): void {
    if (!fits) this.fail(key, expected)
  }

  has(key: string): boolean {
    return this.json[key] !== undefined && this.json[key] !== null
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

  number(key: string, fallback?: number): number {
    return this.read(key, fallback, 'a number', Number.isFinite)
  }

  boolean(key: string, fallback?: boolean): boolean {
    return this.read(key, fallback, 'true or false', (x) => typeof x === 'boolean')
  }

  string(key: string, fallback?: string): string {
    return this.read(key, fallback, 'a string', (x) => typeof x === 'string')
  }

  /** As given, or undefined when absent. */
  optional<K extends 'size' | 'number' | 'string' | 'boolean'>(
    kind: K,
    key: string,
  ): ReturnType<ConfigReader[K]> | undefined {
    return this.has(key) ? (this[kind](key) as ReturnType<ConfigReader[K]>) : undefined
  }

  /** The object under `key`; an empty one when absent. */
  object(key: string): ConfigReader {
    const found = this.json[key] ?? {}
    return isObject(found) ? new ConfigReader(found, `${this.path}${key}.`) : this.fail(key, 'an object')
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

  /** How many classes a classifier tells apart: the entries of id2label, or else num_labels, or else 2. */
  classes(): number {
    const labels = Object.keys(this.object('id2label').json).length
    return labels || this.count('num_labels', 2)
  }

  /** A list of one or more positive integers, none above `most`. */
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
    if (!Array.isArray(this.json[key])) return [this.size(key, fallback), this.size(key, fallback)]
    const [height, width] = this.list<number>(key, 'number', 2)!
    const fit = [height, width].every((n) => Number.isSafeInteger(n) && n > 0)
    return fit ? [height, width] : this.fail(key, 'a positive integer, or two')
  }

  /**
   * One size a layer: the list that config.json has under `weft`, or else `key` for every layer, or else `fallback` (for
   * every layer, or one a layer).
   */
  perLayer(key: string, layers: number, fallback?: number | readonly number[]): number[] {
    const weft = this.object('weft')
    const each = weft.list<number>(key, 'number', layers)
    if (!each && Array.isArray(fallback) && !this.has(key)) return [...(fallback as readonly number[])]
    if (!each) return new Array<number>(layers).fill(this.size(key, fallback as number))
    if (each.every((n) => Number.isSafeInteger(n) && n > 0)) return each
    return weft.fail(key, 'positive integers')
  }
}
