/** @file What training must remember: bytes of the forward pass that the backward pass reads, counted in the graph. */
import type { Model } from '../models/index.js'
import {
  byteLength,
  input,
  type Node,
  reachable,
  type Tensor,
  type Value,
  valueAndGrad,
} from '../tensor/index.js'
import { type Batch, modelLoss } from './loss.js'
import { isMoved } from './method.js'

/** Operations whose result is the same numbers in another order or repeated: nothing of their own to keep. */
const views: ReadonlySet<string> = new Set(['reshape', 'transpose', 'identity', 'expand', 'barrier'])

const source = (t: Tensor): Tensor => (views.has(t.node.op) ? source(t.node.inputs[0]) : t)

const inputsLike = (values: Readonly<Record<string, Value>>): Record<string, Tensor> =>
  Object.fromEntries(Object.entries(values).map(([name, v]) => [name, input(name, v.shape, v.dtype)]))

/**
 * Bytes of activations that a training step of `model` on `batch` keeps from its forward pass for its backward one, views of
 * one tensor counted once, weights and inputs not at all. moved: which parameters train. A property of the graph, before any
 * optimisation of it; nothing is run.
 */
export const savedBytes = (
  model: Model,
  batch: Batch,
  moved: (name: string) => boolean = isMoved(model),
): number => {
  const [parameters, given] = [inputsLike(model.parameters), inputsLike(batch)]
  const own = Object.fromEntries(Object.entries(parameters).filter(([name]) => moved(name)))
  let last = 0
  const { grads } = valueAndGrad((p: Record<string, Tensor>) => {
    const { loss } = modelLoss(model)({ ...parameters, ...p }, given, {})
    last = loss.node.id
    return loss
  })(own)
  const nodes = reachable(Object.values(grads))
  const activations = new Set<Node>(Object.values(given).map(({ node }) => node))
  for (const node of nodes) if (node.inputs.some((t) => activations.has(t.node))) activations.add(node)
  const kept = new Set<Tensor>()
  for (const node of nodes)
    if (node.id > last)
      for (const t of node.inputs.map(source))
        if (t.node.id <= last && activations.has(t.node) && t.node.inputs.length > 0) kept.add(t)
  return [...kept].reduce((sum, { dtype, size }) => sum + byteLength(dtype, size), 0)
}
