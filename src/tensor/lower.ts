/** @file Lowers a graph to ONNX: one rule a primitive, each a node or a few. */
import { reachable } from './control.js'
import type { Device } from './device.js'
import { byteLength, type DType, isFloat } from './dtype.js'
import { kernels } from './kernels.js'
import {
  encodeGraph,
  type OnnxAttribute,
  type OnnxGraph,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValueInfo,
  onnxType,
} from './onnx.js'
import type { FusedAttributes, Primitive, Subgraph } from './primitives.js'
import { type Shape, ShapeError } from './shape.js'
import type { MemorySource, Source } from './source.js'
import type { Node, Tensor } from './tensor.js'
import { value, type Value } from './value.js'

type Inputs = readonly string[]
type Rule<P extends Primitive> = (e: Emitter, inputs: Inputs, node: Node<P>) => string | readonly string[]
type Extra = {
  readonly domain?: string
  readonly attributes?: Record<string, OnnxAttribute>
  readonly outputs?: number
}

/** What a lowered graph needs beside its bytes. */
export interface Lowered {
  readonly graph: OnnxGraph
  /** Names of the graph's inputs and the leaf tensors they stand for. */
  readonly inputs: ReadonlyMap<string, Tensor>
  readonly outputs: readonly string[]
  /** Arrays bound by reference, by the name that stands for their file. */
  readonly memory: ReadonlyMap<string, Value>
  readonly opset: number
}

/** How each array in memory is named in every program, so that equal programs have equal bytes. */
const memoryNames = new WeakMap<MemorySource, string>()
let memoryCount = 0
const memoryName = (source: MemorySource): string => {
  const known = memoryNames.get(source)
  if (known) return known
  const name = `weft-memory-${memoryCount++}`
  memoryNames.set(source, name)
  return name
}

const bytesOf = (v: Value): Uint8Array => new Uint8Array(v.data.buffer, v.data.byteOffset, v.data.byteLength)

class Emitter {
  readonly nodes: OnnxNode[] = []
  readonly initializers: OnnxTensor[] = []
  readonly inputs = new Map<string, Tensor>()
  readonly inputInfo: OnnxValueInfo[] = []
  readonly memory: Map<string, Value>
  private readonly names = new Map<Tensor, string>()
  private readonly constants = new Map<string, string>()
  private readonly counter: { next: number; opset: number }

  constructor(
    readonly device: Device,
    private readonly given: ReadonlySet<Tensor>,
    parent?: Emitter,
  ) {
    this.counter = parent?.counter ?? { next: 0, opset: 21 }
    this.memory = parent?.memory ?? new Map()
  }

  get opset(): number {
    return this.counter.opset
  }

  fresh(): string {
    return `t${this.counter.next++}`
  }

  /** Appends a node and names its outputs. */
  add(type: string, inputs: Inputs, { domain, attributes, outputs = 1 }: Extra = {}): readonly string[] {
    const names = Array.from({ length: outputs }, () => this.fresh())
    this.nodes.push({ type, domain, inputs, outputs: names, attributes })
    return names
  }

  op(type: string, inputs: Inputs, attributes?: Record<string, OnnxAttribute>): string {
    return this.add(type, inputs, { attributes })[0]
  }

  /** A constant; small equal ones are one. */
  constant(v: Value, type = onnxType[v.dtype]): string {
    const bytes = bytesOf(v)
    const key = bytes.length <= 256 ? `${type}:${v.shape}:${bytes.join()}` : undefined
    const known = key && this.constants.get(key)
    if (known) return known
    const name = this.fresh()
    this.initializers.push({ name, type, shape: v.shape, bytes })
    if (key) this.constants.set(key, name)
    return name
  }

  ints(numbers: readonly number[]): string {
    return this.constant(value(BigInt64Array.from(numbers, BigInt), [numbers.length], 'int64'))
  }

  cast(x: string, to: DType | 'uint32'): string {
    return this.op('Cast', [x], { to: onnxType[to] })
  }

