/**
 * @file Cached generation: programs that take new tokens and any number of keys and values before them. Frozen
 * weights are bound to the programs. A method that answers for weights or attention works here too, since the cache is itself an
 * answer to `attend`, standing before the method's.
 */
import { UsageError, WeftError } from '../errors.js'
import {
  type CompileOptions,
  mapTree,
  type Spec,
  specOf,
  value,
  type Value,
  valueOf,
} from '../tensor/index.js'
import { maxOf } from '../tensor/numbers.js'
import type { CacheSpec } from './architecture.js'
import { KeyValueCache } from './cache.js'
import type { Model, Parameters } from './model.js'
import { compilePass, type Inputs, type Kept, type PassProgram, type Past } from './pass.js'

/** Options of `decoder`. */
export interface DecoderOptions extends Pick<CompileOptions, 'device'> {
  /** How many sequences go on together. Default 1. */
  readonly batch?: number
  /** The most tokens that a sequence may have. */
  readonly capacity: number
  /** The most tokens that one program takes: longer prompts pass in pieces. Default 256. */
  readonly chunk?: number
  /** Inputs that the model's methods ask of a batch: each row's task or adapter. Shapes [batch, ...]. */
  readonly inputs?: Parameters<Value>
}

/** Generation that keeps keys and values. */
export interface Decoder {
  readonly cache: KeyValueCache
  /** ln of the sum of exp(logits) of the last logits, by which a logit's log-probability is under it: [batch]. */
  readonly logSumExp: Float32Array
  /**
   * Begins anew with a prompt (at least one token) for each row; an encoder reads it, where there is one, and its decoder
   * starts. Logits of the token after each: [batch, vocabulary].
   */
  prefill(rows: readonly ArrayLike<number>[]): Promise<Value>
  /** Appends tokens, rows: [batch][tokens of each]; the logits after the last of each (meaningless where a row has none). */
  extend(rows: readonly ArrayLike<number>[]): Promise<Value>
  /** Appends one token to each row. ids: [batch]. Logits of the token after each: [batch, vocabulary]. */
  step(ids: ArrayLike<number>): Promise<Value>
  /** Compiles what any sequence up to the capacity may need, so that nothing compiles later; behind an encoder, once it has read. */
  prepare(): Promise<void>
}

/** The smallest power of two times `least` that holds `n`, but at most `most`. */
const bucket = (n: number, least: number, most: number): number =>
  Math.min(most, least * 2 ** Math.max(0, Math.ceil(Math.log2(n / least))))

const nothing = { positions: 0, cached: 0 }

const leastTokens = 16
const leastPast = 64

/** Two numbers of slots for which a program of any number is traced: such as nothing else in a model is. */
const anyLengths = [4099, 8209] as const

/** Whether a program cannot be one for any number of slots. */
const isFixed = (error: unknown): boolean => error instanceof WeftError && error.code === 'NotSymbolic'

/** Of each model, by sizes: a decoder finds those that another has compiled. */
const programs = new WeakMap<Model, Map<string, Promise<PassProgram>>>()

class CachedDecoder implements Decoder {
  readonly cache: KeyValueCache
  readonly logSumExp: Float32Array
  private readonly batch: number
  /** What the programs hold: of few sizes, so that decoders of like capacities share them. */
  private readonly room: number
  private readonly chunk: number
  /** The longest sequence before the keys of all its tokens become others; absent where it is longer than the room. */
  private readonly turningPoint?: number
  /** Every token of each row, where the keys may have to be made again. */
  private history: number[][] = []
  /** Tokens that the model itself puts before each row. */
  private readonly virtual: number
  /** The decoder's own keys and values. */
  private readonly specs: readonly CacheSpec[]
  private readonly modules: Kept
  /** Id with which each row starts behind an encoder. */
  private readonly first?: number
  /** What the encoder reads, and what was kept of it. */
  private source?: Readonly<Record<'ids' | 'mask', Value>>
  private crossed: Past<Value> = {}

  constructor(
    private readonly model: Model,
    all: readonly CacheSpec[],
    private readonly options: DecoderOptions,
  ) {
    const { batch = 1, capacity, chunk = 256 } = options
    for (const [key, size] of Object.entries({ batch, capacity, chunk }))
      if (!(Number.isSafeInteger(size) && size > 0))
        throw new UsageError('InvalidOption', `decoder: ${key} is ${size}; expected a positive integer.`)
    const named = (crossed: boolean): ReadonlySet<string> =>
      new Set(all.flatMap((spec) => (Boolean(spec.crossed) === crossed ? [spec.module] : [])))
    this.modules = { own: named(false), crossed: named(true) }
    this.specs = all.filter(({ module }) => this.modules.own.has(module))
    this.first = model.architecture.start?.(model.config)
    // What is put before the tokens of an encoder is nothing to the decoder.
    const { positions: taken, cached } =
      (this.first === undefined ? model.architecture.virtual : undefined) ?? nothing
    const positions = (model.architecture.positions?.(model.config) ?? Infinity) - (taken - cached)
    this.batch = batch
    this.virtual = cached
    this.room = bucket(capacity + cached, leastPast, Math.max(capacity + cached, positions))
    this.chunk = Math.min(chunk, this.room)
    const point = model.architecture.turningPoint?.(model.config) ?? Infinity
    this.turningPoint = point < this.room ? point : undefined
    this.cache = new KeyValueCache(this.specs, batch)
    this.logSumExp = new Float32Array(batch)
  }

