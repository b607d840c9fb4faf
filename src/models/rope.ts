/** @file Rotary position embedding's tables, and the scalings of its frequencies that config.json may ask for. */
import { CheckpointError, nearest } from '../errors.js'
import { concat, tensor, type Tensor } from '../tensor/index.js'
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
  const far = table(frequencies, Math.ceil(limit / coarse), coarse, amplitude(rope))
  const near = table(frequencies, coarse, 1, 1)
  const { cos, sin } = composed(at(far, ids.div(coarse)), at(near, ids.mod(coarse)))
  const whole = (half: Tensor): Tensor => concat([half, half], -1).unsqueeze(1)
  return { cos: whole(cos), sin: whole(sin) }
}

const known = new WeakMap<Positions, Map<number, Turn>>()

/**
 * Cosines and sines for heads of size `size` at the positions of `at`: [batch or 1, 1, time, size] each. Layers that see
 * the same positions share them.
 */
export const rotation = (rope: Rope, size: number, at: Positions): Turn => {
  const made = known.get(at) ?? new Map<number, Turn>()
  known.set(at, made)
  const turn = made.get(size) ?? turns(rope, size, at)
  made.set(size, turn)
  return turn
}
