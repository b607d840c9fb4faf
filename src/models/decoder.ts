/**
 * @file Cached generation: programs that take new tokens and the keys and values before them, in a few sizes. Frozen
 * weights are bound to the programs. A method that answers for weights or attention works here too, since the cache is itself an
 * answer to `attend`, standing before the method's.
 */
import { UsageError, WeftError } from '../errors.js'
import {
  compile,
  type CompileOptions,
  concat,
  mapTree,
  type Program,
  range,
  type Spec,
  specOf,
  type Tensor,
  value,
  type Value,
  valueOf,
} from '../tensor/index.js'
import type { CacheSpec } from './architecture.js'
import { type KeysAndValues, KeyValueCache } from './cache.js'
import type { Model, Parameters } from './model.js'
import { answering, type Weights } from './weights.js'
import { maxOf } from '../tensor/numbers.js'

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

type Past<T> = Readonly<Record<string, KeysAndValues<T>>>

interface Inputs<T> {
  /** [batch, time] */
  readonly ids: T
  /** How many tokens each row holds already: [batch]. */
  readonly start: T
  /** How many of the new tokens each row has: [batch]. */
  readonly count: T
  /** [batch, heads, slots, size], by module. */
  readonly past: Past<T>
  /** What trains: given at each run, since a session cannot map files and hold arrays at once. */
  readonly parameters: Readonly<Record<string, T>>
  /** The methods' own inputs. */
  readonly inputs: Readonly<Record<string, T>>
  /** What an encoder reads, where there is one: [batch, time] each. */
  readonly source?: Readonly<Record<'ids' | 'mask', T>>
  /** The encoder's keys and values, once it has read: [batch, heads, time, size], by module. */
  readonly crossed: Past<T>
}

interface Outputs<T> {
  /** [batch, vocabulary] */
  readonly logits: T
  readonly fresh: Past<T>
  /** The encoder's, where they were not given. */
  readonly crossed: Past<T>
}

/** Names of the modules whose keys and values are kept: the decoder's own, and an encoder's. */
interface Kept {
  readonly own: ReadonlySet<string>
  readonly crossed: ReadonlySet<string>
}

/**
 * `w`, whose attention sees the keys and values of `past` before the new ones; these are left in `fresh`. An encoder's that
 * are given stand for those that would be computed, so that nothing of the encoder is.
 */
const remembering = (
  w: Weights,
  modules: Kept,
  { past, crossed }: Pick<Inputs<Tensor>, 'past' | 'crossed'>,
  fresh: Record<string, KeysAndValues<Tensor>>,
): Weights =>
  answering(w, {
    attend(name, parts, core) {
      if (modules.crossed.has(name)) {
        const kept = Object.hasOwn(crossed, name) ? crossed[name] : parts
        fresh[name] = { k: kept.k, v: kept.v }
        return w.attend(name, { ...parts, ...fresh[name] }, core)
      }
      if (!modules.own.has(name)) return w.attend(name, parts, core)
      if (Object.hasOwn(fresh, name))
        throw new WeftError('ModuleRepeated', `attention of '${name}' runs twice in one pass`, {
          hint: 'Cached generation keeps one set of keys a module: generate without the cache.',
        })
      const { k, v } = (fresh[name] = { k: parts.k, v: parts.v })
      const before = Object.hasOwn(past, name) ? past[name] : undefined
      const seen = before ? { k: concat([before.k, k], 2), v: concat([before.v, v], 2) } : { k, v }
      return w.attend(name, { ...parts, ...seen }, core)
    },
  })

/** One pass over new tokens, as a graph. */
const pass = (
  model: Model,
  modules: Kept,
  room: number,
  { ids, start, count, past, crossed, source, parameters, inputs }: Inputs<Tensor>,
): Outputs<Tensor> => {
  const [, time] = ids.shape
  const slots = Object.values(past)[0]?.k.shape[2] ?? 0
  const [begin, given] = [start.unsqueeze(1), count.unsqueeze(1)]
  const [old, fresher] = [range(0, slots).unsqueeze(0), range(0, time).unsqueeze(0)]
  // What stands for padding may lie beyond the last position; nothing sees it.
  const positions = begin.add(fresher).minimum(room - 1)
  const at = {
    ids: positions,
    keys: concat([old.expand([ids.shape[0], slots]), positions], 1),
    valid: concat([old.less(begin), fresher.less(given)], 1),
    causal: true,
    cached: true,
    limit: room,
  }
  const fresh: Record<string, KeysAndValues<Tensor>> = {}
  const w = remembering(model.weights(parameters, { inputs }), modules, { past, crossed }, fresh)
  const logitsAt = given.sub(1).maximum(0)
  const read = source ? { ...source, decoderIds: ids } : { ids }
  const { logits } = model.architecture.forward(w, { ...read, at, logitsAt }, model.config)
  const among = (names: ReadonlySet<string>): Past<Tensor> =>
    Object.fromEntries(Object.entries(fresh).filter(([name]) => names.has(name)))
  const first = Object.keys(crossed).length === 0
  return {
    logits: logits.squeeze(1),
    fresh: among(modules.own),
    crossed: first ? among(modules.crossed) : {},
  }
}

