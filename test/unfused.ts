/** @file A graph in which every fused value is its body: what its own gradient, and what makes it again, are compared with. */
import { everything, reachable } from '../src/tensor/graph.js'
import type { FusedAttributes } from '../src/tensor/primitives.js'
import { apply, type Tensor } from '../src/tensor/tensor.js'

/** `outputs`: [...] each, by their definitions alone. */
export const unfused = (outputs: readonly Tensor[]): Tensor[] => {
  const made = new Map<Tensor, Tensor>()
  const at = (t: Tensor): Tensor => made.get(t) ?? t
  for (const node of reachable(outputs, everything)) {
    const { op, inputs, attributes } = node
    const changed = inputs.some((t) => at(t) !== t)
    const parts =
      op === 'fused'
        ? (attributes as FusedAttributes).body.map(at)
        : changed
          ? apply(op, inputs.map(at), attributes)
          : node.outputs
    node.outputs.forEach((t, i) => made.set(t, parts[i]))
  }
  return outputs.map(at)
}
