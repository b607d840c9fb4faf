/** @file Rotary position embedding's tables, and the scalings of its frequencies that config.json may ask for. */
import { CheckpointError, nearest } from '../errors.js'
import { bound, type Tensor, value, type Value } from '../tensor/index.js'
import type { ConfigReader } from './config.js'
import type { Positions } from './positions.js'

/** `rope_parameters` of config.json. */
export interface Rope {
  readonly type: string
  /** Base of the wavelengths: pair i of a head of size d turns by theta^(-2i/d) a position. */
  readonly theta: number
  /** By how much the context is stretched. */
  readonly factor: number
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
  /** yarn: cosines and sines are multiplied by it. */
  readonly attentionFactor?: number
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
  yarn: ({ theta, factor, original, fast, slow }, size) => {
    const pairOf = (turns: number): number =>
      (size * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta))
    const from = Math.max(0, Math.floor(pairOf(fast)))
    const to = Math.min(size - 1, Math.ceil(pairOf(slow)))
    return plain(theta, size).map((f, i) => {
      const stretched = Math.min(1, Math.max(0, (i - from) / (to - from || 0.001)))
      return stretched * (f / factor) + (1 - stretched) * f
    })
  },
}

/** Reads `rope_parameters`. maximum: the model's positions; theta: the default base. */
export const readRope = (config: ConfigReader, maximum: number, theta: number): Rope => {
  const json = config.object('rope_parameters')
  const type = json.string('rope_type', 'default')
  if (!Object.hasOwn(scalings, type))
    throw new CheckpointError('InvalidConfig', `config.json: rope_parameters.rope_type is '${type}'.`, {
      hint: `Weft has ${Object.keys(scalings).join(', ')}; nearest: ${nearest(type, Object.keys(scalings), 1)[0]}.`,
    })
  return {
    type,
    theta: json.number('rope_theta', theta),
    factor: json.number('factor', type === 'default' ? 1 : undefined),
    original: json.size('original_max_position_embeddings', type === 'llama3' ? undefined : maximum),
    maximum,
    low: json.number('low_freq_factor', type === 'llama3' ? undefined : 1),
    high: json.number('high_freq_factor', type === 'llama3' ? undefined : 4),
    fast: json.number('beta_fast', 32),
    slow: json.number('beta_slow', 1),
    attentionFactor: json.optional('number', 'attention_factor'),
  }
}

const amplitude = ({ type, factor, attentionFactor }: Rope): number =>
  type === 'yarn' ? (attentionFactor ?? 0.1 * Math.log(factor) + 1) : 1

/** f(position * frequency) for every position and pair, the pairs' halves side by side: [limit, size]. */
const table = (
  f: (angle: number) => number,
  rope: Rope,
  frequencies: readonly number[],
  limit: number,
): Value => {
  const half = frequencies.length
  const scale = amplitude(rope)
  const data = new Float32Array(limit * half * 2)
  for (let p = 0; p < limit; p++)
    for (let i = 0; i < half; i++) {
      const at = p * half * 2 + i
      data[at] = data[at + half] = scale * f(p * frequencies[i])
    }
  return value(data, [limit, half * 2], 'float32')
}

interface Tables {
  readonly cos: Tensor
  readonly sin: Tensor
}

const made = new WeakMap<Rope, Map<string, Tables>>()

const inMemory = (v: Value): Tensor => bound({ kind: 'memory', dtype: v.dtype, shape: v.shape, value: v })

/** The tables are made on the host, where sines are exact on every device, and once for all programs. */
const tables = (rope: Rope, size: number, limit: number): Tables => {
  const known = made.get(rope) ?? new Map<string, Tables>()
  made.set(rope, known)
  const key = `${size}:${limit}`
  const frequencies = (): number[] => scalings[rope.type](rope, size, limit)
  const found = known.get(key) ?? {
    cos: inMemory(table(Math.cos, rope, frequencies(), limit)),
    sin: inMemory(table(Math.sin, rope, frequencies(), limit)),
  }
  known.set(key, found)
  return found
}

/** Cosines and sines for heads of size `size` at the positions of `at`: [batch or 1, 1, time, size] each. */
export const rotation = (rope: Rope, size: number, at: Positions): Tables => {
  const { cos, sin } = tables(rope, size, at.limit ?? rope.maximum)
  return { cos: cos.gather(at.ids).unsqueeze(1), sin: sin.gather(at.ids).unsqueeze(1) }
}
