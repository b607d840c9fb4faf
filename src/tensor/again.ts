/**
 * @file Values that a backward pass makes again rather than keeps: those that cost little beside a product, and are made
 * from what is kept anyway.
 */
import { substitute } from './graph.js'
import { isFloat } from './dtype.js'
import type { FusedAttributes, Node, Primitive } from './primitives.js'
import { apply, type Tensor } from './tensor.js'

/** The same numbers in another order, or repeated: what they come from is as good to keep. */
const views: ReadonlySet<Primitive> = new Set(['reshape', 'transpose', 'expand', 'identity'])

/** Whether `t` is there for the whole run: an input, a constant, a weight. */
const isLeaf = ({ node }: Tensor): boolean =>
  node.op === 'identity' ? isLeaf(node.inputs[0]) : node.inputs.length === 0

/** `x`, once `until` is known: what is computed from it neither runs early nor is taken for what was computed before. */
export const heldBack = (x: Tensor, until: Tensor): Tensor => apply('barrier', [x, until], {})[0]

/** The values that one backward pass makes again. */
export class Again {
  private readonly made = new Map<Tensor, Tensor>()
  private readonly held = new Map<Tensor, Tensor>()

  /** isActive: whether a tensor lies on the way that is differentiated. */
  constructor(private readonly isActive: (t: Tensor) => boolean) {}

  /** `node` as its gradient rule should see it: inputs that are cheap are made again once `until`, a cotangent, is known. */
  seen(node: Node, until: Tensor): Node {
    const inputs = node.inputs.map((t) => this.late(t, until))
    return inputs.every((t, i) => t === node.inputs[i]) ? node : { ...node, inputs }
  }

  private late(t: Tensor, until: Tensor): Tensor {
    if (!this.made.has(t) && this.isCheap(t.node)) this.remake(t.node, until)
    return this.made.get(t) ?? t
  }

  /** A product of two factors that are both differentiated: its own gradient keeps both. */
  private isCheap(node: Node): boolean {
    if (node.op === 'fused') return (node.attributes as FusedAttributes).again === true
    return views.has(node.op) || (node.op === 'mul' && node.inputs.every((t) => this.isActive(t)))
  }

  private remake(node: Node, until: Tensor): void {
    const inputs = node.inputs.map((t) => (this.isCheap(t.node) ? this.late(t, until) : this.hold(t, until)))
    const same = inputs.every((t, i) => t === node.inputs[i])
    const outputs = same ? node.outputs : repeated(node, inputs)
    node.outputs.forEach((t, i) => this.made.set(t, outputs[i]))
  }

  private hold(t: Tensor, until: Tensor): Tensor {
    if (isLeaf(t) || t.node.op === 'barrier' || !isFloat(t.dtype)) return t
    const held = this.held.get(t) ?? heldBack(t, until)
    this.held.set(t, held)
    return held
  }
}

/** The outputs of `node` from other inputs. */
const repeated = (node: Node, inputs: readonly Tensor[]): readonly Tensor[] => {
  if (node.op !== 'fused') return apply(node.op, inputs, node.attributes)
  const attributes = node.attributes as FusedAttributes
  const body = substitute(attributes.body, new Map(node.inputs.map((t, i) => [t, inputs[i]])))
  return apply('fused', inputs, { ...attributes, body })
}