  prefill(rows: readonly ArrayLike<number>[]): Promise<Value> {
    if (rows.some((row) => row.length === 0))
      throw new UsageError('EmptyPrompt', 'every row needs at least one token to begin with.')
    this.cache.clear()
    this.history = rows.map(() => [])
    if (this.first === undefined) return this.extend(rows)
    this.source = this.padded(rows)
    this.crossed = {}
    return this.step(rows.map(() => this.first!))
  }

  /** Rows of an encoder: ids, and which of them are there. */
  private padded(rows: readonly ArrayLike<number>[]): Readonly<Record<'ids' | 'mask', Value>> {
    const time = bucket(maxOf(rows.map((row) => row.length)), leastTokens, Infinity)
    const filled = (of: (row: ArrayLike<number>, t: number) => number): Value =>
      valueOf(
        rows.flatMap((row) => Array.from({ length: time }, (_, t) => (t < row.length ? of(row, t) : 0))),
        [rows.length, time],
        'int32',
      )
    return { ids: filled((row, t) => row[t]), mask: filled(() => 1) }
  }

  step(ids: ArrayLike<number>): Promise<Value> {
    return this.extend(Array.from(ids, (id) => [id]))
  }

  async extend(rows: readonly ArrayLike<number>[]): Promise<Value> {
    this.check(rows)
    if (this.turningPoint === undefined) return this.appended(rows, this.room)
    const before = maxOf(this.cache.lengths)
    const total = maxOf(rows.map((row, i) => (this.cache.lengths[i] || this.virtual) + row.length))
    rows.forEach((row, i) => (this.history[i] = [...(this.history[i] ?? []), ...Array.from(row)]))
    if (total <= this.turningPoint) return this.appended(rows, this.turningPoint)
    // Keys that turned by the short factors do not go with a query that turns by the long ones.
    if (before === 0 || before > this.turningPoint) return this.appended(rows, this.room)
    this.cache.clear()
    return this.appended(this.history, this.room)
  }

  /** Appends tokens to each row, in pieces; every position is below `limit`. */
  private async appended(rows: readonly ArrayLike<number>[], limit: number): Promise<Value> {
    const longest = maxOf(rows.map((row) => row.length))
    let logits: Value | undefined
    for (let from = 0; from < longest; from += this.chunk) {
      const part = rows.map((row) => Array.from(row).slice(from, from + this.chunk))
      const next = await this.pass(part, limit)
      logits = logits ? await this.merged(logits, next, part) : next
    }
    return logits!
  }

  async prepare(): Promise<void> {
    // How much an encoder reads is known once it has read.
    if (this.first !== undefined && !this.source) return
    const sizes = (next: (n: number) => number, most: number): number[] => {
      const found = [next(1)]
      while (found[found.length - 1] < most) found.push(next(found[found.length - 1] + 1))
      return found
    }
    const times = sizes((n) => this.timeBucket(n), this.chunk)
    for (const past of [0, ...sizes((n) => this.pastBucket(n), this.room)])
      for (const time of times)
        // Prompts begin at 0, their later pieces behind whole ones; everything else comes one by one.
        if (past === 0 || time === 1 || past >= this.chunk)
          for (const limit of this.limits(past)) await this.program(time, past, limit)
  }

  /** What positions may be below, with so many tokens before. */
  private limits(past: number): readonly number[] {
    const { turningPoint: point, room } = this
    if (point === undefined) return [room]
    return past <= this.pastBucket(point) ? [point, room] : [room]
  }

  private timeBucket(tokens: number): number {
    return tokens === 1 ? 1 : bucket(tokens, Math.min(leastTokens, this.chunk), this.chunk)
  }

  private pastBucket(tokens: number): number {
    return tokens === 0 ? 0 : bucket(tokens, Math.min(leastPast, this.room), this.room)
  }

  private check(rows: readonly ArrayLike<number>[]): void {
    if (rows.length !== this.batch)
      throw new UsageError('WrongBatch', `${rows.length} rows for a decoder of ${this.batch}.`)
    const { capacity } = this.options
    const held = (row: number): number => Math.max(0, this.cache.lengths[row] - this.virtual)
    const full = rows.findIndex((row, i) => held(i) + row.length > capacity)
    if (full >= 0)
      throw new UsageError(
        'CacheFull',
        `row ${full} would have ${held(full) + rows[full].length} tokens; the decoder holds ${capacity}.`,
      )
  }

