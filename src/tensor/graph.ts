/** @file Walks through graphs: what a value is computed from, and the same from other inputs. */
import type { FusedAttributes, Node } from './primitives.js'
import { apply, type Tensor } from './tensor.js'

/** Every node that `outputs`: [...] each, are computed from, earliest first. Bodies of fused values are not entered. */
export const reachable = (
  outputs: readonly Tensor[],
  more: (node: Node) => readonly Tensor[] = (n) => n.inputs,
): Node[] => {
  const seen = new Set<Node>()
  const stack = outputs.map((t) => t.node)
  while (stack.length) {
    const node = stack.pop()!
    if (seen.has(node)) continue
    seen.add(node)
    for (const t of more(node)) stack.push(t.node)
  }
  return [...seen].sort((a, b) => a.id - b.id)
}

/** What a node is computed from; a fused value's body included. */
export const everything = ({ op, inputs, attributes }: Node): readonly Tensor[] =>
  op === 'fused' ? [...inputs, ...(attributes as FusedAttributes).body] : inputs

const within = (node: Node, at: (t: Tensor) => Tensor): Node['attributes'] => {
  if (node.op !== 'fused') return node.attributes
  const attributes = node.attributes as FusedAttributes
  return { ...attributes, body: attributes.body.map(at) }
}

/** Tensors `outputs`: [...] each, computed from `replacements` in place of the tensors they map from. */
export const substitute = (
  outputs: readonly Tensor[],
  replacements: ReadonlyMap<Tensor, Tensor>,
): Tensor[] => {
  const made = new Map<Tensor, Tensor>(replacements)
  const at = (t: Tensor): Tensor => made.get(t) ?? t
  // What a replaced tensor was computed from is not looked at: many branches may end at the same large graph.
  const open = (tensors: readonly Tensor[]): Tensor[] => tensors.filter((t) => !replacements.has(t))
  for (const node of reachable(open(outputs), (n) => open(everything(n)))) {
    if (node.outputs.every((o) => made.has(o))) continue
    if (!everything(node).some((t) => at(t) !== t)) continue
    const copies = apply(node.op, node.inputs.map(at), within(node, at))
    node.outputs.forEach((o, i) => made.set(o, made.get(o) ?? copies[i]))
  }
  return outputs.map(at)
}
