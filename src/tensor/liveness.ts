/**
 * @file What a lowered graph needs when ONNX Runtime runs it: the most memory that its values take at once, by the order in which
 * the engine runs nodes and the buffers that it uses again, and how much there is to compute. Nothing is opened or run.
 */
import { maxOf } from './numbers.js'
import { type OnnxGraph, type OnnxNode, onnxType, type OnnxValueInfo } from './onnx.js'
import { sizeOf } from './shape.js'

/** How much there is to compute: what takes time, each kind at a rate of its own. */
export interface Work {
  /** Multiplications and additions of products. */
  readonly flops: number
  /** Bytes of the matrices that products put into the order of their kernels, however few rows there are. */
  readonly packed: number
  /** Bytes that are read and written by everything else. */
  readonly bytes: number
  /** Elements of which a function like exp is taken. */
  readonly functions: number
  readonly nodes: number
  /** Bytes of outputs, which are copied into memory that nobody has touched. */
  readonly copied: number
}

/** Memory and work that a graph needs. */
export interface Footprint {
  /** Most bytes of values at once, outputs included, inputs and bound values not. */
  readonly peak: number
  readonly outputs: number
  readonly work: Work
}

const widths: Readonly<Record<number, number>> = {
  [onnxType.float32]: 4,
  [onnxType.uint8]: 1,
  [onnxType.int8]: 1,
  [onnxType.uint16]: 2,
  [onnxType.int32]: 4,
  [onnxType.int64]: 8,
  [onnxType.bool]: 1,
  [onnxType.float16]: 2,
  [onnxType.float64]: 8,
  [onnxType.uint32]: 4,
  [onnxType.bfloat16]: 2,
}

/** Bytes of a value. */
const bytesOf = ({ type, shape }: OnnxValueInfo): number => sizeOf(shape) * (widths[type] ?? 4)

const branchesOf = ({ attributes = {} }: OnnxNode): OnnxGraph[] =>
  Object.values(attributes).flatMap((a) => (typeof a === 'object' && 'graph' in a ? [a.graph] : []))

/** Names that a node reads, those that its branches read of the graph around them included. */
const readBy = (node: OnnxNode): string[] => {
  const inner = branchesOf(node).flatMap(({ nodes }) => {
    const made = new Set(nodes.flatMap(({ outputs }) => outputs))
    return nodes.flatMap(readBy).filter((name) => !made.has(name))
  })
  return [...new Set([...node.inputs, ...inner])]
}

/**
 * Numbers of the nodes in the order in which ONNX Runtime runs them: depth first from the last node that nobody reads, of what a
 * node reads the latest first.
 */
export const runOrder = ({ nodes }: Pick<OnnxGraph, 'nodes'>): number[] => {
  const producer = new Map(nodes.flatMap(({ outputs }, i) => outputs.map((name) => [name, i] as const)))
  const from = nodes.map((node) =>
    [...new Set(readBy(node).flatMap((name) => producer.get(name) ?? []))].sort((a, b) => a - b),
  )
  const read = new Set(from.flat())
  const stack = nodes.flatMap((_, i) => (read.has(i) ? [] : [{ node: i, leave: false }]))
  const seen = new Set<number>()
  const order: number[] = []
  while (stack.length) {
    const { node, leave } = stack.pop()!
    if (leave) order.push(node)
    if (leave || seen.has(node)) continue
    seen.add(node)
    stack.push({ node, leave: true })
    for (const i of from[node]) if (!seen.has(i)) stack.push({ node: i, leave: false })
  }
  return order
}

/** Operators whose output is their input seen otherwise. */
const views: ReadonlySet<string> = new Set(['Reshape', 'Identity', 'Squeeze', 'Unsqueeze', 'Flatten'])

/** Operators that may write their output over an input that nobody else reads. */
const overwriting: ReadonlySet<string> = new Set(
  'Add Sub Mul Div Neg Abs Exp Log Sqrt Reciprocal Floor Ceil Sigmoid Tanh Relu Softplus Erf Cast ScatterElements Clip'.split(
    ' ',
  ),
)

