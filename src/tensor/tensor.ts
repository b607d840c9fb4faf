/**
 * @file The symbolic tensor: an operation, its inputs, a static shape and a dtype. Nothing is computed here, and nothing
 * needs disposing: a graph is garbage-collected like any other object.
 */
import { full, scalar, where } from './create.js'
import type { DType } from './dtype.js'
import { infer } from './infer.js'
import type {
  Arithmetic,
  Attributes,
  Bitwise,
  Comparison,
  Logic,
  Primitive,
  Spec,
  Unary,
} from './primitives.js'
import { normalAxes, normalAxis, type Shape, ShapeError, show, sameShape, sizeOf } from './shape.js'

/** One application of a primitive. */
export interface Node<P extends Primitive = Primitive> {
  /** Later nodes have greater numbers, so sorting by them is a topological order. */
  readonly id: number
  readonly op: P
  readonly inputs: readonly Tensor[]
  readonly attributes: Attributes[P]
  readonly outputs: readonly Tensor[]
}

/** A tensor, or a number that takes the other operand's dtype. */
export type Operand = Tensor | number

export interface AxisOptions {
  /** Keep the reduced axes with length 1. Default false. */
  readonly keep?: boolean
}

type Axes = number | readonly number[]

let nextId = 0

/** The number that the next node will get: nodes made inside a trace have this or a greater one. */
export const nodeCount = (): number => nextId

/** Applies a primitive; throws ShapeError or DTypeError naming it when the inputs do not fit. */
export const apply = <P extends Primitive>(
  op: P,
  inputs: readonly Tensor[],
  attributes: Attributes[P],
): readonly Tensor[] => {
  const specs = (infer[op] as (i: readonly Tensor[], a: Attributes[P], name: P) => readonly Spec[])(
    inputs,
    attributes,
    op,
  )
  const outputs: Tensor[] = []
  const node = { id: nextId++, op, inputs, attributes, outputs } as unknown as Node
  for (const [i, { shape, dtype }] of specs.entries()) outputs.push(new Tensor(node, i, shape, dtype))
  return outputs
}

const none = {}

/** A symbolic, immutable tensor. Methods that take a number give it this tensor's dtype; axes may count from the end. */
export class Tensor {
  constructor(
    readonly node: Node,
    readonly index: number,
    readonly shape: Shape,
    readonly dtype: DType,
  ) {}

  get rank(): number {
    return this.shape.length
  }

  get size(): number {
    return sizeOf(this.shape)
  }

  private unary(op: Unary | 'not'): Tensor {
    return apply(op, [this], none)[0]
  }

  private binary(op: Arithmetic | Comparison | Logic | Bitwise, other: Operand): Tensor {
    return apply(op, [this, this.lift(other)], none)[0]
  }

  /** `other` as a tensor of this dtype. */
  lift(other: Operand): Tensor {
    return typeof other === 'number' ? scalar(other, this.dtype) : other
  }

  neg(): Tensor {
    return this.unary('neg')
  }
  abs(): Tensor {
    return this.unary('abs')
  }
  /** -1, 0 or 1. */
  sign(): Tensor {
    return this.unary('sign')
  }
  floor(): Tensor {
    return this.unary('floor')
  }
  ceil(): Tensor {
    return this.unary('ceil')
  }
  /** To the nearest integer, halves to even. */
  round(): Tensor {
    return this.unary('round')
  }
  exp(): Tensor {
    return this.unary('exp')
  }
  /** Natural logarithm. */
  log(): Tensor {
    return this.unary('log')
  }
  sqrt(): Tensor {
    return this.unary('sqrt')
  }
  /** The error function. */
  erf(): Tensor {
    return this.unary('erf')
  }
  sin(): Tensor {
    return this.unary('sin')
  }
  cos(): Tensor {
    return this.unary('cos')
  }
  tanh(): Tensor {
    return this.unary('tanh')
  }
  /** 1 / (1 + exp(-x)). */
  sigmoid(): Tensor {
    return this.unary('sigmoid')
  }
  /** log(1 + exp(x)), without overflow. */
  softplus(): Tensor {
    return this.unary('softplus')
  }
  not(): Tensor {
    return this.unary('not')
  }
  square(): Tensor {
    return this.mul(this)
  }
  reciprocal(): Tensor {
    return scalar(1, this.dtype).div(this)
  }

