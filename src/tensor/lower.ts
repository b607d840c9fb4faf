/** @file Lowers a graph to ONNX: one rule a primitive, each a node or a few. */
import { type Device, heldAs, isProcessor } from './device.js'
import { isFloat } from './dtype.js'
import {
  bytesOf,
  Emitter,
  isView,
  type Inputs,
  type Rule,
  type Rules,
  type Target,
  type Trait,
} from './emitter.js'
import { kernels } from './kernels.js'
import { type OnnxAttribute, type OnnxGraph, type OnnxTensor } from './onnx.js'
import type { Attributes, Node, Primitive, Subgraph } from './primitives.js'
import { sameShape, type Shape, ShapeError } from './shape.js'
import type { Tensor } from './tensor.js'
import type { FileSource, MemorySource, Source } from './source.js'
import { castValue, value } from './value.js'

/** What a lowered graph needs beside its bytes. */
export interface Lowered {
  readonly graph: OnnxGraph
  /** Names of the graph's inputs and the leaf tensors they stand for. */
  readonly inputs: ReadonlyMap<string, Tensor>
  readonly outputs: readonly string[]
  /** Arrays bound by reference, by the name that stands for their file. */
  readonly memory: ReadonlyMap<string, Source>
  /** Files that the session maps. */
  readonly files: ReadonlySet<FileSource>
  readonly opset: number
  readonly traits: ReadonlySet<Trait>
}

const simple =
  (type: string, attributes?: Record<string, OnnxAttribute>): Rule<Primitive> =>
  (e, inputs) =>
    e.op(type, inputs, attributes)

/** Comparison of small integers, which ONNX Runtime compares only once widened. */
const compare =
  (type: string): Rule<Primitive> =>
  (e, inputs, { inputs: [{ dtype }] }) =>
    e.op(type, dtype === 'uint8' || dtype === 'int8' ? inputs.map((i) => e.cast(i, 'int32')) : inputs)

const shift =
  (direction: 'LEFT' | 'RIGHT'): Rule<Primitive> =>
  (e, inputs, { inputs: [{ dtype }] }) => {
    if (dtype === 'uint8') return e.op('BitShift', inputs, { direction })
    return e.cast(
      e.op(
        'BitShift',
        inputs.map((i) => e.cast(i, 'uint32')),
        { direction },
      ),
      dtype,
    )
  }

/** Coefficients of sin r / r in r², highest first: exact to float32 for |r| <= π / 2. */
const sineSeries = [-1 / 39916800, 1 / 362880, -1 / 5040, 1 / 120, -1 / 6, 1]
const piHigh = 3.140625
const piLow = 9.67653589793e-4

/**
 * sin x, or cos x as sin(x + π / 2). WebGPU's own are off by 2e-4, so there x is reduced to r in [-π / 2, π / 2] and
 * the series summed.
 */
const sine =
  (type: 'Sin' | 'Cos'): Rule<'sin' | 'cos'> =>
  (e, [x]) => {
    if (e.device !== 'webgpu') return e.op(type, [x])
    const number = (n: number): string => e.constant(value(Float32Array.of(n), [], 'float32'))
    const [add, sub, mul] = ['Add', 'Sub', 'Mul'].map((op) => (a: string, b: string) => e.op(op, [a, b]))
    const shift = number(type === 'Cos' ? 0.5 : 0)
    const turns = e.op('Round', [add(mul(x, number(1 / Math.PI)), shift)])
    const k = sub(turns, shift)
    const r = sub(sub(x, mul(k, number(piHigh))), mul(k, number(piLow)))
    const square = mul(r, r)
    const series = sineSeries.map(number).reduce((sum, c) => add(mul(sum, square), c))
    const odd = sub(turns, mul(number(2), e.op('Floor', [mul(turns, number(0.5))])))
    return mul(mul(r, series), sub(number(1), mul(number(2), odd)))
  }

const overAxes =
  (type: string): Rule<'sum' | 'reduceMax'> =>
  (e, [x], { attributes: { axes } }) =>
    e.op(type, [x, e.ints(axes)], { keepdims: 1 })

