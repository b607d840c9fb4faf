/**
 * @file The gradient table: for each primitive, the cotangents of its inputs from those of its outputs. A primitive
 * that is absent has no gradient. Cotangents that nobody asks for are never lowered, so rules need not look at who
 * needs what.
 */
import { concat, scalar, where, zeros } from './create.js'
import type { ConvAttributes, Node, Primitive } from './primitives.js'
import { type Shape, swapsLast } from './shape.js'
import { apply, type Tensor } from './tensor.js'

type Cotangents = readonly (Tensor | undefined)[]
type Rule<P extends Primitive> = (g: Tensor, node: Node<P>, cotangents: Cotangents) => Cotangents

/** `g` summed over the axes along which `shape` was broadcast. */
export const unbroadcast = (g: Tensor, shape: Shape): Tensor => {
  const lead = g.rank - shape.length
  const axes = g.shape.flatMap((d, i) => (i < lead || (shape[i - lead] === 1 && d !== 1) ? [i] : []))
  return g.sum(axes, { keep: true }).reshape(shape)
}

const both =
  <P extends Primitive>(
    rule: (g: Tensor, a: Tensor, b: Tensor, y: Tensor) => readonly [Tensor, Tensor],
  ): Rule<P> =>
  (g, { inputs: [a, b], outputs: [y] }) => {
    const [da, db] = rule(g, a, b, y)
    return [unbroadcast(da, a.shape), unbroadcast(db, b.shape)]
  }

const mapped =
  <P extends Primitive>(rule: (g: Tensor, x: Tensor, y: Tensor) => Tensor): Rule<P> =>
  (g, { inputs: [x], outputs: [y] }) => [rule(g, x, y)]

/** Zeros put between the elements of `axis`, so that slicing by `step` gives `g` back. */
const spread = (g: Tensor, axis: number, step: number): Tensor => {
  const wide = g.unsqueeze(axis + 1)
  const after = wide.shape.map((_, i) => (i === axis + 1 ? step - 1 : 0))
  const filled = wide.pad(
    wide.shape.map(() => 0),
    after,
  )
  return filled.reshape(g.shape.map((d, i) => (i === axis ? d * step : d)))
}

const sliceRule: Rule<'slice'> = (g, { inputs: [x], attributes: { starts, steps } }) => {
  let out = g
  for (const [axis, step] of steps.entries()) {
    if (step > 1) out = spread(out, axis, step)
    const room = x.shape[axis] - starts[axis]
    if (out.shape[axis] > room) out = out.slice(axis, 0, room)
  }
  return [
    out.pad(
      starts,
      x.shape.map((d, i) => d - starts[i] - out.shape[i]),
    ),
  ]
}

/** Rows of `g` added at `ids` into zeros of `shape`: the transpose of gathering along `axis`. */
const gatherRule: Rule<'gather'> = (g, { inputs: [x, ids], attributes: { axis } }) => {
  const flat = [...x.shape.slice(0, axis), ids.size, ...x.shape.slice(axis + 1)]
  const at = ids.reshape(flat.map((_, i) => (i === axis ? ids.size : 1))).expand(flat)
  return [zeros(x.shape, x.dtype).scatter(at, g.reshape(flat), { axis, add: true })]
}

/** `g` with its axes in the order of `permutation`; of a product the factors change places, so that nothing is copied. */
const transposed = (g: Tensor, permutation: readonly number[]): Tensor => {
  const [a, b] = g.node.op === 'matmul' && swapsLast(permutation) ? g.node.inputs : []
  return a && b.rank === a.rank ? b.t().matmul(a.t()) : g.transpose(permutation)
}

const matmulRule: Rule<'matmul'> = (g, { inputs: [a, b] }) => {
  const da = unbroadcast(g.matmul(b.t()), a.shape)
  if (b.rank > 2) return [da, unbroadcast(a.t().matmul(g), b.shape)]
  const [k, m] = b.shape
  return [
    da,
    a
      .reshape([-1, k])
      .t()
      .matmul(g.reshape([-1, m])),
  ]
}

/**
 * The gradient of a convolution's weights: a convolution of the input with the cotangent, batch and channels exchanged.
 * x: [batch, groups * in, H, W], g: [batch, groups * out, h, w] -> [groups * out, in, kernel].
 */
const convWeights = (x: Tensor, g: Tensor, a: ConvAttributes, kernel: readonly number[]): Tensor => {
  const [batch, channels, ...size] = x.shape
  const perGroup = channels / a.groups
  const swapped = x
    .reshape([batch, a.groups, perGroup, ...size])
    .transpose([2, 1, 0, 3, 4])
    .reshape([perGroup, a.groups * batch, ...size])
  const dw = apply('conv', [swapped, g.transpose([1, 0, 2, 3])], {
    ...a,
    strides: a.dilations,
    dilations: a.strides,
  })[0]
  return dw.slice(2, 0, kernel[0]).slice(3, 0, kernel[1]).transpose([1, 0, 2, 3])
}

const convRule: Rule<'conv'> = (g, { inputs: [x, w], attributes: a }) => {
  const missing = (i: 0 | 1): number =>
    x.shape[i + 2] -
    ((g.shape[i + 2] - 1) * a.strides[i] -
      a.padding[i] -
      a.padding[i + 2] +
      a.dilations[i] * (w.shape[i + 2] - 1) +
      1)
  const dx = apply('convTranspose', [g, w], { ...a, outputPadding: [missing(0), missing(1)] })[0]
  return [dx, convWeights(x, g, a, w.shape.slice(2))]
}