  add(other: Operand): Tensor {
    return this.binary('add', other)
  }
  sub(other: Operand): Tensor {
    return this.binary('sub', other)
  }
  mul(other: Operand): Tensor {
    return this.binary('mul', other)
  }
  /** Quotient; integers truncate toward zero. */
  div(other: Operand): Tensor {
    return this.binary('div', other)
  }
  /** Remainder with the sign of the divisor (as Python's %). */
  mod(other: Operand): Tensor {
    return this.binary('mod', other)
  }
  pow(other: Operand): Tensor {
    return other === 2 ? this.square() : this.binary('pow', other)
  }
  minimum(other: Operand): Tensor {
    return this.binary('min', other)
  }
  maximum(other: Operand): Tensor {
    return this.binary('max', other)
  }
  /** Clamped to [low, high]. */
  clip(low: number, high: number): Tensor {
    return this.maximum(low).minimum(high)
  }

  equal(other: Operand): Tensor {
    return this.binary('equal', other)
  }
  notEqual(other: Operand): Tensor {
    return this.equal(other).not()
  }
  less(other: Operand): Tensor {
    return this.binary('less', other)
  }
  lessEqual(other: Operand): Tensor {
    return this.binary('lessEqual', other)
  }
  greater(other: Operand): Tensor {
    return this.lift(other).less(this)
  }
  greaterEqual(other: Operand): Tensor {
    return this.lift(other).lessEqual(this)
  }
  and(other: Tensor): Tensor {
    return this.binary('and', other)
  }
  or(other: Tensor): Tensor {
    return this.binary('or', other)
  }
  xor(other: Tensor): Tensor {
    return this.binary('xor', other)
  }
  bitAnd(other: Operand): Tensor {
    return this.binary('bitAnd', other)
  }
  bitOr(other: Operand): Tensor {
    return this.binary('bitOr', other)
  }
  bitXor(other: Operand): Tensor {
    return this.binary('bitXor', other)
  }
  /** By `other` bits, zeros coming in. */
  shiftLeft(other: Operand): Tensor {
    return this.binary('shiftLeft', other)
  }
  /** By `other` bits, zeros coming in (a logical shift of the bit pattern). */
  shiftRight(other: Operand): Tensor {
    return this.binary('shiftRight', other)
  }

  /** Converted to another dtype; floats to integers truncate toward zero, anything to bool is `!= 0`. */
  cast(to: DType): Tensor {
    return to === this.dtype ? this : apply('cast', [this], { to })[0]
  }

  private reduce(op: 'sum' | 'reduceMax', axes: Axes | undefined, keep: boolean | undefined): Tensor {
    const reduced = normalAxes(op, axes, this.rank)
    const out = reduced.length ? apply(op, [this], { axes: reduced })[0] : this
    return keep ? out : out.reshape(this.shape.filter((_, i) => !reduced.includes(i)))
  }

