/** @file Static shapes: sizes, strides, broadcasting, and the error that names an operation and its shapes. */
import { WeftError } from '../errors.js'

export type Shape = readonly number[]

/** Shapes that do not fit, thrown where the operation is written. */
export class ShapeError extends WeftError {
  constructor(operation: string, message: string) {
    super('ShapeError', `${operation}: ${message}`)
  }
}

export const sizeOf = (shape: Shape): number => shape.reduce((n, d) => n * d, 1)

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

export const show = (...shapes: Shape[]): string => shapes.map((s) => `[${s.join(', ')}]`).join(' and ')

/** The shape that `a` and `b` broadcast to, NumPy's rule: aligned at the right, a 1 stretches. */
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
