/**
 * @file Draws for the table of operations: shapes, axes and numbers out of a list of choices. fast-check generates (and
 * shrinks) the list in Node; the device suite derives it from a seed, so that a browser draws the same cases.
 */
import { keyOf, Stream, uniform } from '../src/random/index.js'
import {
  type ComputeDType,
  type DType,
  isFloat,
  type Shape,
  sizeOf,
  type Value,
  valueOf,
} from '../src/tensor/index.js'

/** Elements above which ONNX Runtime's CPU kernels share their work between threads. */
const manyElements = 2 ** 20

export interface DrawOptions {
  /** The dtype that `values` and its like have. */
  readonly dtype: ComputeDType
  /** Make the first axis so long that the case has about a million elements. Default false. */
  readonly large?: boolean
  /** Two draws of the same choices and different salts have the same shapes and different numbers. */
  readonly salt?: number
}

/** Draws one case of an operation. Past the end of `choices` every draw is the least: short lists are small cases. */
export class Draw {
  readonly dtype: ComputeDType
  readonly large: boolean
  private readonly salt: number
  private next = 0
  private arrays = 0

  constructor(
    private readonly choices: readonly number[],
    { dtype, large = false, salt = 0 }: DrawOptions,
  ) {
    this.dtype = dtype
    this.large = large
    this.salt = salt
  }

  /** An integer from low to high, both included. */
  int(low: number, high: number): number {
    return low + ((this.choices[this.next++] ?? 0) % (high - low + 1))
  }

  bool(): boolean {
    return this.int(0, 1) === 1
  }

  pick<T>(items: readonly T[]): T {
    return items[this.int(0, items.length - 1)]
  }

  /** A length that may grow: 1 to 3, or enough rows of `width` elements for a large case. */
  rows(width = 1): number {
    const few = this.int(1, 3)
    return this.large ? Math.ceil(manyElements / width) : few
  }

  /** The length of an axis that work runs along: low to high, long in a large case. */
  width(low: number, high: number): number {
    const few = this.int(low, high)
    return this.large ? 32 : few
  }

  shape(minimum = 1, maximum = 3): number[] {
    const least = this.large ? Math.max(minimum, 2) : minimum
    const rest = Array.from({ length: this.int(least, maximum) - 1 }, () => this.width(1, 4))
    return [this.rows(sizeOf(rest)) + (this.large ? 0 : this.int(0, 1)), ...rest]
  }

  /** An axis of `shape`; not the long one of a large case, if there are others. */
  axis(shape: Shape): number {
    const any = this.int(0, shape.length - 1)
    return this.large ? shape.length - 1 : any
  }

  /** At least one axis. */
  axes(shape: Shape): number[] {
    const some = shape.flatMap((_, i) => (this.bool() ? [i] : []))
    return some.length ? some : [this.axis(shape)]
  }

  /** Two shapes that broadcast together; either may be the smaller. */
  broadcast(): [number[], number[]] {
    const whole = this.shape()
    const lead = this.int(0, whole.length - 1)
    const part = whole.slice(this.large ? 0 : lead).map((d) => (this.int(0, 2) === 2 && !this.large ? 1 : d))
    return this.bool() ? [part, whole] : [whole, part]
  }

  private seed(): string {
    return `${this.salt}/${this.arrays++}/${this.choices.slice(0, 4)}`
  }

  private numbers(shape: Shape): Float32Array {
    const out = new Float32Array(sizeOf(shape))
    uniform(out, keyOf(this.seed()))
    return out
  }

  /** Between low and high in this dtype; integers inclusive. */
  between(low: number, high: number, shape: Shape, dtype: DType = this.dtype): Value {
    // Widened, then mapped: from() with a function takes ten times as long, and large cases have a million elements.
    const unit = new Float64Array(this.numbers(shape))
    return valueOf(
      isFloat(dtype)
        ? unit.map((u) => low + (high - low) * u)
        : unit.map((u) => Math.floor(low + (high - low + 1) * u)),
      shape,
      dtype,
    )
  }

  /** The greatest number everywhere, the least everywhere, or either by chance: where sums of products are longest. */
  extremes([low, high]: readonly [number, number], shape: Shape, dtype: DType = this.dtype): Value {
    const kind = this.pick(['high', 'low', 'either'] as const)
    const pickOne = (u: number): number => (kind === 'high' || (kind === 'either' && u < 0.5) ? high : low)
    return valueOf(this.numbers(shape).map(pickOne), shape, dtype)
  }

  /** Numbers of either sign: floats between -2 and 2, integers between -5 and 5, any bools. */
  values(shape: Shape): Value {
    if (this.dtype === 'bool') return this.bools(shape)
    return isFloat(this.dtype) ? this.between(-2, 2, shape) : this.between(-5, 5, shape)
  }

  /** Floats between 0.5 and 2.5, integers between 1 and 5. */
  positive(shape: Shape): Value {
    return isFloat(this.dtype) ? this.between(0.5, 2.5, shape) : this.between(1, 5, shape)
  }

  /** Distinct floats a tenth apart, none near a multiple of one half: where kinks and ties are far. Integers as `values`. */
  apart(shape: Shape): Value {
    if (!isFloat(this.dtype)) return this.values(shape)
    const order = this.order(sizeOf(shape))
    return valueOf(
      order.map((k) => (k - order.length / 2) * 0.1 + (order.length % 2 ? 0.08 : 0.03)),
      shape,
      this.dtype,
    )
  }

  /** 0 to n - 1 in some order. */
  order(n: number): number[] {
    return Array.from(new Stream(this.seed()).permutation(n))
  }

  /** Indices below n, many of them equal. int32 or int64. */
  ids(shape: Shape, n: number): Value {
    return this.between(0, n - 1, shape, this.pick(['int32', 'int64'] as const))
  }

  bools(shape: Shape): Value {
    return this.between(0, 1, shape, 'bool')
  }
}