const poolAttributes = (
  a: { strides: readonly number[]; padding: readonly number[]; dilations: readonly number[]; groups: number },
  kernel: Shape,
): Record<string, OnnxAttribute> => ({
  strides: a.strides,
  pads: a.padding,
  dilations: a.dilations,
  group: a.groups,
  kernel_shape: kernel,
})

const convolution =
  (type: 'Conv' | 'ConvTranspose'): Rule<'conv' | 'convTranspose'> =>
  (e, inputs, { attributes, inputs: [, w] }) => {
    e.traits.add('convolutions')
    const { outputPadding } = attributes as Partial<Attributes['convTranspose']>
    const more = outputPadding && { output_padding: outputPadding }
    return e.op(type, inputs, { ...poolAttributes(attributes, w.shape.slice(2)), ...more })
  }

/** int4 arrives as packed bytes: two nibbles a byte, low first, sign-extended to int32. */
const unpackInt4 = (e: Emitter, packed: string, t: Tensor): string => {
  const wide = e.cast(packed, 'int32')
  const sixteen = e.constant(value(Int32Array.of(16), [], 'int32'))
  const low = e.op('Mod', [wide, sixteen])
  const pair = e.op(
    'Concat',
    [e.op('Unsqueeze', [low, e.ints([1])]), e.op('Unsqueeze', [e.op('Div', [wide, sixteen]), e.ints([1])])],
    { axis: 1 },
  )
  const nibbles = e.op('Slice', [e.op('Reshape', [pair, e.ints([-1])]), e.ints([0]), e.ints([t.size])])
  const negative = e.op('Greater', [nibbles, e.constant(value(Int32Array.of(7), [], 'int32'))])
  const signed = e.op('Where', [negative, e.op('Sub', [nibbles, sixteen]), nibbles])
  return e.op('Reshape', [signed, e.ints(t.shape)])
}

const cast: Rule<'cast'> = (e, [x], { inputs: [t], attributes: { to } }) => {
  if (t.node.op === 'bound') e.traits.add('widened weights')
  return e.cast(t.dtype === 'int4' ? unpackInt4(e, x, t) : x, to)
}

const whereRule: Rule<'where'> = (e, [c, a, b], { outputs: [{ dtype }] }) =>
  dtype === 'bool'
    ? e.cast(e.op('Where', [c, e.cast(a, 'uint8'), e.cast(b, 'uint8')]), 'bool')
    : e.op('Where', [c, a, b])

/**
 * The value again, but only once `until` is known; the optimiser has no rule that sees through it. On the host a reshape
 * whose shape comes late copies nothing; on a GPU a shape is not to be waited for.
 */
const barrier: Rule<'barrier'> = (e, [x, until], { inputs: [t, u] }) => {
  e.traits.add('recomputation')
  const first = e.op('Slice', [e.op('Reshape', [until, e.ints([-1])]), e.ints([0]), e.ints([1])])
  const zero = e.constant(
    value(u.dtype === 'float64' ? Float64Array.of(0) : Float32Array.of(0), [1], u.dtype),
  )
  const known = e.op('Greater', [first, zero])
  if (!isProcessor(e.device) || t.rank === 0) return e.op('Where', [known, x, x])
  const shape = e.ints(t.shape)
  return e.describe(e.op('Reshape', [x, e.op('Where', [known, shape, shape])], { allowzero: 1 }), t)
}

const branchGraph = (e: Emitter, { parameters, outputs }: Subgraph, operands: Inputs): OnnxAttribute => {
  const inner = new Emitter(e.device, rules, new Set(), e)
  parameters.forEach((p, i) => inner.set(p, operands[i]))
  inner.emit(outputs)
  return { graph: inner.graph(outputs, inner.finish(outputs)) }
}

const cond: Rule<'cond'> = (
  e,
  [predicate, ...operands],
  { attributes: { then, otherwise }, outputs, inputs: [p] },
) =>
  e.add('If', [p.rank ? e.op('Reshape', [predicate, e.ints([])]) : predicate], {
    attributes: {
      then_branch: branchGraph(e, then, operands),
      else_branch: branchGraph(e, otherwise, operands),
    },
    outputs: outputs.length,
  })