  /**
   * The program for `time` new tokens behind `slots` cached ones, all at positions below `limit`: one for any number of slots,
   * where the model allows it.
   */
  private async program(time: number, slots: number, limit: number): Promise<PassProgram> {
    const compiled = (...lengths: readonly [number, number?]): Promise<PassProgram> =>
      this.compiled(time, limit, ...lengths)
    if (slots === 0) return compiled(0)
    try {
      return await compiled(...anyLengths)
    } catch (error) {
      if (!isFixed(error)) throw error
      return compiled(slots)
    }
  }

  /** A program that this or another decoder has compiled, or compiles now. */
  private compiled(time: number, limit: number, slots: number, others?: number): Promise<PassProgram> {
    const { model, specs, modules, batch, options } = this
    const own = programs.get(model) ?? new Map<string, Promise<PassProgram>>()
    programs.set(model, own)
    const inputs = Object.keys(options.inputs ?? {}).sort()
    const sizes = [this.source?.ids, Object.values(this.crossed)[0]?.k].map((v) => v?.shape.join('x') ?? '')
    const key = [options.device, batch, limit, time, slots, others, ...sizes, ...inputs].join()
    const known = own.get(key)
    if (known) return known
    const cases = [slots, others].map((n) => (n === undefined ? n : this.inputs(time, n)))
    const made = compilePass(
      { model, specs, modules, room: limit },
      { device: options.device },
      cases[0]!,
      cases[1],
    )
    own.set(key, made)
    // What failed may be tried again, unless it would fail again.
    made.catch((error: unknown) => isFixed(error) || own.delete(key))
    return made
  }

  private inputs(time: number, slots: number): Inputs<Spec> {
    const { batch, specs, model, source, crossed } = this
    const past = specs.map(({ module, heads, size }) => {
      const spec: Spec = { dtype: 'float32', shape: [batch, heads, slots, size] }
      return [module, { k: spec, v: spec }] as const
    })
    const integers = (...shape: number[]): Spec => ({ dtype: 'int32', shape })
    return {
      ids: integers(batch, time),
      start: integers(batch),
      count: integers(batch),
      past: slots ? Object.fromEntries(past) : {},
      ...(slots ? { places: integers(slots) } : {}),
      parameters: mapTree<Value, Spec, typeof model.parameters>(model.parameters, specOf),
      inputs: mapTree<Value, Spec, Parameters<Value>>(this.options.inputs ?? {}, specOf),
      ...(source && { source: mapTree<Value, Spec, typeof source>(source, specOf) }),
      crossed: mapTree<Value, Spec, Past<Value>>(crossed, specOf),
    }
  }

  /** Runs the new tokens of one chunk, and writes their keys and values into the cache. */
  private async pass(rows: readonly (readonly number[])[], limit: number): Promise<Value> {
    const { cache, batch } = this
    const counts = rows.map((row) => row.length)
    const time = this.timeBucket(maxOf(counts))
    const slots = this.pastBucket(maxOf(cache.lengths))
    const ids = rows.flatMap((row) => [...row, ...new Array<number>(time - row.length).fill(0)])
    const program = await this.program(time, slots, limit)
    const { logits, logSumExp, fresh, crossed } = await program.run({
      ids: valueOf(ids, [batch, time], 'int32'),
      start: valueOf(cache.lengths, [batch], 'int32'),
      count: valueOf(counts, [batch], 'int32'),
      past: slots ? cache.values() : {},
      ...(slots
        ? {
            places: valueOf(
              Array.from({ length: slots }, (_, i) => i),
              [slots],
              'int32',
            ),
          }
        : {}),
      parameters: this.model.parameters,
      inputs: this.options.inputs ?? {},
      ...(this.source && { source: this.source }),
      crossed: this.crossed,
    })
    if (Object.keys(crossed).length) this.crossed = crossed
    // The model's own tokens come with the first of each row.
    const added = counts.map((n) => n + (slots ? 0 : this.virtual))
    cache.reserve(this.pastBucket(maxOf(added.map((n, i) => n + cache.lengths[i]))))
    await cache.append(fresh, added)
    const offsets = (await logSumExp.read()) as Float32Array
    counts.forEach((n, row) => n && (this.logSumExp[row] = offsets[row]))
    return logits
  }

  /** The logits of the rows that went on in `part` from `next`, of the others from `before`. */
  private async merged(before: Value, next: Value, part: readonly (readonly number[])[]): Promise<Value> {
    const out = Float32Array.from((await before.read()) as Float32Array)
    const numbers = (await next.read()) as Float32Array
    const width = out.length / this.batch
    part.forEach((row, i) => {
      if (row.length) out.set(numbers.subarray(i * width, (i + 1) * width), i * width)
    })
    return value(out, next.shape, 'float32')
  }
}

/**
 * Cached generation with `model`, whose parameters are taken as they are now. Its programs are compiled as they are
 * needed (see `prepare`): one for steps, and one for each power of two that prompts are long. Throws UsageError for an architecture that has no cache.
 */
export const decoder = (model: Model, options: DecoderOptions): Decoder => {
  const specs = model.architecture.cache?.(model.config)
  if (!specs)
    throw new UsageError('NoCache', `${model.architecture.name} does not generate: it has no cache of keys.`)
  return new CachedDecoder(model, specs, options)
}
