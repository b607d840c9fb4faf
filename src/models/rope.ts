/** @file Rotary position embedding's tables, and the scalings of its frequencies that config.json may ask for. */
import { CheckpointError, nearest } from '../errors.js'
import { concat, rotary, tensor, type Tensor } from '../tensor/index.js'
import type { ConfigReader } from './config.js'
import { minOf } from '../tensor/numbers.js'
import type { Positions } from './positions.js'

/** `rope_parameters` of config.json. */
export interface Rope {
  readonly type: string
  /** Base of the wavelengths: pair i of a head of size d turns by theta^(-2i/d) a position. */
  readonly theta: number
  /** By how much the context is stretched. */
  readonly factor: number
  /** The part of each head's numbers that turns, from the first on: 1 for all. */
  readonly share: number
  /** Positions of the model as it was first trained. */
  readonly original: number
  /** The model's positions. */
  readonly maximum: number
  /** llama3: wavelengths over original/low are stretched, those under original/high kept. */
  readonly low: number
  readonly high: number
  /** yarn: rotations over the original context from which frequencies are kept, and below which they are stretched. */
  readonly fast: number
  readonly slow: number
  /** yarn: whether the pairs between which the blend runs are whole numbers. */
  readonly truncate: boolean
  /** longrope: divisors of each pair's frequency, up to the original context and beyond it. */
  readonly shortFactors: readonly number[]
  readonly longFactors: readonly number[]
  /** Cosines and sines are multiplied by it: 1 but in yarn and longrope. */
  readonly amplitude: number
}

/** Plain frequencies. size: of a head. */
const plain = (theta: number, size: number): number[] =>
  Array.from({ length: size / 2 }, (_, i) => theta ** ((-2 * i) / size))

/** Radians a position of each pair, by `rope_type`; `limit`: every position is below it. */
const scalings: Readonly<Record<string, (r: Rope, size: number, limit: number) => number[]>> = {
  default: ({ theta }, size) => plain(theta, size),
  linear: ({ theta, factor }, size) => plain(theta, size).map((f) => f / factor),
  /** The base grows with the length beyond the model's own ("NTK-aware" scaling). */
  dynamic: ({ theta, factor, maximum }, size, limit) => {
    const stretch = (factor * Math.max(limit, maximum)) / maximum - (factor - 1)
    return plain(theta * stretch ** (size / (size - 2)), size)
  },
  /** Llama 3.1: long wavelengths stretched, short ones kept, a linear blend between. */
  llama3: ({ theta, factor, original, low, high }, size) =>
    plain(theta, size).map((f) => {
      const turns = (original * f) / (2 * Math.PI)
      const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)))
      return (1 - kept) * (f / factor) + kept * f
    }),
  /** Peng et al. 2023, arXiv 2309.00071, section 3.2. */
  yarn: ({ theta, factor, original, fast, slow, truncate }, size) => {
    const pairOf = (turns: number): number =>
      (size * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta))
    const whole = (round: (x: number) => number, pair: number): number => (truncate ? round(pair) : pair)
    const from = Math.max(0, whole(Math.floor, pairOf(fast)))
    const to = Math.min(size - 1, whole(Math.ceil, pairOf(slow)))
    return plain(theta, size).map((f, i) => {
      const stretched = Math.min(1, Math.max(0, (i - from) / (to - from || 0.001)))
      return stretched * (f / factor) + (1 - stretched) * f
    })
  },
  /** Ding et al. 2024, arXiv 2402.13753: a divisor of its own for each pair. */
  longrope: ({ theta, original, shortFactors, longFactors }, size, limit) => {
    const divisors = limit > original ? longFactors : shortFactors
    return plain(theta, size).map((f, i) => f / divisors[i])
  },
}

/** How far yarn raises the scores of a context stretched by `factor`. */
const yarnScale = (factor: number, weight = 1): number =>
  factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1

/** `attention_factor` of config.json, or what the type of rope makes of its other settings. */
const readAmplitude = (json: ConfigReader, type: string, factor: number, original: number): number => {
  if (type !== 'yarn' && type !== 'longrope') return 1
  const writtenFactor = json.optional('number', 'attention_factor')
  if (type === 'longrope')
    return writtenFactor ?? (factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original)))
  const scale = json.number('mscale', 0)
  const scaleOfAll = json.number('mscale_all_dim', 0)
  return (
    writtenFactor ??
    (scale && scaleOfAll ? yarnScale(factor, scale) / yarnScale(factor, scaleOfAll) : yarnScale(factor))
  )
}