const fused: Rule<'fused'> = (e, inputs, node) => {
  if (!e.hasKernel(node)) return inputs
  const { kernel, options: attributes } = node.attributes
  const { domain, signed, packs } = kernels[kernel]
  if (packs) e.traits.add('packed kernels')
  const given = signed
    ? e.exactProducts(
        inputs,
        node.inputs.map(({ dtype }) => dtype),
      )
    : inputs
  return e.add(kernel, given, {
    domain,
    attributes,
    outputs: node.outputs.length,
  })
}

const floatOrInt =
  (float: Rule<Primitive>, int: Rule<Primitive>): Rule<Primitive> =>
  (e, i, n) =>
    isFloat(n.inputs[0].dtype) ? float(e, i, n) : int(e, i, n)

const matmul: Rule<'matmul'> = (e, inputs, node) => {
  const operands = e.operands(node)
  const [transA, transB] = operands.map(({ swapped }) => Number(swapped))
  const factor = operands.reduce((product, operand) => product * operand.factor, 1)
  if (!transA && !transB && factor === 1) return e.op('MatMul', inputs)
  const attributes = { transA, transB, ...(factor === 1 ? {} : { alpha: { float: factor } }) }
  return e.add('FusedMatMul', inputs, { domain: 'com.microsoft', attributes })[0]
}

/** An index behind the end of any axis. */
const farEnd = 2 ** 31 - 1

/** Numbers in another shape: one node however many views lie behind one another, and none where the shape is the same. */
const view: Rule<'reshape' | 'transpose'> = (e, [x], { inputs: [t], outputs: [{ shape }] }) =>
  sameShape(e.viewed(t).shape, shape) ? x : e.op('Reshape', [x, e.ints(shape)], { allowzero: 1 })

