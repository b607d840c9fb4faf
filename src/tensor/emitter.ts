/** @file The growing ONNX graph that lowering writes into: names, constants, inputs, bound files. */
import { type Device, heldAs } from './device.js'
import { byteLength, type DType } from './dtype.js'
import { kernels } from './kernels.js'
import {
  type OnnxAttribute,
  type OnnxGraph,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValueInfo,
  onnxType,
} from './onnx.js'
import type { FusedAttributes, Node, Primitive } from './primitives.js'
import { sameShape, ShapeError, sizeOf, swapsLast } from './shape.js'
import type { FileSource, Source } from './source.js'
import { append } from './numbers.js'
import type { Tensor } from './tensor.js'
import { castValue, toNumbers, value, type Value } from './value.js'

export type Inputs = readonly string[]
export type Rules = { readonly [P in Primitive]: Rule<P> }
/** The ONNX nodes of one primitive: they are added to `e`, and the names of the outputs given back. */
export type Rule<P extends Primitive> = (
  e: Emitter,
  inputs: Inputs,
  node: Node<P>,
) => string | readonly string[]
type Extra = {
  readonly domain?: string
  readonly attributes?: Record<string, OnnxAttribute>
  readonly outputs?: number
}

/** What is known of the machine that a graph is lowered for. */
export interface Target {
  /** Whether sessions read bound files themselves. */
  readonly mapsFiles: boolean
  /** Whether products of uint8 and int8 saturate there. Default false. */
  readonly saturates?: boolean
}

/**
 * What a graph holds that whoever opens it must know: products of uint8 and int8, which saturate on some processors;
 * convolutions; bound numbers that are widened; values that are computed again in the backward pass; kernels that are slow
 * unless their bound inputs are packed anew.
 */
export type Trait =
  'signed products' | 'convolutions' | 'widened weights' | 'recomputation' | 'packed kernels'

/** What a graph and the branches inside it have in common. */
interface Shared {
  next: number
  opset: number
  readonly traits: Set<Trait>
  readonly target: Target
  /** Files that sessions map. */
  readonly files: Set<FileSource>
  /** Shapes and types of what nodes give, by name, and the names of what is bound. */
  readonly known: Map<string, OnnxValueInfo>
  readonly bound: Map<Source, string>
}

/** How what lies in memory is named in every program, so that equal programs have equal bytes. */
const memoryNames = new WeakMap<Source | Value, string>()
let memoryCount = 0
const memoryName = (held: Source | Value): string => {
  const known = memoryNames.get(held)
  if (known) return known
  const name = `weft-memory-${memoryCount++}`
  memoryNames.set(held, name)
  return name
}

/**
 * Constants from this many bytes on lie beside the model, by reference: a protobuf ends at 2 GB and is copied often.
 */
const largeConstant = 2 ** 20

/** Whether `t` is another tensor with its last two axes swapped. */
const isSwap = ({ node }: Tensor): boolean =>
  node.op === 'transpose' && swapsLast((node as Node<'transpose'>).attributes.permutation)

/** An operand of a product, as a kernel is given it. */
interface Operand {
  readonly t: Tensor
  readonly swapped: boolean
  readonly factor: number
}

/** The tensor that `t` is a multiple of, by a constant number. */
const scaledOf = ({ node, shape }: Tensor): Pick<Operand, 't' | 'factor'> | undefined => {
  if (node.op !== 'mul') return undefined
  const [t, factor] = node.inputs
  if (factor.node.op !== 'constant' || factor.rank > 0 || !sameShape(t.shape, shape)) return undefined
  const { value: v } = (factor.node as Node<'constant'>).attributes
  return { t, factor: toNumbers(v)[0] }
}

/** Whether a node gives the numbers of its input in their order: in another shape, or with axes of length 1 moved. */
export const isView = ({ op, attributes, inputs: [t] }: Node): boolean => {
  if (op === 'reshape') return true
  if (op !== 'transpose') return false
  const moved = (attributes as Node<'transpose'>['attributes']).permutation.filter(
    (axis) => t.shape[axis] !== 1,
  )
  return moved.every((axis, i) => i === 0 || axis > moved[i - 1])
}

export const bytesOf = (v: Value): Uint8Array =>
  new Uint8Array(v.data.buffer, v.data.byteOffset, v.data.byteLength)

export class Emitter {
  readonly nodes: OnnxNode[] = []
  readonly initializers: OnnxTensor[] = []
  /**
   * Where tensors beside the model are declared: in the outermost graph, as ONNX Runtime does not look for them in
   * branches.
   */
  private readonly outermost: OnnxTensor[]
  readonly inputs: Map<string, Tensor> = new Map()
  readonly inputInfo: OnnxValueInfo[] = []
  /** Shapes that ONNX Runtime cannot work out. */
  private readonly valueInfo: OnnxValueInfo[] = []
  /** What the session is given in memory, by the name of the file it stands for. */
  readonly memory: Map<string, Source>
  private readonly produced = new Set<string>()
  private readonly names = new Map<Tensor, string>()
  private readonly constants = new Map<string, string>()
  private readonly shared: Shared