type DecoderProgram = Program<Inputs<Value>, Outputs<Value>>

/** Of each model, by sizes: a decoder finds those that another has compiled. */
const programs = new WeakMap<Model, Map<string, Promise<DecoderProgram>>>()

class CachedDecoder implements Decoder {
  readonly cache: KeyValueCache
  private readonly batch: number
  /** What the programs hold: of few sizes, so that decoders of like capacities share them. */
  private readonly room: number
  private readonly chunk: number
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
    this.cache = new KeyValueCache(this.specs, batch)
  }

  prefill(rows: readonly ArrayLike<number>[]): Promise<Value> {
    if (rows.some((row) => row.length === 0))
      throw new UsageError('EmptyPrompt', 'every row needs at least one token to begin with.')
    this.cache.clear()
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
    const longest = maxOf(rows.map((row) => row.length))
    let logits: Value | undefined
    for (let from = 0; from < longest; from += this.chunk) {
      const part = rows.map((row) => Array.from(row).slice(from, from + this.chunk))
      const next = await this.pass(part)
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
        if (past === 0 || time === 1 || past >= this.chunk) await this.program(time, past)
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

  /** The program for `time` new tokens behind `slots` cached ones. */
  private program(time: number, slots: number): Promise<DecoderProgram> {
    const own = programs.get(this.model) ?? new Map<string, Promise<DecoderProgram>>()
    programs.set(this.model, own)
    const inputs = Object.keys(this.options.inputs ?? {}).sort()
    const sizes = [this.source?.ids, Object.values(this.crossed)[0]?.k].map((v) => v?.shape.join('x') ?? '')
    const key = [this.options.device, this.batch, this.room, time, slots, ...sizes, ...inputs].join()
    const made = own.get(key) ?? this.compile(time, slots)
    own.set(key, made)
    // What failed may be tried again.
    made.catch(() => own.delete(key))
    return made
  }

  private async compile(time: number, slots: number): Promise<DecoderProgram> {
    const { batch, specs, model, room } = this
    const { modules, source, crossed } = this
    const past = specs.map(({ module, heads, size }) => {
      const spec: Spec = { dtype: 'float32', shape: [batch, heads, slots, size] }
      return [module, { k: spec, v: spec }] as const
    })
    const integers = (...shape: number[]): Spec => ({ dtype: 'int32', shape })
    const inputs: Inputs<Spec> = {
      ids: integers(batch, time),
      start: integers(batch),
      count: integers(batch),
      past: slots ? Object.fromEntries(past) : {},
      parameters: mapTree<Value, Spec, typeof model.parameters>(model.parameters, specOf),
      inputs: mapTree<Value, Spec, Parameters<Value>>(this.options.inputs ?? {}, specOf),
      ...(source && { source: mapTree<Value, Spec, typeof source>(source, specOf) }),
      crossed: mapTree<Value, Spec, Past<Value>>(crossed, specOf),
    }
    const graph = (given: Inputs<Tensor>): Outputs<Tensor> => pass(model, modules, room, given)
    return compile(graph as never, inputs, { device: this.options.device }) as never
  }

  /** Runs the new tokens of one chunk, and writes their keys and values into the cache. */
  private async pass(rows: readonly (readonly number[])[]): Promise<Value> {
    const { cache, batch } = this
    const counts = rows.map((row) => row.length)
    const time = this.timeBucket(maxOf(counts))
    const slots = this.pastBucket(maxOf(cache.lengths))
    const ids = rows.flatMap((row) => [...row, ...new Array<number>(time - row.length).fill(0)])
    const program = await this.program(time, slots)
    const { logits, fresh, crossed } = await program.run({
      ids: valueOf(ids, [batch, time], 'int32'),
      start: valueOf(cache.lengths, [batch], 'int32'),
      count: valueOf(counts, [batch], 'int32'),
      past: slots ? cache.values() : {},
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
 * needed (see `prepare`), at most one for each power of two. Throws UsageError for an architecture that has no cache.
 */
export const decoder = (model: Model, options: DecoderOptions): Decoder => {
  const specs = model.architecture.cache?.(model.config)
  if (!specs)
    throw new UsageError('NoCache', `${model.architecture.name} does not generate: it has no cache of keys.`)
  return new CachedDecoder(model, specs, options)
}
