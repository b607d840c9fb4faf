/**
 * @file Whole arrays of draws. Every function gives element e of a tensor the same bits whichever range is asked for,
 * wherever it runs: none uses a logarithm, sine, cosine or root, as those differ between engines.
 */
import { kernels } from './kernels.js'
import type { Key } from './philox.js'
import { type Place, type Start, startOf } from './place.js'
import type { Kernels, Run } from './scalar.js'

/** How a normal is made of a block's 128 bits. Peers that share seeds must agree on it. */
export type Sampler = 'ih8' | 'pop128'
/** `unit`: [0, 1). `centred`: (-1/2, 1/2), symmetric about 0 and never 0. */
export type UniformRange = 'unit' | 'centred'

const span = 2 ** 32

/** Calls a kernel on pieces of `out` within which the low word of the counter does not wrap. `out` starts a block. */
const overBlocks = <T extends Uint32Array | Float32Array>(
  out: T,
  key: Key,
  { block, tensor, domain }: Start,
  width: number,
  kernel: (piece: T, run: Run) => void,
): void => {
  for (let done = 0; done * width < out.length;) {
    const low = (block + done) % span
    const count = Math.min(out.length / width - done, span - low)
    const piece = out.subarray(done * width, (done + count) * width) as T
    kernel(piece, { counter: [low, Math.floor((block + done) / span), tensor, domain], key })
    done += count
  }
}

/** Part of one block. */
const copyFrom = (out: Uint32Array, key: Key, start: Start): void => {
  const block = new Uint32Array(4)
  overBlocks(block, key, start, 4, kernels().words)
  out.set(block.subarray(start.skip, start.skip + out.length))
}

/**
 * Fills out: [n] with words of the sequence: word w of the place is word w mod 4 of block floor(w / 4). Throws
 * PlaceError.
 */
export const fillWords = (out: Uint32Array, key: Key, place: Place = {}): void => {
  const start = startOf(place, 4, out.length)
  const lead = Math.min((4 - start.skip) % 4, out.length)
  const whole = out.length - lead - ((out.length - lead) % 4)
  if (lead) copyFrom(out.subarray(0, lead), key, start)
  const next = { ...start, block: start.block + (start.skip ? 1 : 0), skip: 0 }
  overBlocks(out.subarray(lead, lead + whole), key, next, 4, kernels().words)
  if (lead + whole < out.length)
    copyFrom(out.subarray(lead + whole), key, { ...next, block: next.block + whole / 4 })
}

/** Words drawn at once by the functions that turn words into something else: 16 KiB stay in a core's cache. */
const batch = 4096

/**
 * Calls `use` for batches of the words that `count` elements, `perWord` a word, are made of. Of each batch, `skip`
 * elements come before those wanted; the rest go to `at` and on.
 */
const overWords = (
  count: number,
  key: Key,
  place: Place,
  perWord: number,
  use: (words: Uint32Array, skip: number, at: number, count: number) => void,
): void => {
  startOf(place, 4 * perWord, count)
  const first = place.first ?? 0
  const buffer = new Uint32Array(Math.min(batch, Math.ceil(count / perWord) + 1))
  for (let at = 0; at < count;) {
    const skip = (first + at) % perWord
    const size = Math.min(count - at, buffer.length * perWord - skip)
    const words = buffer.subarray(0, Math.ceil((skip + size) / perWord))
    fillWords(words, key, { ...place, first: Math.floor((first + at) / perWord) })
    use(words, skip, at, size)
    at += size
  }
}

/**
 * Fills out: [n] with bytes: byte b of the place is byte b mod 4 (lowest first) of word floor(b / 4). Machines are
 * taken to be little-endian, as all that run WebAssembly engines for tensors are. Throws PlaceError.
 */
export const fillBytes = (out: Uint8Array, key: Key, place: Place = {}): void =>
  overWords(out.length, key, place, 4, (words, skip, at, count) =>
    out.set(new Uint8Array(words.buffer, skip, count), at),
  )

/**
 * Fills out: [n] with uniform float32 numbers of 24 random bits, one word each. `unit`: multiples of 2^-24 in [0, 1).
 * `centred`: odd multiples of 2^-25 in (-1/2, 1/2). Both are exact: nothing is rounded.
 * Throws PlaceError.
 */
export const uniform = (
  out: Float32Array,
  key: Key,
  place: Place = {},
  range: UniformRange = 'unit',
): void => {
  const [step, scale, low] = range === 'unit' ? [1, 2 ** -24, 0] : [2, 2 ** -25, 16777215]
  overWords(out.length, key, place, 1, (words, _skip, at, count) => {
    for (let i = 0; i < count; i++) out[at + i] = (step * (words[i] >>> 8) - low) * scale
  })
}

/**
 * Fills out: [n] with standard normal float32 numbers, one block each. `ih8` (the default): the sum of eight 16-bit
 * uniforms, centred and scaled by one rounded multiply; kurtosis 2.85, |z| <= 4.899. `pop128`: the number of ones
 * among 128 bits, centred and scaled; kurtosis 2.984, multiples of 0.177. Throws PlaceError.
 */
export const normal = (out: Float32Array, key: Key, place: Place = {}, sampler: Sampler = 'ih8'): void => {
  const kernel: Kernels[Sampler] = kernels()[sampler]
  overBlocks(out, key, startOf(place, 1, out.length), 1, kernel)
}

/**
 * Fills out: [n] with signs: element j of a block is 1 - 2 (bit j of its 128 bits), lowest bit of word 0 first. Throws
 * PlaceError.
 */
export const rademacher = (out: Float32Array | Int8Array, key: Key, place: Place = {}): void =>
  overWords(out.length, key, place, 32, (words, skip, at, count) => {
    for (let i = 0; i < count; i++)
      out[at + i] = 1 - 2 * ((words[(skip + i) >>> 5] >>> ((skip + i) & 31)) & 1)
  })