  constructor(
    readonly device: Device,
    private readonly rules: Rules,
    private readonly given: ReadonlySet<Tensor>,
    parent: Emitter | Target,
  ) {
    const inner = parent instanceof Emitter
    this.shared = inner
      ? parent.shared
      : {
          ...{ next: 0, opset: 21, traits: new Set(), target: parent },
          ...{ files: new Set(), known: new Map(), bound: new Map() },
        }
    this.memory = inner ? parent.memory : new Map()
    this.outermost = inner ? parent.outermost : this.initializers
  }

  get opset(): number {
    return this.shared.opset
  }

  get files(): Set<FileSource> {
    return this.shared.files
  }

  get traits(): Set<Trait> {
    return this.shared.traits
  }

  /**
   * The inputs of a kernel that multiplies uint8 with int8, such as the processor multiplies exactly: signed ones
   * become unsigned, 128 higher, where signed ones saturate.
   */
  exactProducts(inputs: Inputs, dtypes: readonly DType[]): Inputs {
    this.traits.add('signed products')
    if (!this.shared.target.saturates) return inputs
    const high = this.constant(value(Uint8Array.of(128), [], 'uint8'))
    return inputs.map((x, i) =>
      dtypes[i] === 'int8' ? this.op('BitwiseXor', [this.cast(x, 'uint8'), high]) : x,
    )
  }

  fresh(): string {
    return `t${this.shared.next++}`
  }

  /** Appends a node and names its outputs. */
  add(type: string, inputs: Inputs, { domain, attributes, outputs = 1 }: Extra = {}): readonly string[] {
    const names = Array.from({ length: outputs }, () => this.fresh())
    this.nodes.push({ type, domain, inputs, outputs: names, attributes })
    for (const name of names) this.produced.add(name)
    return names
  }

  op(type: string, inputs: Inputs, attributes?: Record<string, OnnxAttribute>): string {
    return this.add(type, inputs, { attributes })[0]
  }

  /** A constant; small equal ones are one. */
  constant(given: Value): string {
    const v = castValue(given, heldAs(given.dtype, this.device))
    const type = onnxType[v.dtype]
    const bytes = bytesOf(v)
    const key = bytes.length <= 256 ? `${type}:${v.shape}:${bytes.join()}` : undefined
    const known = key && this.constants.get(key)
    if (known) return known
    const name = this.fresh()
    const { dtype, shape } = v
    if (bytes.length < largeConstant) this.initializers.push({ name, type, shape, bytes })
    else {
      const external = this.hold(given, { kind: 'memory', dtype, shape, value: v })
      this.outermost.push({ name, type, shape, external })
    }
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

  /** Says the shape and dtype of the value `name`: those of `t`. */
  describe(name: string, { dtype, shape }: Tensor): string {
    this.valueInfo.push({ name, type: onnxType[dtype], shape })
    return name
  }

  /** Makes `name` stand for `t`. */
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
    const held = heldAs(t.dtype, this.device)
    const asBits = held === 'bfloat16'
    this.inputInfo.push({ name, type: asBits ? onnxType.uint16 : onnxType[held], shape: packed })
    if (!asBits) return name
    this.shared.opset = 26
    return this.op('BitCast', [name], { to: onnxType.bfloat16 })
  }

  /** A place in memory for `source`, named after `identity`. */
  private hold(identity: Source | Value, source: Source): NonNullable<OnnxTensor['external']> {
    const location = memoryName(identity)
    this.memory.set(location, source)
    const length = byteLength(heldAs(source.dtype, this.device), sizeOf(source.shape))
    return { location, offset: 0, length }
  }

  /** The name of a bound tensor: one for all graphs inside one another, so that a file is mapped once. */
  bound(source: Source): string {
    const { dtype, shape } = source
    const named = this.shared.bound.get(source)
    if (named) return named
    const name = this.fresh()
    this.shared.bound.set(source, name)
    const mapped = source.kind === 'file' && this.shared.target.mapsFiles
    if (mapped) this.files.add(source)
    const external = mapped
      ? {
          location: source.path.replace(/^([A-Za-z]:)?[\\/]+/, ''),
          offset: source.offset,
          length: source.length,
        }
      : this.hold(source, source)
    const packed = dtype === 'int4' ? [byteLength(dtype, sizeOf(shape))] : shape
    this.outermost.push({ name, type: onnxType[heldAs(dtype, this.device)], shape: packed, external })
    return name
  }