const readFactor = (json: ConfigReader, type: string, ratio: number): number => {
  if (type === 'default') return 1
  const factor = json.number('factor', type === 'yarn' || type === 'longrope' ? ratio : undefined)
  json.require(factor > 0, 'factor', 'a positive number')
  return factor
}

/** Which frequencies yarn keeps and which it stretches. As in Transformers, 0 counts as absent. */
const readTurns = (json: ConfigReader, type: string): Pick<Rope, 'fast' | 'slow' | 'truncate'> =>
  type === 'yarn'
    ? {
        fast: json.number('beta_fast', 32) || 32,
        slow: json.number('beta_slow', 1) || 1,
        truncate: json.boolean('truncate', true),
      }
    : { fast: 32, slow: 1, truncate: true }

const readDivisors = (
  json: ConfigReader,
  type: string,
  sizes: readonly number[],
): Pick<Rope, 'shortFactors' | 'longFactors'> => {
  if (type !== 'longrope') return { shortFactors: [], longFactors: [] }
  const read = (key: string): readonly number[] => {
    const divisors = json.numbers(key) ?? []
    const fits = sizes.every((size) => divisors.length === size / 2)
    json.require(fits, key, `${sizes[0] / 2} positive numbers, one for each pair of a head's numbers`)
    return divisors
  }
  return { shortFactors: read('short_factor'), longFactors: read('long_factor') }
}

/** How many numbers of a head of `size` turn. */
const turning = ({ share }: Pick<Rope, 'share'>, size: number): number => Math.trunc(size * share)

/** Settings of one type of rope, at the values at which they mean nothing to the others. */
const meaningless = {
  factor: [1],
  attention_factor: [1],
  beta_fast: [32],
  beta_slow: [1],
  mscale: [0, 1],
  mscale_all_dim: [0, 1],
  truncate: [true],
  low_freq_factor: [1],
  high_freq_factor: [4],
  partial_rotary_factor: [1],
}

/** What an architecture knows of its rope. */
export interface RopeContext {
  /** The model's positions. */
  readonly maximum: number
  /** Base of the wavelengths where config.json says none. */
  readonly theta: number
  /** Sizes of every layer's heads. */
  readonly sizes: readonly number[]
  /** Key outside `rope_parameters` of the part of a head that turns, and its default. Default: all of it does. */
  readonly partial?: readonly [key: string, fallback: number]
  /** Where the settings are. Default: `rope_parameters`. */
  readonly settings?: ConfigReader
}

/** The part of each head that turns. Throws CheckpointError where that is no even number of numbers. */
const readShare = (
  config: ConfigReader,
  json: ConfigReader,
  { partial, sizes }: Pick<RopeContext, 'partial' | 'sizes'>,
): number => {
  if (!partial) return 1
  const share = json.number('partial_rotary_factor', config.number(...partial))
  const fits = sizes.every((size) => {
    const turned = turning({ share }, size)
    return turned >= 2 && turned <= size && turned % 2 === 0
  })
  json.require(fits, 'partial_rotary_factor', `a part of ${sizes[0]} that is an even number, at least 2`)
  return share
}

/**
 * Reads `rope_parameters`. Throws CheckpointError naming the setting that is missing, unusable, or none that Weft has.
 */
export const readRope = (config: ConfigReader, context: RopeContext): Rope => {
  const { maximum, theta, sizes, settings: json = config.object('rope_parameters') } = context
  const type = json.string('rope_type', 'default')
  if (!Object.hasOwn(scalings, type))
    throw new CheckpointError('InvalidConfig', `config.json: rope_parameters.rope_type is '${type}'.`, {
      hint: `Weft has ${Object.keys(scalings).join(', ')}; nearest: ${nearest(type, Object.keys(scalings), 1)[0]}.`,
    })
  const share = readShare(config, json, context)
  const outer = config.optional('size', 'original_max_position_embeddings')
  const inner = json.size('original_max_position_embeddings', maximum)
  const original = outer ?? inner
  const factor = readFactor(json, type, maximum / original)
  const base = json.number('rope_theta', theta)
  json.require(base > 0, 'rope_theta', 'a positive number')
  const turned = sizes.map((size) => turning({ share }, size))
  const rope = {
    type,
    theta: base,
    factor,
    share,
    original,
    maximum,
    low: type === 'llama3' ? json.number('low_freq_factor') : 1,
    high: type === 'llama3' ? json.number('high_freq_factor') : 4,
    ...readTurns(json, type),
    ...readDivisors(json, type, turned),
    amplitude: readAmplitude(json, type, factor, original),
  }
  json.refuseUnread(`rope of type '${type}'`, { harmless: ['finetuned'], fixed: meaningless })
  return rope
}