  /** Sum over `axes` (default all). */
  sum(axes?: Axes, { keep }: AxisOptions = {}): Tensor {
    return this.reduce('sum', axes, keep)
  }
  /** Mean over `axes` (default all). */
  mean(axes?: Axes, options: AxisOptions = {}): Tensor {
    const count = normalAxes('mean', axes, this.rank).reduce((n, i) => n * this.shape[i], 1)
    return this.sum(axes, options).mul(1 / count)
  }
  /** Greatest element over `axes` (default all). */
  max(axes?: Axes, { keep }: AxisOptions = {}): Tensor {
    return this.reduce('reduceMax', axes, keep)
  }
  /** Least element over `axes` (default all). */
  min(axes?: Axes, options: AxisOptions = {}): Tensor {
    return this.neg().max(axes, options).neg()
  }
  /** Index (int32) of the first greatest element along `axis`. */
  argMax(axis = -1, { keep }: AxisOptions = {}): Tensor {
    const at = normalAxis('argMax', axis, this.rank)
    const out = apply('argMax', [this], { axis: at })[0]
    return keep ? out : out.reshape(this.shape.filter((_, i) => i !== at))
  }
  argMin(axis = -1, options: AxisOptions = {}): Tensor {
    return this.neg().argMax(axis, options)
  }
  /** Running sum along `axis`, from the end when `reverse`. */
  cumsum(axis = -1, { reverse = false }: { reverse?: boolean } = {}): Tensor {
    return apply('cumsum', [this], { axis: normalAxis('cumsum', axis, this.rank), reverse })[0]
  }
  /** The `k` greatest (or least) along `axis`, in order, and their indices (int32); equal ones by index. */
  topK(
    k: number,
    { axis = -1, largest = true }: { axis?: number; largest?: boolean } = {},
  ): { values: Tensor; indices: Tensor } {
    const [values, indices] = apply('topK', [this], { axis: normalAxis('topK', axis, this.rank), k, largest })
    return { values, indices }
  }
  /** Sorted along `axis`, ascending unless `descending`, with the indices (int32) they came from. */
  sort(
    axis = -1,
    { descending = false }: { descending?: boolean } = {},
  ): { values: Tensor; indices: Tensor } {
    return this.topK(this.shape[normalAxis('sort', axis, this.rank)], { axis, largest: descending })
  }

