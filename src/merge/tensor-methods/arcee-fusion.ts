/** @file Arcee Fusion: only the important changes of one model enter another. */
import { type AlignedTensor, merge, type MergeMethod } from '../core/method.js'
import { type KeyPasses, ranked } from '../../stream/kernels/select.js'

const { fround } = Math

/**
 * exp as float32 libraries compute it: 2^n e^r with |r| <= ln 2 / 2, e^r by a polynomial, each step rounded once
 * (Shibata and Petrogalli, "SLEEF", 2020, which PyTorch uses).
 */
const exponential = (x: number): number => {
  const n = Math.round(fround(x * fround(Math.LOG2E)))
  const r = fround(fround(x - n * 0.693145751953125) - n * fround(1.428606765330187e-6))
  let series = fround(0.00019852762)
  for (const c of [0.0013930436, 0.008333361, 0.041666485, 0.16666667, 0.5])
    series = fround(series * r + fround(c))
  return fround(1 + fround(fround(r * r) * series + r)) * 2 ** n
}

const lanes = 16

/** The sum of a row as vector units add: lane by lane, then the lanes by halves. */
const sumInLanes = (row: Float32Array): number => {
  const sums = new Float32Array(lanes)
  for (let i = 0; i < row.length; i++) sums[i % lanes] += row[i]
  for (let half = lanes / 2; half >= 1; half /= 2) for (let l = 0; l < half; l++) sums[l] += sums[l + half]
  return sums[0]
}

const softmax = (row: Float32Array): Float32Array => {
  const top = row.reduce((a, b) => Math.max(a, b))
  const powers = row.map((x) => exponential(fround(x - top)))
  const scale = fround(1 / sumInLanes(powers))
  return powers.map((x) => x * scale)
}

/**
 * The divergence of the row's softmax in the model from that in the base. It is a small difference of large sums, so
 * its value in float32, and with it which elements are important, depends on every rounding on the way.
 */
const divergence = (model: Float32Array, base: Float32Array): number => {
  const p = softmax(model)
  const q = softmax(base)
  const eps = fround(1e-8)
  let sum = 0
  for (let i = 0; i < p.length; i++) {
    const a = fround(p[i] + eps)
    const b = fround(q[i] + eps)
    sum += fround(a * fround(Math.log(fround(a / b))))
  }
  return fround(sum)
}

/** Each element's importance: its change times the divergence of its row. */
const scores = (model: Float32Array, base: Float32Array, width: number): Float32Array => {
  const out = new Float32Array(model.length)
  for (let start = 0; start < out.length; start += width) {
    const end = start + width
    const factor = divergence(model.subarray(start, end), base.subarray(start, end))
    for (let i = start; i < end; i++) out[i] = Math.abs(fround(model[i] - base[i])) * factor
  }
  return out
}

/** Numbers as unsigned integers of the same order, and back. */
const toKeys = (numbers: Float32Array): Uint32Array => {
  const words = new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length)
  return words.map((word) => (word >>> 31 ? ~word : word | 0x80000000))
}
const fromKey = (key: number): number => {
  const word = Uint32Array.of(key >>> 31 ? key & 0x7fffffff : ~key)
  return new Float32Array(word.buffer)[0]
}

/** median + 1.5 (upper quartile - lower quartile) of the scores. */
const threshold = async (tensor: AlignedTensor): Promise<number> => {
  const passes: KeyPasses = async function* () {
    for await (const { first, base, models } of tensor.blocks())
      yield { first, keys: [toKeys(scores(models[0], base!, tensor.width))] }
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
  prepare: async (tensor) => ({ least: await threshold(tensor), width: tensor.width }),
  tensor: (out, { base, models: [model] }, _, { least, width }) => {
    const importance = scores(model, base!, width)
    for (let i = 0; i < out.length; i++)
      out[i] = importance[i] >= least ? base![i] + fround(model[i] - base![i]) : base![i]
  },
})