/** Types of layers that may have a rope of their own. */
export const layerKinds = { full: 'full_attention', sliding: 'sliding_attention' } as const
export type LayerKind = keyof typeof layerKinds

/** For each type of layer the older key of its base, and that base where config.json says none. */
export type KindBases = Readonly<Record<LayerKind, readonly [key: string, theta: number]>>

/**
 * Ropes of layers that see everything and of those that slide: `rope_parameters` says both by the type's name; older files
 * have a key for each base, and scale that of full attention alone by `rope_scaling`. `config` is normalised. Throws CheckpointError as `readRope` does.
 */
export const readRopes = (
  config: ConfigReader,
  bases: KindBases,
  context: Omit<RopeContext, 'theta' | 'settings'>,
): Readonly<Record<LayerKind, Rope>> => {
  const settings = config.object('rope_parameters')
  const nested = Object.values(layerKinds).some((key) => settings.has(key))
  const of = (kind: LayerKind): Rope => {
    const [key, theta] = bases[kind]
    const older = config.number(key, theta)
    const scaled = kind === 'full' && !nested
    const inner = scaled ? settings : settings.object(layerKinds[kind])
    return readRope(config, { ...context, theta: older, settings: inner })
  }
  const ropes = { full: of('full'), sliding: of('sliding') }
  if (nested) settings.refuseUnread('rope_parameters', {})
  return ropes
}

/** Cosines and sines: [..., pairs] each. */
interface Turn {
  readonly cos: Tensor
  readonly sin: Tensor
}

/** Turns by every `step`th position, `rows` of them: [rows, pairs]. */
const table = (frequencies: readonly number[], rows: number, step: number, scale: number): Turn => {
  const of = (f: (angle: number) => number): Tensor =>
    tensor(
      Float32Array.from({ length: rows * frequencies.length }, (_, i) => {
        const position = Math.floor(i / frequencies.length) * step
        return scale * f(position * frequencies[i % frequencies.length])
      }),
      [rows, frequencies.length],
    )
  return { cos: of(Math.cos), sin: of(Math.sin) }
}

const at = ({ cos, sin }: Turn, rows: Tensor): Turn => ({ cos: cos.gather(rows), sin: sin.gather(rows) })

/** By the sum of two angles. */
const composed = (a: Turn, b: Turn): Turn => ({
  cos: a.cos.mul(b.cos).sub(a.sin.mul(b.sin)),
  sin: a.sin.mul(b.cos).add(a.cos.mul(b.sin)),
})

const turns = (rope: Rope, size: number, { ids, limit = rope.maximum }: Positions): Turn => {
  const frequencies = scalings[rope.type](rope, size, limit)
  // Tables are made on the host, where sines are exact whatever the device. One of every position would be large, so
  // a position p is coarse * floor(p / coarse) + p mod coarse.
  const coarse = 2 ** Math.ceil(Math.log2(limit) / 2)
  const far = table(frequencies, Math.ceil(limit / coarse), coarse, rope.amplitude)
  const near = table(frequencies, coarse, 1, 1)
  const { cos, sin } = composed(at(far, ids.div(coarse)), at(near, ids.mod(coarse)))
  return { cos: cos.unsqueeze(1), sin: sin.unsqueeze(1) }
}

const known = new WeakMap<Positions, Map<Rope, Map<number, Turn>>>()

/**
 * Cosines and sines of the pairs of `size` numbers at the positions of `at`: [batch or 1, 1, time, size / 2] each. Layers that see the same
 * positions share them.
 */
export const rotation = (rope: Rope, size: number, at: Positions): Turn => {
  const ropes = known.get(at) ?? new Map<Rope, Map<number, Turn>>()
  known.set(at, ropes)
  const made = ropes.get(rope) ?? new Map<number, Turn>()
  ropes.set(rope, made)
  const turn = made.get(size) ?? turns(rope, size, at)
  made.set(size, turn)
  return turn
}

/** The longest sequence that turns by the short factors of any of `ropes`; undefined where there are none. */
export const turningPointOf = (ropes: readonly Rope[]): number | undefined => {
  const switching = ropes.filter(({ type }) => type === 'longrope').map(({ original }) => original)
  return switching.length > 0 ? minOf(switching) : undefined
}

/** Heads turned by their positions; where the rope has a share, the rest of each head stays. x: [batch, heads, time, size] -> the same. */
export const turned = (x: Tensor, rope: Rope, at: Positions): Tensor => {
  const size = turning(rope, x.shape[3])
  const { cos, sin } = rotation(rope, size, at)
  if (size === x.shape[3]) return rotary(x, cos, sin)
  return concat([rotary(x.slice(3, 0, size), cos, sin), x.slice(3, size)], 3)
}