/** One rule a primitive: the ONNX nodes that compute it. */
const rules: Rules = {
  input: (e, _, { outputs: [t] }) => e.input(t),
  random: (e, _, { outputs: [t] }) => e.input(t),
  constant: (e, _, { attributes: { value: v } }) => e.constant(v),
  bound: (e, _, { attributes: { source } }) => e.bound(source),
  identity: (_, [x]) => x,
  barrier,
  cast,
  neg: simple('Neg'),
  abs: simple('Abs'),
  sign: simple('Sign'),
  floor: simple('Floor'),
  ceil: simple('Ceil'),
  round: simple('Round'),
  exp: simple('Exp'),
  log: simple('Log'),
  sqrt: simple('Sqrt'),
  erf: simple('Erf'),
  sin: sine('Sin'),
  cos: sine('Cos'),
  tanh: simple('Tanh'),
  sigmoid: simple('Sigmoid'),
  softplus: simple('Softplus'),
  not: simple('Not'),
  add: simple('Add'),
  sub: simple('Sub'),
  mul: simple('Mul'),
  div: simple('Div'),
  mod: floatOrInt(
    (e, [a, b]) => e.op('Sub', [a, e.op('Mul', [b, e.op('Floor', [e.op('Div', [a, b])])])]),
    simple('Mod'),
  ),
  pow: simple('Pow'),
  min: simple('Min'),
  max: simple('Max'),
  equal: simple('Equal'),
  less: compare('Less'),
  lessEqual: compare('LessOrEqual'),
  and: simple('And'),
  or: simple('Or'),
  xor: simple('Xor'),
  bitAnd: simple('BitwiseAnd'),
  bitOr: simple('BitwiseOr'),
  bitXor: simple('BitwiseXor'),
  shiftLeft: shift('LEFT'),
  shiftRight: shift('RIGHT'),
  where: whereRule,
  sum: overAxes('ReduceSum'),
  reduceMax: overAxes('ReduceMax'),
  argMax: (e, [x], { attributes: { axis } }) => e.cast(e.op('ArgMax', [x], { axis, keepdims: 1 }), 'int32'),
  cumsum: (e, [x], { attributes: { axis, reverse } }) =>
    e.op('CumSum', [x, e.constant(value(BigInt64Array.of(BigInt(axis)), [], 'int64'))], {
      reverse: Number(reverse),
    }),
  topK: (e, [x], { attributes: { axis, k, largest } }) => {
    const [values, indices] = e.add('TopK', [x, e.ints([k])], {
      attributes: { axis, largest: Number(largest), sorted: 1 },
      outputs: 2,
    })
    return [values, e.cast(indices, 'int32')]
  },
  reshape: (e, inputs, node) => view(e, inputs, node),
  transpose: (e, inputs, node) => {
    if (isView(node as Node)) return view(e, inputs, node)
    const [x] = inputs
    const { permutation } = e.permuted(node)
    return permutation.every((axis, i) => axis === i) ? x : e.op('Transpose', [x], { perm: permutation })
  },
  expand: (e, [x], { attributes: { shape } }) => e.op('Expand', [x, e.ints(shape)]),
  slice: (e, [x], { attributes: { starts, ends, steps }, inputs: [{ shape }] }) => {
    // Counted from the nearer end, so that the same part of a longer axis is said by the same numbers.
    const behind = (at: number, axis: number): number => (at === shape[axis] ? farEnd : at - shape[axis])
    const first = starts.map((at, i) => (at > 0 && ends[i] === shape[i] ? behind(at, i) : at))
    const last = ends.map((at, i) => (starts[i] === 0 || at === shape[i] ? behind(at, i) : at))
    return e.op('Slice', [x, e.ints(first), e.ints(last), e.ints(starts.map((_, i) => i)), e.ints(steps)])
  },
  flip: (e, [x], { attributes: { axes } }) =>
    e.op('Slice', [
      x,
      e.ints(axes.map(() => -1)),
      e.ints(axes.map(() => -(2 ** 31))),
      e.ints(axes),
      e.ints(axes.map(() => -1)),
    ]),
  pad: (e, [x], { attributes: { before, after } }) => e.op('Pad', [x, e.ints([...before, ...after])]),
  concat: (e, inputs, { attributes: { axis } }) => e.op('Concat', inputs, { axis }),
  split: (e, [x], { attributes: { axis, sizes } }) =>
    e.add('Split', [x, e.ints(sizes)], { attributes: { axis }, outputs: sizes.length }),
  gather: (e, inputs, { attributes: { axis } }) => e.op('Gather', inputs, { axis }),
  gatherElements: (e, inputs, { attributes: { axis } }) => e.op('GatherElements', inputs, { axis }),
  scatterElements: (e, inputs, { attributes: { axis, add } }) =>
    e.op('ScatterElements', inputs, { axis, reduction: add ? 'add' : 'none' }),
  matmul,
  conv: convolution('Conv'),
  convTranspose: convolution('ConvTranspose'),
  fused,
  cond,
  host: () => {
    throw new ShapeError('hostOperation', 'it cannot stand inside a branch of cond')
  },
}

/** The graph of `outputs`, in which the tensors of `given` are inputs like any leaf. */
export const lower = (
  outputs: readonly Tensor[],
  given: ReadonlySet<Tensor>,
  device: Device,
  target: Target,
): Lowered => {
  const e = new Emitter(device, rules, given, target)
  e.emit(outputs)
  const names = e.finish(outputs)
  const graph = e.graph(outputs, names)
  const found = { inputs: e.inputs, outputs: names, opset: e.opset, traits: e.traits, files: e.files }
  const isHeld = ({ external }: OnnxTensor): boolean =>
    external !== undefined && e.memory.has(external.location)
  const maps = graph.initializers.some((t) => t.external !== undefined && !isHeld(t))
  if (!maps || e.memory.size === 0) return { ...found, graph, memory: e.memory }
  const initializers = graph.initializers.map((t) => (isHeld(t) ? inlined(t, e.memory, device) : t))
  return { ...found, graph: { ...graph, initializers }, memory: new Map() }
}

/** A session cannot map files and be given arrays at once: beside mapped files an array is part of the model itself. */
const inlined = (
  { external, ...tensor }: OnnxTensor,
  memory: ReadonlyMap<string, Source>,
  device: Device,
): OnnxTensor => {
  const { value: held } = memory.get(external!.location) as MemorySource
  return { ...tensor, bytes: bytesOf(castValue(held, heldAs(held.dtype, device))) }
}
