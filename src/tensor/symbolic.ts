/**
 * @file One program for many lengths. Shapes of the engine are numbers; so a program with an axis of any length is lowered
 * for two lengths, and what differs between the two graphs is what follows from the length: dimensions of inputs and outputs,
 * and entries of constants that say shapes. Whatever else differs would be wrong at a third length, and is refused.
 */
import { WeftError } from '../errors.js'
import type { Lowered } from './lower.js'
import type { OnnxNode, OnnxTensor, OnnxValueInfo } from './onnx.js'

const refuse = (what: string): never => {
  throw new WeftError('NotSymbolic', `${what} depends on a length that the program is to leave open`, {
    hint: 'What is counted along the axis must be given as an input.',
  })
}

const openAxes = (a: readonly OnnxValueInfo[], b: readonly OnnxValueInfo[]): OnnxValueInfo[] =>
  a.map((info, i) => ({
    ...info,
    open: [...info.shape.keys()].filter((axis) => info.shape[axis] !== b[i].shape[axis]),
  }))

const isSame = ({ bytes, ...a }: OnnxTensor, { bytes: others, ...b }: OnnxTensor): boolean =>
  JSON.stringify(a) === JSON.stringify(b) &&
  bytes?.length === others?.length &&
  (bytes ?? new Uint8Array()).every((byte, i) => byte === others![i])

/** What stands for the open length in the shapes that operators are given: the rest, or what there is. */
const entries: Readonly<Record<string, bigint>> = { Reshape: -1n, Expand: 1n }

const shapeIn = ({ bytes }: OnnxTensor): BigInt64Array => new BigInt64Array(bytes!.slice().buffer)

/** The shape for `node` of which `a` and `b` are two cases. */
const openShape = (a: OnnxTensor, b: OnnxTensor, { type }: OnnxNode): OnnxTensor => {
  const shape = shapeIn(a)
  const other = shapeIn(b)
  const differing = [...shape.keys()].filter((i) => shape[i] !== other[i])
  if (differing.length !== 1) refuse(`a shape [${shape.join(', ')}] of ${type} with more than one entry that`)
  shape[differing[0]] = entries[type]
  return { ...a, name: `${a.name}.${type}`, bytes: new Uint8Array(shape.buffer) }
}

/** Whether two nodes are the same but for their place. */
const agrees = (a: OnnxNode, b: OnnxNode): boolean => JSON.stringify(a) === JSON.stringify(b)

/**
 * The graph of which `a` and `b` are two cases, lowered from one function for two lengths. Throws WeftError (NotSymbolic)
 * where something other than shapes depends on the length, or a shape in two places.
 */
export const generalised = (a: Lowered, b: Lowered): Lowered => {
  const [first, second] = [a.graph, b.graph]
  const alike =
    first.nodes.length === second.nodes.length &&
    first.nodes.every((node, i) => agrees(node, second.nodes[i]))
  if (!alike || first.initializers.length !== second.initializers.length) refuse('the graph')
  const others = new Map(second.initializers.map((tensor) => [tensor.name, tensor]))
  const changed = new Map(
    first.initializers.flatMap((tensor) => {
      const other = others.get(tensor.name) ?? refuse(`a constant of [${tensor.shape.join(', ')}]`)
      return isSame(tensor, other) ? [] : [[tensor.name, [tensor, other] as const] as const]
    }),
  )
  const made = new Map<string, OnnxTensor>()
  const nodes = first.nodes.map((node) => ({
    ...node,
    inputs: node.inputs.map((name, i) => {
      const cases = changed.get(name)
      if (!cases) return name
      if (!(i === 1 && node.type in entries)) refuse(`a constant of ${node.type}`)
      const opened = openShape(...cases, node)
      made.set(opened.name, opened)
      return opened.name
    }),
  }))
  const initializers = [...first.initializers.filter(({ name }) => !changed.has(name)), ...made.values()]
  const graph = {
    ...first,
    nodes,
    initializers,
    inputs: openAxes(first.inputs, second.inputs),
    outputs: openAxes(first.outputs, second.outputs),
    values: openAxes(first.values ?? [], second.values ?? []),
  }
  return { ...a, graph }
}