  /** The name of `t`, which becomes an input of the graph here if it is given. */
  name(t: Tensor): string {
    const name = this.names.get(t) ?? (this.given.has(t) ? this.input(t) : undefined)
    if (name === undefined)
      throw new ShapeError('compile', `a tensor of another trace is used here (${t.node.op})`)
    this.names.set(t, name)
    return name
  }

  set(t: Tensor, name: string): void {
    this.names.set(t, name)
  }

  private has(t: Tensor): boolean {
    return this.names.has(t) || this.given.has(t)
  }

  /** An input of the graph. float16 and bfloat16 come as their bits, int4 as packed bytes. */
  input(t: Tensor): string {
    const name = this.fresh()
    this.inputs.set(name, t)
    const packed = t.dtype === 'int4' ? [byteLength('int4', t.size)] : t.shape
    const asBits = t.dtype === 'bfloat16'
    this.inputInfo.push({ name, type: asBits ? onnxType.uint16 : onnxType[t.dtype], shape: packed })
    if (!asBits) return name
    this.counter.opset = 26
    return this.op('BitCast', [name], { to: onnxType.bfloat16 })
  }

  bound(source: Source): string {
    const name = this.fresh()
    const shape =
      source.dtype === 'int4'
        ? [
            byteLength(
              'int4',
              source.shape.reduce((n, d) => n * d, 1),
            ),
          ]
        : source.shape
    const file = source.kind === 'file'
    const location = file ? source.path.replace(/^([A-Za-z]:)?[\\/]+/, '') : memoryName(source)
    if (!file) this.memory.set(location, source.value)
    const external = {
      location,
      offset: file ? source.offset : 0,
      length: file ? source.length : source.value.data.byteLength,
    }
    this.initializers.push({ name, type: onnxType[source.dtype], shape, external })
    return name
  }

  /** Emits everything that `outputs` need and that is not named yet. */
  emit(outputs: readonly Tensor[]): void {
    const from = (n: Node): readonly Tensor[] => this.sources(n).filter((t) => !this.has(t))
    for (const node of reachable(
      outputs.filter((t) => !this.has(t)),
      from,
    )) {
      const rule = rules[node.op] as Rule<Primitive>
      const names = [
        rule(
          this,
          this.sources(node).map((t) => this.name(t)),
          node,
        ),
      ].flat()
      node.outputs.forEach((t, i) => this.set(t, names[i]))
    }
  }

  /** What a node is computed from on this device: a fused value's inputs where there is a kernel, else its body. */
  sources(node: Node): readonly Tensor[] {
    return node.op === 'fused' && !this.hasKernel(node as Node<'fused'>)
      ? (node.attributes as FusedAttributes).body
      : node.inputs
  }

  hasKernel({ inputs, attributes }: Node<'fused'>): boolean {
    const kernel = kernels[attributes.kernel]
    return (
      kernel !== undefined &&
      kernel.devices.includes(this.device) &&
      (kernel.dtypes ?? ['float32']).includes(inputs[0].dtype)
    )
  }

  /** Names for the graph's outputs: distinct, and none of them an input or a constant. */
  finish(outputs: readonly Tensor[]): string[] {
    const used = new Set([...this.inputs.keys(), ...this.initializers.map((t) => t.name)])
    return outputs.map((t) => {
      const own = this.name(t)
      const name =
        used.has(own) || !this.nodes.some((n) => n.outputs.includes(own)) ? this.op('Identity', [own]) : own
      used.add(name)
      return name
    })
  }

