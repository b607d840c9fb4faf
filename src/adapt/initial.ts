/** @file What an adapter's parameters are before training: functions of a seed, a shape and the weight they stand at. */
import { type Key, normal, uniform } from '../random/index.js'
import { type Shape, sizeOf, value, type Value } from '../tensor/index.js'

export interface InitialContext {
  readonly shape: Shape
  /** Of the random numbers: of the seed and the parameter's name. */
  readonly key: Key
  /** The weight of the module, [out, in], as float32. */
  readonly weight: () => Promise<Value>
}

export type Initial = (context: InitialContext) => Value | Promise<Value>

const filled =
  (fill: (out: Float32Array, context: InitialContext) => void): Initial =>
  (context) => {
    const out = new Float32Array(sizeOf(context.shape))
    fill(out, context)
    return value(out, context.shape, 'float32')
  }

export const zeros: Initial = filled(() => undefined)
export const ones: Initial = filled((out) => out.fill(1))

/** Uniform within ±1 / sqrt(columns): PyTorch's kaiming_uniform_ with a = sqrt(5). */
export const kaimingUniform: Initial = filled((out, { shape, key }) => {
  uniform(out, key, {}, 'centred')
  const width = 2 / Math.sqrt(shape[1])
  for (let i = 0; i < out.length; i++) out[i] *= width
})

/** Normal with mean 0 and deviation 1. */
export const standardNormal: Initial = filled((out, { key }) => normal(out, key))

/** The norms of the weight's rows, one an output. */
export const rowNorms: Initial = async ({ shape, weight }) => {
  const w = await weight()
  const width = w.shape[1]
  const norms = new Float32Array(shape[0])
  for (let row = 0; row < norms.length; row++) {
    let sum = 0
    for (let i = row * width; i < (row + 1) * width; i++) sum += Number(w.data[i]) ** 2
    norms[row] = Math.sqrt(sum)
  }
  return value(norms, shape, 'float32')
}
