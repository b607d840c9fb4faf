/** @file Arcee Fusion: only the important changes of one model enter another. */
import { type AlignedTensor, type Block, merge, type MergeMethod } from '../core/method.js'
import { type KeyPasses, ranked } from '../../stream/kernels/select.js'

const { fround } = Math

/** 2^-n, of n from 0 on. */
const powersOfHalf = Float64Array.from({ length: 1100 }, (_, n) => 2 ** -n)

const log2e = fround(Math.LOG2E)
const lowLn2 = fround(1.428606765330187e-6)
const [c6, c5, c4, c3, c2, c1] = [0.00019852762, 0.0013930436, 0.008333361, 0.041666485, 0.16666667, 0.5].map(
  fround,
)

/**
 * exp of x <= 0 as float32 libraries compute it: 2^n e^r with |r| <= ln 2 / 2, e^r by a polynomial, each step rounded once
 * (Shibata and Petrogalli, "SLEEF", 2020, which PyTorch uses).
 */
const exponential = (x: number): number => {
  const n = Math.round(fround(x * log2e))
  const r = fround(fround(x - n * 0.693145751953125) - n * lowLn2)
  let series = fround(c6 * r + c5)
  series = fround(series * r + c4)
  series = fround(series * r + c3)
  series = fround(series * r + c2)
  series = fround(series * r + c1)
  return fround(1 + fround(fround(r * r) * series + r)) * (n > -1100 ? powersOfHalf[-n] : 0)
}

const lanes = 16
const laneSums = new Float32Array(lanes)

/** The sum of a row as vector units add: lane by lane, then the lanes by halves. */
const sumInLanes = (row: Float32Array): number => {
  laneSums.fill(0)
  for (let i = 0; i < row.length; i++) laneSums[i % lanes] += row[i]
  for (let half = lanes / 2; half >= 1; half /= 2)
    for (let l = 0; l < half; l++) laneSums[l] += laneSums[l + half]
  return laneSums[0]
}

/** out = the softmax of a row. */
const softmax = (out: Float32Array, row: Float32Array): void => {
  let top = row[0]
  for (let i = 1; i < row.length; i++) top = Math.max(top, row[i])
  for (let i = 0; i < row.length; i++) out[i] = exponential(fround(row[i] - top))
  const scale = fround(1 / sumInLanes(out))
  for (let i = 0; i < row.length; i++) out[i] *= scale
}

/**
 * The divergence of p from q. It is a small difference of large sums, so its value in float32, and with it which elements
 * are important, depends on every rounding on the way.
 */
const divergence = (p: Float32Array, q: Float32Array): number => {
  const eps = fround(1e-8)
  let sum = 0
  for (let i = 0; i < p.length; i++) {
    const a = fround(p[i] + eps)
    const b = fround(q[i] + eps)
    sum += fround(a * fround(Math.log(fround(a / b))))
  }
  return fround(sum)
}

/** The divergence of the softmax of each row in the model from that in the base, for all rows of a tensor. */
class Divergences {
  private readonly rows: Float32Array
  private readonly p: Float32Array
  private readonly q: Float32Array
  private known = 0
  constructor(
    private readonly width: number,
    count: number,
  ) {
    this.rows = new Float32Array(count / width)
    this.p = new Float32Array(width)
    this.q = new Float32Array(width)
  }

  /** Importance of each element of a block, its change times the divergence of its row. Blocks come in order at first. */
  scores({ first, base, models: [model] }: Block): Float32Array {
    const { width, rows } = this
    const out = new Float32Array(model.length)
    for (let start = 0; start < out.length; start += width) {
      const end = start + width
      const row = (first + start) / width
      if (row >= this.known)
        rows[this.known++] = this.of(model.subarray(start, end), base!.subarray(start, end))
      const factor = rows[row]
      for (let i = start; i < end; i++) out[i] = Math.abs(fround(model[i] - base![i])) * factor
    }
    return out
  }

  private of(model: Float32Array, base: Float32Array): number {
    softmax(this.p, model)
    softmax(this.q, base)
    return divergence(this.p, this.q)
  }
}

/** Numbers as unsigned integers of the same order, in their place; and back. */
const toKeys = (numbers: Float32Array): Uint32Array => {
  const words = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length)
  for (let i = 0; i < words.length; i++) words[i] = words[i] >>> 31 ? ~words[i] : words[i] | 0x80000000
  return words
}
const fromKey = (key: number): number => {
  const word = Uint32Array.of(key >>> 31 ? key & 0x7fffffff : ~key)
  return new Float32Array(word.buffer)[0]
}

/** median + 1.5 (upper quartile - lower quartile) of the scores. */
const threshold = async (tensor: AlignedTensor, divergences: Divergences): Promise<number> => {
  const passes: KeyPasses = async function* () {
    for await (const block of tensor.blocks())
      yield { first: block.first, keys: [toKeys(divergences.scores(block))] }
  }
  const ranks = [0.25, 0.5, 0.75].map((q) => Math.floor(q * (tensor.count - 1)))
  const [lower, median, upper] = (await ranked(passes, [ranks]))[0].map(({ key }) => fromKey(key))
  return fround(median + fround(1.5 * fround(upper - lower)))
}

/** Takes the other model's number where its importance reaches the threshold of its tensor, else the base's. */
export const arceeFusion: MergeMethod = merge({
  name: 'arcee_fusion',
  summary: 'of the change from the base the numbers that matter most, by their magnitude and divergence',
  module: import.meta.url,
  base: 'required',
  counts: [1, 1],
  rows: true,
  prepare: async (tensor) => {
    const divergences = new Divergences(tensor.width, tensor.count)
    return { divergences, least: await threshold(tensor, divergences) }
  },
  tensor: (out, block, _, { divergences, least }) => {
    const importance = divergences.scores(block)
    const base = block.base!
    const [model] = block.models
    for (let i = 0; i < out.length; i++)
      out[i] = importance[i] >= least ? base[i] + fround(model[i] - base[i]) : base[i]
  },
})