const convTransposeRule: Rule<'convTranspose'> = (
  g,
  { inputs: [x, w], attributes: { outputPadding: _, ...a } },
) => [apply('conv', [g, w], a)[0], convWeights(g, x, a, w.shape.slice(2))]

const reduceMaxRule: Rule<'reduceMax'> = (g, { inputs: [x], outputs: [y], attributes: { axes } }) => {
  const hits = x.equal(y).cast(x.dtype)
  return [hits.mul(g.div(hits.sum(axes, { keep: true })))]
}

const powRule = (g: Tensor, a: Tensor, b: Tensor, y: Tensor): readonly [Tensor, Tensor] => [
  g.mul(b).mul(a.pow(b.sub(1))),
  g.mul(y).mul(where(a.greater(0), a.maximum(Number.MIN_VALUE).log(), 0)),
]

/** Cotangents of the inputs of each primitive. `g` is the cotangent of its first output. */
export const gradientRules: { readonly [P in Primitive]?: Rule<P> } = {
  neg: mapped((g) => g.neg()),
  abs: mapped((g, x) => g.mul(x.sign())),
  exp: mapped((g, _, y) => g.mul(y)),
  log: mapped((g, x) => g.div(x)),
  sqrt: mapped((g, _, y) => g.div(y.mul(2))),
  erf: mapped((g, x) => g.mul(x.square().neg().exp()).mul(2 / Math.sqrt(Math.PI))),
  sin: mapped((g, x) => g.mul(x.cos())),
  cos: mapped((g, x) => g.mul(x.sin()).neg()),
  tanh: mapped((g, _, y) => g.mul(scalar(1, y.dtype).sub(y.square()))),
  sigmoid: mapped((g, _, y) => g.mul(y).mul(scalar(1, y.dtype).sub(y))),
  softplus: mapped((g, x) => g.mul(x.sigmoid())),
  add: both((g) => [g, g]),
  sub: both((g) => [g, g.neg()]),
  mul: both((g, a, b) => [g.mul(b), g.mul(a)]),
  div: both((g, _, b, y) => [g.div(b), g.mul(y).div(b).neg()]),
  mod: both((g, a, b) => [g, g.mul(a.div(b).floor()).neg()]),
  pow: both(powRule),
  // At equality the second operand has it all, so relu(0) has gradient 0.
  max: both((g, a, b) => [where(b.less(a), g, 0), where(b.less(a), 0, g)]),
  min: both((g, a, b) => [where(a.less(b), g, 0), where(a.less(b), 0, g)]),
  where: (g, { inputs: [c, a, b] }) => [
    undefined,
    unbroadcast(where(c, g, 0), a.shape),
    unbroadcast(where(c, 0, g), b.shape),
  ],
  cast: (g, { inputs: [x] }) => [g.cast(x.dtype)],
  identity: (g, { attributes: { stop } }) => [stop ? undefined : g],
  barrier: (g) => [g],
  sum: (g, { inputs: [x] }) => [g.expand(x.shape)],
  reduceMax: reduceMaxRule,
  cumsum: (g, { attributes: { axis, reverse } }) => [g.cumsum(axis, { reverse: !reverse })],
  topK: (g, { inputs: [x], outputs: [, indices], attributes: { axis } }) => [
    zeros(x.shape, x.dtype).scatter(indices, g, { axis, add: true }),
  ],
  reshape: (g, { inputs: [x] }) => [g.reshape(x.shape)],
  transpose: (g, { attributes: { permutation } }) => [
    transposed(
      g,
      permutation.map((_, i) => permutation.indexOf(i)),
    ),
  ],
  expand: (g, { inputs: [x] }) => [unbroadcast(g, x.shape)],
  slice: sliceRule,
  flip: (g, { attributes: { axes } }) => [g.flip(axes)],
  pad: (g, { inputs: [x], attributes: { before } }) => [
    x.shape.reduce((y, d, i) => y.slice(i, before[i], before[i] + d), g),
  ],
  concat: (g, { inputs, attributes: { axis } }) =>
    g.split(
      inputs.map((x) => x.shape[axis]),
      axis,
    ),
  split: (_, { attributes: { axis }, outputs }, cotangents) => [
    concat(
      outputs.map((o, i) => cotangents[i] ?? zeros(o.shape, o.dtype)),
      axis,
    ),
  ],
  gather: gatherRule,
  gatherElements: (g, { inputs: [x, ids], attributes: { axis } }) => [
    zeros(x.shape, x.dtype).scatter(ids, g, { axis, add: true }),
  ],
  scatterElements: (g, { inputs: [, ids], attributes: { axis, add } }) => [
    add ? g : g.scatter(ids, zeros(ids.shape, g.dtype), { axis }),
    undefined,
    g.gatherElements(ids, axis),
  ],
  matmul: matmulRule,
  conv: convRule,
  convTranspose: convTransposeRule,
  host: (_, { attributes, inputs, outputs }, cotangents) =>
    attributes.gradient?.(cotangents, inputs, outputs) ?? [],
}