const functions: ReadonlySet<string> = new Set(
  'Exp Log Tanh Sigmoid Erf Sin Cos Pow Softplus Softmax LogSoftmax Gelu'.split(' '),
)

const products: ReadonlySet<string> = new Set([
  'MatMul',
  'FusedMatMul',
  'MatMulNBits',
  'MatMulInteger',
  'Gemm',
])

/** A piece of memory, from the node that first fills it to the last that reads what is in it. */
interface Buffer {
  readonly bytes: number
  readonly key: string
  readonly first: number
  last: number
  uses: number
}

/** Shapes and types by name. */
const known = (graph: OnnxGraph): ((name: string) => OnnxValueInfo | undefined) => {
  const outside = new Map<string, OnnxValueInfo>(
    [...graph.inputs, ...graph.initializers, ...graph.outputs].map((value) => [value.name, value]),
  )
  return (name) => outside.get(name) ?? graph.known?.get(name)
}

type Find = (name: string) => OnnxValueInfo | undefined

/** Shape and type of output `name`: nodes that a rule adds between its own ends are as large as what they read. */
const infoOf = (name: string, { inputs, type, attributes }: OnnxNode, find: Find): OnnxValueInfo => {
  const info = find(name)
  if (info) return info
  const [source] = inputs.flatMap((input) => find(input) ?? [])
  const to = type === 'Cast' ? Number(attributes?.to) : (source?.type ?? onnxType.float32)
  return { name, type: to, shape: type === 'Slice' ? [] : (source?.shape ?? []) }
}

const flopsOf = (node: OnnxNode, find: Find, out: OnnxValueInfo): number => {
  const { type, inputs, attributes = {} } = node
  const [a, b] = inputs.map((name) => find(name)?.shape ?? [])
  if (products.has(type)) return 2 * sizeOf(out.shape) * (a.at(attributes.transA ? -2 : -1) ?? 1)
  if (type === 'Conv') return 2 * sizeOf(out.shape) * sizeOf(b.slice(1))
  if (type === 'ConvTranspose') return 2 * sizeOf(a) * sizeOf(b.slice(1))
  return 0
}

const packedBytes = ({ inputs: [, b] }: OnnxNode, find: Find): number => {
  const matrix = find(b)
  return matrix ? bytesOf(matrix) : 0
}

const workOf = (node: OnnxNode, find: Find): Work => {
  const infos = node.outputs.map((name) => infoOf(name, node, find))
  const flops = flopsOf(node, find, infos[0])
  // A product's matrix is counted where it is packed.
  const inputs = products.has(node.type) ? node.inputs.slice(0, 1) : node.inputs
  const moved = [...inputs.flatMap((name) => find(name) ?? []), ...infos]
  const passive = views.has(node.type) || node.type === 'If'
  return {
    flops,
    packed: products.has(node.type) ? packedBytes(node, find) : 0,
    // Of what it gathers from or pads, a node reads no more than it gives.
    bytes: passive ? 0 : moved.reduce((sum, info) => sum + Math.min(bytesOf(info), 4 * bytesOf(infos[0])), 0),
    functions: functions.has(node.type) ? sizeOf(infos[0].shape) : 0,
    nodes: 1,
    copied: 0,
  }
}

/** Both together. */
export const addWork = (a: Work, b: Work): Work => ({
  flops: a.flops + b.flops,
  packed: a.packed + b.packed,
  bytes: a.bytes + b.bytes,
  functions: a.functions + b.functions,
  nodes: a.nodes + b.nodes,
  copied: a.copied + b.copied,
})

const nothing: Work = { flops: 0, packed: 0, bytes: 0, functions: 0, nodes: 0, copied: 0 }

/** The buffers of a graph as ONNX Runtime plans them: written over, or taken again by a value of the same shape. */
class Plan {
  readonly buffers: Buffer[] = []
  private readonly held = new Map<string, Buffer>()
  private readonly free: Buffer[] = []
  private readonly uses = new Map<string, number>()
  private readonly kept: ReadonlySet<string>

