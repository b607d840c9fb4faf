/**
 * @file The symbolic tensor: an operation, its inputs, a static shape and a dtype. Nothing is computed here, and
 * nothing needs disposing: a graph is garbage-collected like any other object.
 */
import { full, scalar, where } from './create.js'
import type { DType } from './dtype.js'
import { Elementwise } from './elementwise.js'
import { infer } from './infer.js'
import type { Arithmetic, Bitwise, Comparison, Logic, Unary } from './operators.js'
import type { Attributes, Node, Primitive, Spec } from './primitives.js'
import {
  normalAxes,
  normalAxis,
  partSizes,
  requirePadding,
  resolvedShape,
  sameShape,
  type Shape,
  ShapeError,
  show,
  sizeOf,
  sliceRange,
} from './shape.js'

/** A tensor [...], or a number that takes the other operand's dtype. */
export type Operand = Tensor | number

/** Options of reductions. */
export interface AxisOptions {
  /** Whether reduced axes stay, with length 1. Default false. */
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

/**
 * A symbolic, immutable tensor. Methods that take a number give it this tensor's dtype; axes may count from the end.
 */
export class Tensor extends Elementwise<Tensor> {
  constructor(
    readonly node: Node,
    readonly index: number,
    readonly shape: Shape,
    readonly dtype: DType,
  ) {
    super()
  }

  /** Number of axes. */
  get rank(): number {
    return this.shape.length
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape)
  }

  protected unary(op: Unary | 'not'): Tensor {
    return apply(op, [this], none)[0]
  }

  protected binary(op: Arithmetic | Comparison | Logic | Bitwise, other: Operand): Tensor {
    return apply(op, [this, this.lift(other)], none)[0]
  }

