/**
 * @file One pass of cached generation as a program: new tokens, and the keys and values before them, to logits and the new
 * keys and values. The cache is an answer to `attend`, standing before the method's.
 */
import { WeftError } from '../errors.js'
import {
  compile,
  compileAnyLength,
  type CompileOptions,
  concat,
  logSumExp,
  type Program,
  range,
  type Spec,
  type Tensor,
  type Value,
} from '../tensor/index.js'
import type { CacheSpec } from './architecture.js'
import { joined, type KeysAndValues } from './cache.js'
import type { Model } from './model.js'
import { answering, type Weights } from './weights.js'

/** Keys and values by module. */
export type Past<T> = Readonly<Record<string, KeysAndValues<T>>>

/** What a pass is given. */
export interface Inputs<T> {
  /** [batch, time] */
  readonly ids: T
  /** How many tokens each row holds already: [batch]. */
  readonly start: T
  /** How many of the new tokens each row has: [batch]. */
  readonly count: T
  /** [batch, heads, slots, size], by module. */
  readonly past: Past<T>
  /** Positions of the slots, 0 to slots - 1, where there are any: given, so that a program takes any number of them. */
  readonly places?: T
  /** What trains: given at each run, since a session cannot map files and hold arrays at once. */
  readonly parameters: Readonly<Record<string, T>>
  /** The methods' own inputs. */
  readonly inputs: Readonly<Record<string, T>>
  /** What an encoder reads, where there is one: [batch, time] each. */
  readonly source?: Readonly<Record<'ids' | 'mask', T>>
  /** The encoder's keys and values, once it has read: [batch, heads, time, size], by module. */
  readonly crossed: Past<T>
}

/** What a pass gives. */
export interface Outputs<T> {
  /** [batch, vocabulary] */
  readonly logits: T
  /** ln of the sum of exp(logits): [batch]. */
  readonly logSumExp: T
  /** New keys and values, joined. */
  readonly fresh: readonly T[]
  /** The encoder's, where they were not given. */
  readonly crossed: Past<T>
}

/** Names of the modules whose keys and values are kept: the decoder's own, and an encoder's. */
export interface Kept {
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

/** The passes that one program can make: by which model, and what of it is kept. */
export interface PassKind {
  readonly model: Model
  /** The decoder's own keys and values. */
  readonly specs: readonly CacheSpec[]
  readonly modules: Kept
  /** Every position is below it. */
  readonly room: number
}

/** One pass over new tokens, as a graph. */
const pass = (
  { model, specs, modules, room }: PassKind,
  { ids, start, count, past, places, crossed, source, parameters, inputs }: Inputs<Tensor>,
): Outputs<Tensor> => {
  const [, time] = ids.shape
  const begin = start.unsqueeze(1)
  const given = count.unsqueeze(1)
  const old = (places ?? range(0, 0)).unsqueeze(0)
  const fresher = range(0, time).unsqueeze(0)
  // What stands for padding may lie beyond the last position; nothing sees it.
  const positions = begin.add(fresher).minimum(room - 1)
  const at = {
    ids: positions,
    keys: concat([old.expand([ids.shape[0], old.shape[1]]), positions], 1),
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
  const next = logits.squeeze(1)
  const first = Object.keys(crossed).length === 0
  const encoded = Object.entries(fresh).filter(([name]) => modules.crossed.has(name))
  return {
    logits: next,
    logSumExp: logSumExp(next),
    fresh: joined(specs, fresh),
    crossed: first ? Object.fromEntries(encoded) : {},
  }
}

/** A program of one pass. */
export type PassProgram = Program<Inputs<Value>, Outputs<Value>>

/**
 * Compiles the passes of `kind` over inputs like `specs`; where there are `others`, which differ in the number of slots, over
 * any number of them. Throws as `compile` and `compileAnyLength` do.
 */
export const compilePass = (
  kind: PassKind,
  options: Pick<CompileOptions, 'device'>,
  specs: Inputs<Spec>,
  others?: Inputs<Spec>,
): Promise<PassProgram> => {
  const graph = ((given: Inputs<Tensor>) => pass(kind, given)) as never
  const program = others ? compileAnyLength(graph, specs, others, options) : compile(graph, specs, options)
  return program as never
}