  constructor(
    graph: OnnxGraph,
    private readonly find: Find,
    /** Whether the outputs are counted: those of a branch are those of its node. */
    private readonly whole: boolean,
  ) {
    this.kept = new Set(graph.outputs.map(({ name }) => name))
    for (const node of graph.nodes)
      for (const name of readBy(node)) this.uses.set(name, (this.uses.get(name) ?? 0) + 1)
  }

  run(node: OnnxNode, step: number): void {
    for (const name of node.outputs) this.place(name, node, step)
    for (const name of readBy(node)) this.release(this.held.get(name), step)
    for (const name of node.outputs) if (!this.uses.has(name)) this.release(this.held.get(name), step, 0)
  }

  private place(name: string, node: OnnxNode, step: number): void {
    const info = infoOf(name, node, this.find)
    const uses = this.uses.get(name) ?? 0
    const key = `${widths[info.type]}:${info.shape}`
    if (this.kept.has(name)) {
      const bytes = this.whole ? bytesOf(info) : 0
      this.take({ bytes, key: '', first: step, last: Infinity, uses: Infinity }, name)
      return
    }
    const taken = this.overwritten(node, key) ?? this.again(key)
    if (taken) {
      taken.uses += uses
      this.held.set(name, taken)
    } else if (!(views.has(node.type) && !this.held.has(node.inputs[0])))
      this.take({ bytes: bytesOf(info), key, first: step, last: step, uses }, name)
  }

  private take(buffer: Buffer, name: string): void {
    this.buffers.push(buffer)
    this.held.set(name, buffer)
  }

  private overwritten({ type, inputs }: OnnxNode, key: string): Buffer | undefined {
    if (views.has(type)) return this.held.get(inputs[0])
    if (!overwriting.has(type)) return undefined
    return inputs
      .slice(0, 2)
      .map((name) => this.held.get(name))
      .find((buffer) => buffer?.uses === 1 && buffer.key === key)
  }

  private again(key: string): Buffer | undefined {
    const at = this.free.findIndex((buffer) => buffer.key === key)
    return at < 0 ? undefined : this.free.splice(at, 1)[0]
  }

  private release(buffer: Buffer | undefined, step: number, by = 1): void {
    if (!buffer) return
    buffer.uses -= by
    buffer.last = Math.max(buffer.last, step)
    if (buffer.uses === 0) this.free.unshift(buffer)
  }
}

/** What `graph` needs; of branches the first is taken to run. */
export const footprintOf = (graph: OnnxGraph, around: Find = () => undefined, whole = true): Footprint => {
  const own = known(graph)
  const find: Find = (name) => own(name) ?? around(name)
  const plan = new Plan(graph, find, whole)
  const order = runOrder(graph)
  const inside = new Float64Array(order.length + 1)
  let work = nothing
  order.forEach((i, step) => {
    const node = graph.nodes[i]
    plan.run(node, step)
    work = addWork(work, workOf(node, find))
    const branches = branchesOf(node).map((branch) => footprintOf(branch, find, false))
    if (branches.length === 0) return
    work = addWork(work, branches[0].work)
    inside[step] = maxOf(branches.map(({ peak }) => peak))
  })
  const outputs = graph.outputs.reduce((n, o) => n + bytesOf(o), 0)
  return {
    peak: peakOf(plan.buffers, inside),
    outputs,
    work: whole ? addWork(work, { ...nothing, copied: outputs }) : work,
  }
}

/** Most bytes at once, of buffers and of what runs inside each step. */
const peakOf = (buffers: readonly Buffer[], inside: Float64Array): number => {
  const change = new Float64Array(inside.length + 1)
  for (const { bytes, first, last } of buffers) {
    change[first] += bytes
    change[Math.min(last, inside.length - 1) + 1] -= bytes
  }
  let [now, most] = [0, 0]
  for (const [step, delta] of change.entries()) {
    now += delta
    most = Math.max(most, now + (inside[step] ?? 0))
  }
  return most
}