  /** The same elements in another shape; one axis may be -1. */
  reshape(shape: Shape): Tensor {
    const rest = shape.reduce((n, d) => (d === -1 ? n : n * d), 1)
    const full = shape.map((d) => (d === -1 ? this.size / (rest || 1) : d))
    if (!full.every((d) => Number.isInteger(d) && d >= 0))
      throw new ShapeError('reshape', `${show(this.shape, shape)} have different sizes`)
    return sameShape(full, this.shape) ? this : apply('reshape', [this], { shape: full })[0]
  }
  /** Axes in the order of `permutation` (default: reversed). */
  transpose(permutation: readonly number[] = this.shape.map((_, i) => this.rank - 1 - i)): Tensor {
    const at = permutation.map((a) => normalAxis('transpose', a, this.rank))
    return at.every((a, i) => a === i) && at.length === this.rank
      ? this
      : apply('transpose', [this], { permutation: at })[0]
  }
  /** The last two axes swapped. */
  t(): Tensor {
    if (this.rank < 2) throw new ShapeError('t', `${show(this.shape)} has fewer than two axes`)
    const order = this.shape.map((_, i) => i)
    return this.transpose([...order.slice(0, -2), this.rank - 1, this.rank - 2])
  }
  /** Broadcast to `shape`. */
  expand(shape: Shape): Tensor {
    return sameShape(shape, this.shape) ? this : apply('expand', [this], { shape })[0]
  }
  /** A new axis of length 1 at `axis`. */
  unsqueeze(axis: number): Tensor {
    const at = normalAxis('unsqueeze', axis, this.rank + 1)
    return this.reshape([...this.shape.slice(0, at), 1, ...this.shape.slice(at)])
  }
  /** Without the axis `axis` of length 1. */
  squeeze(axis: number): Tensor {
    const at = normalAxis('squeeze', axis, this.rank)
    if (this.shape[at] !== 1) throw new ShapeError('squeeze', `axis ${axis} of ${show(this.shape)} is not 1`)
    return this.reshape(this.shape.filter((_, i) => i !== at))
  }
  /** Elements `start` to `end` (excluded; may count from the end) of `axis`, every `step`th. */
  slice(axis: number, start: number, end?: number, step = 1): Tensor {
    const at = normalAxis('slice', axis, this.rank)
    const length = this.shape[at]
    const [from, to] = [
      start < 0 ? start + length : start,
      end === undefined ? length : end < 0 ? end + length : end,
    ]
    if (!(from >= 0 && to <= length && from <= to && step >= 1))
      throw new ShapeError(
        'slice',
        `[${start}, ${end}) by ${step} is outside axis ${axis} of ${show(this.shape)}`,
      )
    if (from === 0 && to === length && step === 1) return this
    const set = (all: number, one: number): number[] => this.shape.map((_, i) => (i === at ? one : all))
    const ends = this.shape.map((d, i) => (i === at ? to : d))
    return apply('slice', [this], { starts: set(0, from), ends, steps: set(1, step) })[0]
  }
  /** Row `index` of the first axis, that axis dropped. */
  at(index: number): Tensor {
    return this.slice(0, index, index === -1 ? undefined : index + 1).squeeze(0)
  }
  /** Split along `axis` into parts of the given sizes (or into `sizes` equal parts). */
  split(sizes: number | readonly number[], axis = -1): Tensor[] {
    const at = normalAxis('split', axis, this.rank)
    const parts = typeof sizes === 'number' ? new Array<number>(sizes).fill(this.shape[at] / sizes) : sizes
    if (parts.reduce((n, p) => n + p, 0) !== this.shape[at] || !parts.every(Number.isInteger))
      throw new ShapeError('split', `parts [${parts}] do not make axis ${axis} of ${show(this.shape)}`)
    return parts.length === 1 ? [this] : [...apply('split', [this], { axis: at, sizes: parts })]
  }
  /** Reversed along `axes`. */
  flip(axes: Axes): Tensor {
    return apply('flip', [this], { axes: normalAxes('flip', axes, this.rank) })[0]
  }
  /** Zeros (or `fill`) before and after each axis: `before[i]` and `after[i]` of axis i. */
  pad(before: readonly number[], after: readonly number[], fill = 0): Tensor {
    if (
      before.length !== this.rank ||
      after.length !== this.rank ||
      ![...before, ...after].every((n) => Number.isInteger(n) && n >= 0)
    )
      throw new ShapeError(
        'pad',
        `[${before}] and [${after}] do not fit ${show(this.shape)}: one non-negative number an axis`,
      )
    if ([...before, ...after].every((n) => n === 0)) return this
    const padded = apply('pad', [this], { before, after })[0]
    return fill === 0 ? padded : where(full(this.shape, true, 'bool').pad(before, after), padded, fill)
  }
  /** Repeated `times[i]` times along axis i. */
  tile(times: readonly number[]): Tensor {
    if (times.length !== this.rank)
      throw new ShapeError('tile', `[${times}] needs one number an axis of ${show(this.shape)}`)
    const spread = this.reshape(this.shape.flatMap((d) => [1, d]))
    return spread
      .expand(this.shape.flatMap((d, i) => [times[i], d]))
      .reshape(this.shape.map((d, i) => d * times[i]))
  }

  /** Slices `ids` (int, any shape) of `axis`: that axis is replaced by the shape of ids. Ids must lie within the axis. */
  gather(ids: Tensor, axis = 0): Tensor {
    return apply('gather', [this, ids], { axis: normalAxis('gather', axis, this.rank) })[0]
  }
  /** out[.., i, ..] = this[.., ids[.., i, ..], ..] along `axis`. ids: as this, `axis` free. */
  gatherElements(ids: Tensor, axis = -1): Tensor {
    return apply('gatherElements', [this, ids], { axis: normalAxis('gatherElements', axis, this.rank) })[0]
  }
  /** This, with updates set or added at `ids` along `axis`. ids and updates: one shape. */
  scatter(
    ids: Tensor,
    updates: Tensor,
    { axis = -1, add = false }: { axis?: number; add?: boolean } = {},
  ): Tensor {
    return apply('scatterElements', [this, ids, updates], {
      axis: normalAxis('scatter', axis, this.rank),
      add,
    })[0]
  }
  /** Batched matrix product. this: [..., n, k], other: [..., k, m] -> [..., n, m]. */
  matmul(other: Tensor): Tensor {
    return apply('matmul', [this, other], none)[0]
  }
}