  /** Emits everything that `outputs` need and that is not named yet. */
  emit(outputs: readonly Tensor[]): void {
    const needed = this.needed(outputs)
    const nodes = new Set([...needed].map(({ node }) => node))
    for (const node of [...nodes].sort((a, b) => a.id - b.id)) {
      if (this.isBody(node))
        for (const t of node.outputs) {
          if (needed.has(t)) this.set(t, this.name(this.sources(t)[0]))
        }
      else this.emitNode(node)
    }
  }

  private emitNode(node: Node): void {
    const rule = this.rules[node.op] as Rule<Primitive>
    const inputs = this.sources(node.outputs[0]).map((t) => this.name(t))
    const names = [rule(this, inputs, node)].flat()
    node.outputs.forEach((t, i) => {
      this.set(t, names[i])
      this.shared.known.set(names[i], { name: names[i], type: onnxType[t.dtype], shape: t.shape })
    })
  }

  /** Everything unnamed that `outputs` are computed from. */
  private needed(outputs: readonly Tensor[]): Set<Tensor> {
    const needed = new Set<Tensor>()
    const stack = [...outputs]
    while (stack.length) {
      const t = stack.pop()!
      if (needed.has(t) || this.has(t)) continue
      needed.add(t)
      append(stack, this.sources(t))
    }
    return needed
  }

  /** Whether a fused value runs as its body here, for want of a kernel. */
  private isBody(node: Node): boolean {
    return node.op === 'fused' && !this.hasKernel(node as Node<'fused'>)
  }

  /** What a tensor is computed from on this device: of a fused value without a kernel, its part of the body. */
  sources({ node, index }: Tensor): readonly Tensor[] {
    if (this.isBody(node)) return [(node.attributes as FusedAttributes).body[index]]
    if (node.op === 'matmul') return this.operands(node).map(({ t }) => t)
    if (isView(node)) return [this.viewed(node.inputs[0])]
    return node.op === 'transpose' ? [this.permuted(node as Node<'transpose'>).t] : node.inputs
  }

  /**
   * The operands of a product, whether it reads them with their last two axes swapped, and the factor by which it is told
   * to multiply. Swapped or scaled by a node of its own, an operand is copied, and a bound one would be held beside its file
   * as long as the session lives.
   */
  operands({ inputs }: Pick<Node, 'inputs'>): readonly Operand[] {
    const fused = this.device !== 'webgpu' && inputs[0].dtype === 'float32'
    const [a, b] = inputs
    // The kernels of a single row or column know no factor.
    const scales = fused && (a.shape.at(-2) ?? 1) > 1 && (b.shape.at(-1) ?? 1) > 1
    return inputs.map((t) => (fused ? this.operand(t, scales) : { t, swapped: false, factor: 1 }))
  }

  private operand(t: Tensor, scales: boolean): Operand {
    const scaled = scales ? scaledOf(t) : undefined
    const inner = scaled?.t ?? (isSwap(t) ? t.node.inputs[0] : undefined)
    if (inner === undefined || this.given.has(t)) return { t, swapped: false, factor: 1 }
    const rest = this.operand(inner, scales)
    return scaled ? { ...rest, factor: rest.factor * scaled.factor } : { ...rest, swapped: !rest.swapped }
  }

  /** What the numbers of `t` are taken from where it only shows them in another shape. */
  viewed(t: Tensor): Tensor {
    return isView(t.node) && !this.has(t) ? this.viewed(t.node.inputs[0]) : t
  }

  /** A transposition of transpositions as one: what it is read from, and in which order of its axes. */
  permuted({ inputs: [t], attributes: { permutation } }: Node<'transpose'>): {
    readonly t: Tensor
    readonly permutation: readonly number[]
  } {
    if (t.node.op !== 'transpose' || this.given.has(t)) return { t, permutation }
    const inner = this.permuted(t.node as Node<'transpose'>)
    return { t: inner.t, permutation: permutation.map((axis) => inner.permutation[axis]) }
  }

  hasKernel({ inputs, attributes }: Node<'fused'>): boolean {
    const kernel = kernels[attributes.kernel]
    return (
      kernel !== undefined &&
      kernel.devices.includes(this.device) &&
      (kernel.dtypes ?? ['float32']).includes(inputs[0].dtype)
    )
  }

  /** Names for the graph's outputs: distinct, and each the output of a node of this graph. */
  finish(outputs: readonly Tensor[]): string[] {
    const used = new Set<string>()
    return outputs.map((t) => {
      const own = this.name(t)
      const name = used.has(own) || !this.produced.has(own) ? this.op('Identity', [own]) : own
      used.add(name)
      return name
    })
  }

  /** The graph so far, with `outputs` under their `names`. */
  graph(outputs: readonly Tensor[], names: readonly string[]): OnnxGraph {
    const info = outputs.map((t, i) => ({ name: names[i], type: onnxType[t.dtype], shape: t.shape }))
    return {
      name: 'g',
      nodes: this.nodes,
      inputs: this.inputInfo,
      outputs: info,
      initializers: this.initializers,
      values: this.valueInfo,
      known: this.shared.known,
    }
  }
}
