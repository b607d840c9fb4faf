/** @file How tensors come into being: inputs, constants, bound weights, random bytes; and joins of several tensors. */
import { type DType, isFloat } from './dtype.js'
import { normalAxis, type Shape, ShapeError } from './shape.js'
import type { Source } from './source.js'
import { apply, type Operand, type Tensor } from './tensor.js'
import { valueOf, type Value } from './value.js'

/**
 * Elements of `a` where `condition` holds, of `b` elsewhere. condition, a, b: [...], broadcast; two numbers are
 * float32.
 */
export const where = (condition: Tensor, a: Operand, b: Operand): Tensor => {
  const kind = typeof a === 'number' ? (typeof b === 'number' ? scalar(0) : b) : a
  return apply('where', [condition, kind.lift(a), kind.lift(b)], {})[0]
}

/** The tensors one after another along `axis`: [..., n, ...] each, alike but in n. Throws ShapeError for none. */
export const concat = (tensors: readonly Tensor[], axis = -1): Tensor => {
  if (tensors.length === 0) throw new ShapeError('concat', 'nothing to join')
  const at = normalAxis('concat', axis, tensors[0].rank)
  return tensors.length === 1 ? tensors[0] : apply('concat', tensors, { axis: at })[0]
}

/** Tensors of one shape stacked along a new axis `axis`. Throws ShapeError for none. */
export const stack = (tensors: readonly Tensor[], axis = 0): Tensor => {
  if (tensors.length === 0) throw new ShapeError('stack', 'nothing to join')
  return concat(
    tensors.map((t) => t.unsqueeze(axis)),
    normalAxis('stack', axis, tensors[0].rank + 1),
  )
}

/** A value that each run is given. */
export const input = (name: string, shape: Shape, dtype: DType = 'float32'): Tensor =>
  apply('input', [], { name, shape, dtype })[0]

/** A value that is part of the program. */
export const constant = (value: Value): Tensor => apply('constant', [], { value })[0]

/** A value bound when the program is compiled: it stays in its file, or in memory once, whatever the number of runs. */
export const bound = (source: Source): Tensor => apply('bound', [], { source })[0]

/**
 * Uniform bytes (uint8), drawn on the host for each run from the run's seed and step. Streams of one number are one.
 */
export const randomBytes = (shape: Shape, stream: number): Tensor => apply('random', [], { shape, stream })[0]

/** A scalar constant. */
export const scalar = (x: number | boolean, dtype: DType = 'float32'): Tensor =>
  constant(valueOf([Number(x)], [], dtype))

/** A tensor of `shape` filled with `x`. */
export const full = (shape: Shape, x: number | boolean, dtype: DType = 'float32'): Tensor =>
  scalar(x, dtype).expand(shape)
/** Zeros of `shape`. */
export const zeros = (shape: Shape, dtype: DType = 'float32'): Tensor => full(shape, 0, dtype)
/** Ones of `shape`. */
export const ones = (shape: Shape, dtype: DType = 'float32'): Tensor => full(shape, 1, dtype)
/** Zeros of the shape and dtype of x: [...]. */
export const zerosLike = (x: Tensor): Tensor => zeros(x.shape, x.dtype)

/**
 * A constant of `numbers`: [size of `shape`], row-major; a vector by default. Throws ShapeError where they do not
 * fill it.
 */
export const tensor = (
  numbers: ArrayLike<number>,
  shape: Shape = [numbers.length],
  dtype: DType = 'float32',
): Tensor => constant(valueOf(numbers, shape, dtype))

/** Integers start, start + 1, ... below end: [end - start]. */
export const range = (start: number, end: number, dtype: DType = 'int32'): Tensor =>
  tensor(
    Array.from({ length: Math.max(0, end - start) }, (_, i) => start + i),
    undefined,
    dtype,
  )

/** The value x: [...] itself, through which no gradient flows. */
export const stopGradient = (x: Tensor): Tensor =>
  isFloat(x.dtype) ? apply('identity', [x], { stop: true })[0] : x

/** The same value as a node of its own, so that it can be told from x: [...] when differentiating. */
export const alias = (x: Tensor): Tensor => apply('identity', [x], { stop: false })[0]
