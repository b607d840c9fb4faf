/**
 * @file The primitive operations and what attributes each takes. Everything else in this folder is composed of them;
 * the tables of shapes (infer.ts), gradients, lowering, batching and the interpreter each hold one rule a primitive.
 */
import type { DType } from './dtype.js'
import type { Arithmetic, Bitwise, Comparison, Logic, Unary } from './operators.js'
import type { Source } from './source.js'
import type { Shape } from './shape.js'
import type { Tensor } from './tensor.js'
import type { Value } from './value.js'

/** Output `i` of a node. */
export interface Spec {
  readonly shape: Shape
  readonly dtype: DType
}

/** Of primitives without attributes. */
export type None = Record<never, never>
/** A convolution over the last two axes. x: [batch, in, height, width], w: [out, in / groups, kernel, kernel]. */
export interface ConvAttributes {
  readonly strides: readonly [number, number]
  /** Zeros added at [top, left, bottom, right]. */
  readonly padding: readonly [number, number, number, number]
  readonly dilations: readonly [number, number]
  readonly groups: number
}

/** A function's graph, closed over its parameters: a branch of `cond`. */
export interface Subgraph {
  readonly parameters: readonly Tensor[]
  readonly outputs: readonly Tensor[]
}

/**
 * Cotangents of the inputs from those of the outputs; undefined stands for zero. `wanted` says of which inputs, by their places,
 * anybody asks: a rule need look only where cotangents cost something although nobody reads them.
 */
export type CustomGradient = (
  cotangents: readonly (Tensor | undefined)[],
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
  wanted?: (place: number) => boolean,
) => readonly (Tensor | undefined)[]

/**
 * A value that is defined by `body` (an expression of the same inputs) and that a kernel of ONNX Runtime may compute in
 * one go. Where the device has no such kernel, and in the interpreter, the body is what runs.
 */
export interface FusedAttributes {
  readonly kernel: string
  /** The kernel's attributes: integers, texts, lists of integers, or floats, which say so. */
  readonly options: Readonly<Record<string, number | string | readonly number[] | { readonly float: number }>>
  readonly body: readonly Tensor[]
  /** By default the body is differentiated. It must use the tensors it is given, not ones it captured. */
  readonly gradient?: CustomGradient
  /** Whether it costs so little that gradients of what reads it make it again from its inputs. Default false: it is kept. */
  readonly again?: boolean
  /** The same operation on inputs that have one more leading axis; by default the body is mapped. */
  readonly batch?: (inputs: readonly Tensor[]) => readonly Tensor[]
}

export interface HostAttributes {
  readonly name: string
  readonly outputs: readonly Spec[]
  readonly run: (inputs: readonly Value[]) => readonly Value[] | Promise<readonly Value[]>
  readonly gradient?: CustomGradient
}

/** The attributes of every primitive. */
export type Attributes = {
  [P in Unary | Arithmetic | Comparison | Logic | Bitwise | 'not' | 'where' | 'matmul' | 'barrier']: None
} & {
  /** A value given at each run. */
  input: Spec & { readonly name: string }
  constant: { readonly value: Value }
  /** A value bound when the program is compiled: a range of a file, or an array kept in memory once. */
  bound: { readonly source: Source }
  /** Bytes drawn on the host for each run, by the run's seed and step: stream number `stream`. */
  random: { readonly shape: Shape; readonly stream: number }
  identity: { readonly stop: boolean }
  cast: { readonly to: DType }
  sum: { readonly axes: readonly number[] }
  reduceMax: { readonly axes: readonly number[] }
  argMax: { readonly axis: number }
  cumsum: { readonly axis: number; readonly reverse: boolean }
  topK: { readonly axis: number; readonly k: number; readonly largest: boolean }
  reshape: { readonly shape: Shape }
  transpose: { readonly permutation: readonly number[] }
  expand: { readonly shape: Shape }
  slice: {
    readonly starts: readonly number[]
    readonly ends: readonly number[]
    readonly steps: readonly number[]
  }
  flip: { readonly axes: readonly number[] }
  pad: { readonly before: readonly number[]; readonly after: readonly number[] }
  concat: { readonly axis: number }
  /** Consecutive parts of `sizes` along `axis`, one output each. */
  split: { readonly axis: number; readonly sizes: readonly number[] }
  gather: { readonly axis: number }
  gatherElements: { readonly axis: number }
  scatterElements: { readonly axis: number; readonly add: boolean }
  conv: ConvAttributes
  convTranspose: ConvAttributes & { readonly outputPadding: readonly [number, number] }
  fused: FusedAttributes
  cond: { readonly then: Subgraph; readonly otherwise: Subgraph }
  host: HostAttributes
}

export type Primitive = keyof Attributes

/** One application of a primitive. */
export interface Node<P extends Primitive = Primitive> {
  /** Later nodes have greater numbers, so sorting by them is a topological order. */
  readonly id: number
  readonly op: P
  readonly inputs: readonly Tensor[]
  readonly attributes: Attributes[P]
  readonly outputs: readonly Tensor[]
}
