/** @file Static shapes: sizes, strides, broadcasting, and the error that names an operation and its shapes. */
import { WeftError } from '../errors.js'

/** Lengths of the axes, outermost first; [] is a scalar. */
export type Shape = readonly number[]

/** Shapes that do not fit, thrown where the operation is written. */
export class ShapeError extends WeftError {
  constructor(operation: string, message: string) {
    super('ShapeError', `${operation}: ${message}`)
  }
}

/** Number of elements of a tensor of `shape`: the product of its lengths. */
export const sizeOf = (shape: Shape): number => shape.reduce((n, d) => n * d, 1)

/** Whether two shapes are equal. */
export const sameShape = (a: Shape, b: Shape): boolean =>
  a.length === b.length && a.every((d, i) => d === b[i])

/** Row-major strides in elements. */
export const stridesOf = (shape: Shape): number[] => {
  const strides = new Array<number>(shape.length)
  let step = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step
    step *= shape[i]
  }
  return strides
}

/** Whether an order of axes swaps the last two, and no others. */
export const swapsLast = (permutation: readonly number[]): boolean => {
  const rank = permutation.length
  return rank >= 2 && permutation.every((axis, i) => axis === (i < rank - 2 ? i : 2 * rank - 3 - i))
}

/** Shapes as error messages show them. */
export const show = (...shapes: Shape[]): string => shapes.map((s) => `[${s.join(', ')}]`).join(' and ')

/** The shape that `a` and `b` broadcast to, NumPy's rule: aligned at the right, a 1 stretches. Throws ShapeError. */
export const broadcastShapes = (operation: string, a: Shape, b: Shape): number[] => {
  const rank = Math.max(a.length, b.length)
  return Array.from({ length: rank }, (_, i) => {
    const p = a[i - rank + a.length] ?? 1
    const q = b[i - rank + b.length] ?? 1
    if (p !== q && p !== 1 && q !== 1)
      throw new ShapeError(operation, `shapes ${show(a, b)} do not broadcast (axis ${i})`)
    return p === 1 ? q : p
  })
}

/** `axis` counted from the front; -1 is the last. Throws ShapeError outside the rank. */
export const normalAxis = (operation: string, axis: number, rank: number): number => {
  const at = axis < 0 ? axis + rank : axis
  if (!Number.isInteger(axis) || at < 0 || at >= rank)
    throw new ShapeError(operation, `axis ${axis} does not exist in a tensor of rank ${rank}`)
  return at
}

/** Distinct axes counted from the front, ascending; all of them when `axes` is absent. */
export const normalAxes = (
  operation: string,
  axes: number | readonly number[] | undefined,
  rank: number,
): number[] => {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i)
  const all = (typeof axes === 'number' ? [axes] : axes)
    .map((a) => normalAxis(operation, a, rank))
    .sort((a, b) => a - b)
  if (new Set(all).size !== all.length) throw new ShapeError(operation, `axes [${axes}] repeat`)
  return all
}

/** `wanted` with its -1, if there is one, replaced so that it has as many elements as `shape`. Throws ShapeError. */
export const resolvedShape = (shape: Shape, wanted: Shape): number[] => {
  const rest = wanted.reduce((n, d) => (d === -1 ? n : n * d), 1)
  const full = wanted.map((d) => (d === -1 ? sizeOf(shape) / (rest || 1) : d))
  if (!full.every((d) => Number.isInteger(d) && d >= 0))
    throw new ShapeError('reshape', `${show(shape, wanted)} have different sizes`)
  return full
}

/**
 * The first and the end of a slice, counted from the front. `axis` is counted from the front too. Throws ShapeError.
 */
export const sliceRange = (
  shape: Shape,
  axis: number,
  start: number,
  end: number | undefined,
  step: number,
): { readonly from: number; readonly to: number } => {
  const length = shape[axis]
  const fromFront = (place: number): number => (place < 0 ? place + length : place)
  const from = fromFront(start)
  const to = end === undefined ? length : fromFront(end)
  if (!(from >= 0 && to <= length && from <= to && step >= 1))
    throw new ShapeError('slice', `[${start}, ${end}) by ${step} is outside axis ${axis} of ${show(shape)}`)
  return { from, to }
}

/** The lengths of the parts of `axis`: those given, or so many equal ones. Throws ShapeError. */
export const partSizes = (
  shape: Shape,
  axis: number,
  sizes: number | readonly number[],
): readonly number[] => {
  const parts = typeof sizes === 'number' ? new Array<number>(sizes).fill(shape[axis] / sizes) : sizes
  if (parts.reduce((n, p) => n + p, 0) !== shape[axis] || !parts.every(Number.isInteger))
    throw new ShapeError('split', `parts [${parts}] do not make axis ${axis} of ${show(shape)}`)
  return parts
}

/** Throws ShapeError unless `before` and `after` have a natural number for each axis. */
export const requirePadding = (shape: Shape, before: readonly number[], after: readonly number[]): void => {
  const fits = [before, after].every(
    (counts) => counts.length === shape.length && counts.every((n) => Number.isInteger(n) && n >= 0),
  )
  if (!fits)
    throw new ShapeError(
      'pad',
      `[${before}] and [${after}] do not fit ${show(shape)}: one non-negative number an axis`,
    )
}
