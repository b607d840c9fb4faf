/** @file What an adapter's parameters are before training: functions of a seed, a shape and the weight they stand at. */
import { type Key, normal, uniform } from '../../random/index.js'
import { type Shape, sizeOf, value, type Value } from '../../tensor/index.js'

/** Questions of a parameter's beginning. */
export interface InitialContext {
  readonly shape: Shape
  /** Key of the random numbers, made of the seed and the parameter's name. */
  readonly key: Key
  /** The weight of the module, [out, in], as float32. */
  readonly weight: () => Promise<Value>
  /** The bias of the module; zeros where it has none. */
  readonly bias: () => Promise<Value>
}

/** A beginning: the value of a parameter before training. */
export type Initial = (context: InitialContext) => Value | Promise<Value>

/** One that needs no module: for parameters that modules share, too. */
export type FreeInitial = (context: Pick<InitialContext, 'shape' | 'key'>) => Value

/** One that may look at any tensor of the base, by name. */
export type SharedInitial = (
  context: Pick<InitialContext, 'shape' | 'key'> & { readonly tensor: (name: string) => Promise<Value> },
) => Value | Promise<Value>

const filled =
  (fill: (out: Float32Array, context: Parameters<FreeInitial>[0]) => void): FreeInitial =>
  (context) => {
    const out = new Float32Array(sizeOf(context.shape))
    fill(out, context)
    return value(out, context.shape, 'float32')
  }

/** Zeros. */
export const zeros: FreeInitial = filled(() => undefined)
/** One number, everywhere. */
export const filledWith = (x: number): FreeInitial => filled((out) => out.fill(x))
/** Ones. */
export const ones: FreeInitial = filledWith(1)

/** Uniform within plus and minus a bound that the shape decides. */
export const uniformWithin = (bound: (shape: Shape) => number): FreeInitial =>
  filled((out, { shape, key }) => {
    uniform(out, key, {}, 'centred')
    const width = 2 * bound(shape)
    for (let i = 0; i < out.length; i++) out[i] *= width
  })

/** Uniform within ±1 / sqrt(columns): PyTorch's kaiming_uniform_ with a = sqrt(5). */
export const kaimingUniform: FreeInitial = uniformWithin((shape) => 1 / Math.sqrt(shape[1]))

/** Normal with mean 0 and deviation 1. */
export const standardNormal: FreeInitial = filled((out, { key }) => normal(out, key))

/** Normal with mean 0 and this deviation. */
export const normalWith = (deviation: number): FreeInitial =>
  filled((out, { key }) => {
    normal(out, key)
    for (let i = 0; i < out.length; i++) out[i] *= deviation
  })

/** The module's own weight. */
export const ownWeight: Initial = ({ weight }) => weight()
/** The module's own bias. */
export const ownBias: Initial = ({ bias }) => bias()

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