  /** `other` as a tensor: [...] as it is, a number as a scalar of this dtype. */
  lift(other: Operand): Tensor {
    return typeof other === 'number' ? scalar(other, this.dtype) : other
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

  /** Sum over `axes` (default all). Throws ShapeError for an axis that is not there. */
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
  /**
   * Index (int32) of the first greatest element along `axis`. Throws ShapeError for an axis that is not
   * there.
   */
  argMax(axis = -1, { keep }: AxisOptions = {}): Tensor {
    const at = normalAxis('argMax', axis, this.rank)
    const out = apply('argMax', [this], { axis: at })[0]
    return keep ? out : out.reshape(this.shape.filter((_, i) => i !== at))
  }
  /** Index (int32) of the first least element along `axis`. Throws ShapeError for an axis that is not there. */
  argMin(axis = -1, options: AxisOptions = {}): Tensor {
    return this.neg().argMax(axis, options)
  }
  /** Running sum along `axis`, from the end when `reverse`. Throws ShapeError for an axis that is not there. */
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

  /** Same elements in another shape; one axis may be -1. Throws ShapeError where the sizes differ. */
  reshape(shape: Shape): Tensor {
    const full = resolvedShape(this.shape, shape)
    return sameShape(full, this.shape) ? this : apply('reshape', [this], { shape: full })[0]
  }
  /**
   * Axes in the order of `permutation`: [rank] distinct axes, default reversed. Throws ShapeError for any
   * other list.
   */
  transpose(permutation: readonly number[] = this.shape.map((_, i) => this.rank - 1 - i)): Tensor {
    const at = permutation.map((a) => normalAxis('transpose', a, this.rank))
    const same = (order: readonly number[]): boolean =>
      order.length === this.rank && order.every((a, i) => a === i)
    if (same(at)) return this
    const { node } = this
    const before = node.op === 'transpose' ? (node as Node<'transpose'>).attributes.permutation : []
    // Back again is none at all: (Wᵀ)ᵀ in a gradient is W, and no copy of it.
    if (same(at.map((a) => before[a]))) return node.inputs[0]
    return apply('transpose', [this], { permutation: at })[0]
  }
  /** Last two axes swapped. Throws ShapeError for fewer than two. */
  t(): Tensor {
    if (this.rank < 2) throw new ShapeError('t', `${show(this.shape)} has fewer than two axes`)
    const order = this.shape.map((_, i) => i)
    return this.transpose([...order.slice(0, -2), this.rank - 1, this.rank - 2])
  }
  /** Elements repeated to `shape`, by broadcasting. Throws ShapeError where it does not fit. */
  expand(shape: Shape): Tensor {
    return sameShape(shape, this.shape) ? this : apply('expand', [this], { shape })[0]
  }
  /** Same elements with a new axis of length 1 at `axis`. Throws ShapeError for an axis beyond the rank. */
  unsqueeze(axis: number): Tensor {
    const at = normalAxis('unsqueeze', axis, this.rank + 1)
    return this.reshape([...this.shape.slice(0, at), 1, ...this.shape.slice(at)])
  }
  /** Same elements without the axis `axis` of length 1. Throws ShapeError where it is longer. */
  squeeze(axis: number): Tensor {
    const at = normalAxis('squeeze', axis, this.rank)
    if (this.shape[at] !== 1) throw new ShapeError('squeeze', `axis ${axis} of ${show(this.shape)} is not 1`)
    return this.reshape(this.shape.filter((_, i) => i !== at))
  }
  /**
   * Elements `start` to `end` (excluded; either may count from the end) of `axis`, every `step`th. Throws
   * ShapeError where they leave the axis.
   */
  slice(axis: number, start: number, end?: number, step = 1): Tensor {
    const at = normalAxis('slice', axis, this.rank)
    const { from, to } = sliceRange(this.shape, at, start, end, step)
    if (from === 0 && to === this.shape[at] && step === 1) return this
    const set = (all: number, one: number): number[] => this.shape.map((_, i) => (i === at ? one : all))
    const ends = this.shape.map((d, i) => (i === at ? to : d))
    return apply('slice', [this], { starts: set(0, from), ends, steps: set(1, step) })[0]
  }
  /** Row `index` of the first axis, that axis dropped. Throws ShapeError for a row that is not there. */
  at(index: number): Tensor {
    return this.slice(0, index, index === -1 ? undefined : index + 1).squeeze(0)
  }
  /**
   * Parts of the given sizes along `axis`: `sizes`: [parts], or the number of equal parts. Throws ShapeError
   * where they do not add up.
   */
  split(sizes: number | readonly number[], axis = -1): Tensor[] {
    const at = normalAxis('split', axis, this.rank)
    const parts = partSizes(this.shape, at, sizes)
    return parts.length === 1 ? [this] : [...apply('split', [this], { axis: at, sizes: parts })]
  }
  /** Elements in reversed order along `axes`. Throws ShapeError for an axis that is not there. */
  flip(axes: Axes): Tensor {
    return apply('flip', [this], { axes: normalAxes('flip', axes, this.rank) })[0]
  }
  /**
   * Elements with zeros (or `fill`) before and after each axis: `before[i]` and `after[i]` of axis i. Throws
   * ShapeError unless there is one natural number an axis.
   */
  pad(before: readonly number[], after: readonly number[], fill = 0): Tensor {
    requirePadding(this.shape, before, after)
    if ([...before, ...after].every((n) => n === 0)) return this
    const padded = apply('pad', [this], { before, after })[0]
    return fill === 0 ? padded : where(full(this.shape, true, 'bool').pad(before, after), padded, fill)
  }
  /** Elements repeated `times[i]` times along axis i. Throws ShapeError unless there is one number an axis. */
  tile(times: readonly number[]): Tensor {
    if (times.length !== this.rank)
      throw new ShapeError('tile', `[${times}] needs one number an axis of ${show(this.shape)}`)
    const spread = this.reshape(this.shape.flatMap((d) => [1, d]))
    return spread
      .expand(this.shape.flatMap((d, i) => [times[i], d]))
      .reshape(this.shape.map((d, i) => d * times[i]))
  }

  /**
   * Slices `ids` (int, any shape) of `axis`: that axis is replaced by the shape of ids. Ids must lie within the axis.
   */
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