  graph(outputs: readonly Tensor[], names: readonly string[]): OnnxGraph {
    const info = outputs.map((t, i) => ({ name: names[i], type: onnxType[t.dtype], shape: t.shape }))
    return {
      name: 'g',
      nodes: this.nodes,
      inputs: this.inputInfo,
      outputs: info,
      initializers: this.initializers,
    }
  }
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

const cast: Rule<'cast'> = (e, [x], { inputs: [t], attributes: { to } }) =>
  e.cast(t.dtype === 'int4' ? unpackInt4(e, x, t) : x, to)

const whereRule: Rule<'where'> = (e, [c, a, b], { outputs: [{ dtype }] }) =>
  dtype === 'bool'
    ? e.cast(e.op('Where', [c, e.cast(a, 'uint8'), e.cast(b, 'uint8')]), 'bool')
    : e.op('Where', [c, a, b])

/** The value again, but only once `until` is known; the optimiser has no rule that sees through it. */
const barrier: Rule<'barrier'> = (e, [x, until], { inputs: [, u] }) => {
  const first = e.op('Slice', [e.op('Reshape', [until, e.ints([-1])]), e.ints([0]), e.ints([1])])
  const zero = e.constant(
    value(u.dtype === 'float64' ? Float64Array.of(0) : Float32Array.of(0), [1], u.dtype),
  )
  return e.op('Where', [e.op('Greater', [first, zero]), x, x])
}

const branchGraph = (e: Emitter, { parameters, outputs }: Subgraph, operands: Inputs): OnnxAttribute => {
  const inner = new Emitter(e.device, new Set(), e)
  parameters.forEach((p, i) => inner.set(p, operands[i]))
  inner.emit(outputs)
  return { graph: encodeGraph(inner.graph(outputs, inner.finish(outputs))) }
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
  const { kernel, options } = node.attributes
  const attributes = Object.fromEntries(
    Object.entries(options).map(([k, v]) => [
      k,
      typeof v === 'number' && !Number.isInteger(v)
        ? { float: v }
        : k === 'epsilon'
          ? { float: v as number }
          : v,
    ]),
  )
  return e.add(kernel, inputs, {
    domain: kernels[kernel].domain || undefined,
    attributes,
    outputs: node.outputs.length,
  })
}

const floatOrInt =
  (float: Rule<Primitive>, int: Rule<Primitive>): Rule<Primitive> =>
  (e, i, n) =>
    isFloat(n.inputs[0].dtype) ? float(e, i, n) : int(e, i, n)

/** One rule a primitive: the ONNX nodes that compute it. */
const rules: { readonly [P in Primitive]: Rule<P> } = {
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
  sin: simple('Sin'),
  cos: simple('Cos'),
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
  reshape: (e, [x], { attributes: { shape } }) => e.op('Reshape', [x, e.ints(shape)], { allowzero: 1 }),
  transpose: (e, [x], { attributes: { permutation } }) => e.op('Transpose', [x], { perm: permutation }),
  expand: (e, [x], { attributes: { shape } }) => e.op('Expand', [x, e.ints(shape)]),
  slice: (e, [x], { attributes: { starts, ends, steps } }) =>
    e.op('Slice', [x, e.ints(starts), e.ints(ends), e.ints(starts.map((_, i) => i)), e.ints(steps)]),
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
  matmul: simple('MatMul'),
  conv: (e, inputs, { attributes, inputs: [, w] }) =>
    e.op('Conv', inputs, poolAttributes(attributes, w.shape.slice(2))),
  convTranspose: (e, inputs, { attributes, inputs: [, w] }) =>
    e.op('ConvTranspose', inputs, {
      ...poolAttributes(attributes, w.shape.slice(2)),
      output_padding: attributes.outputPadding,
    }),
  fused,
  cond,
  host: () => {
    throw new ShapeError('hostOperation', 'it cannot stand inside a branch of cond')
  },
}

/** The graph of `outputs`, in which the tensors of `given` are inputs like any leaf. */
export const lower = (outputs: readonly Tensor[], given: ReadonlySet<Tensor>, device: Device): Lowered => {
  const e = new Emitter(device, given)
  e.emit(outputs)
  const names = e.finish(outputs)
  return {
    graph: e.graph(outputs, names),
    inputs: e.inputs,
    outputs: names,
    memory: e.memory,
    opset: e.opset,
  }
}
