/** @file Reverse-mode differentiation: a graph goes in, the graph of its gradient comes out. */
import { Again } from './again.js'
import { alias, input, ones, zeros } from './create.js'
import { isFloat } from './dtype.js'
import { gradientRules } from './gradients.js'
import type { Node, Subgraph } from './primitives.js'
import { ShapeError, show } from './shape.js'
import { apply, Tensor } from './tensor.js'
import { leaves, mapTree, type Replace, refill } from './tree.js'
import { WeftError } from '../errors.js'
import { append } from './numbers.js'

type Rule = (
  g: Tensor,
  node: Node,
  cotangents: readonly (Tensor | undefined)[],
) => readonly (Tensor | undefined)[]

/** What a node is computed from, as differentiation sees it: a fused value without a rule of its own is its body. */
const sources = (node: Node): readonly Tensor[] => {
  const { op, attributes, inputs } = node as Node<'fused'>
  return op === 'fused' && !attributes.gradient ? attributes.body : inputs
}

/** The nodes on the way from `wrt` to `outputs`, latest first. */
const active = (outputs: readonly Tensor[], wrt: readonly Tensor[]): Node[] => {
  const targets = new Set(wrt)
  const known = new Map<Node, boolean>()
  const stack = outputs.map((t) => t.node)
  while (stack.length) {
    const node = stack[stack.length - 1]
    const from = sources(node)
    const pending = from.filter((t) => !known.has(t.node))
    if (pending.length) {
      append(
        stack,
        pending.map((t) => t.node),
      )
      continue
    }
    stack.pop()
    known.set(
      node,
      from.some((t) => targets.has(t) || known.get(t.node)),
    )
  }
  return [...known].flatMap(([n, on]) => (on ? [n] : [])).sort((a, b) => b.id - a.id)
}

const noRule = (node: Node): never => {
  throw new WeftError('NoGradient', `${node.op} has no gradient`, {
    hint: 'Stop the gradient before it (stopGradient), or give a rule (withGradient, hostOperation).',
  })
}

const flat = new Set([
  'sign',
  'floor',
  'ceil',
  'round',
  'equal',
  'less',
  'lessEqual',
  'and',
  'or',
  'xor',
  'not',
  'argMax',
  'bitAnd',
  'bitOr',
  'bitXor',
  'shiftLeft',
  'shiftRight',
])

/**
 * The branches' gradients, as branches: they take the operands and the cotangents, and give the cotangents of the
 * operands that are wanted, since what a branch gives is computed whether or not anybody reads it.
 */
const condRule = (
  node: Node<'cond'>,
  cotangents: readonly Tensor[],
  wanted: (place: number) => boolean,
): readonly (Tensor | undefined)[] => {
  const [predicate, ...operands] = node.inputs
  const places = operands.flatMap((o, i) => (isFloat(o.dtype) && wanted(i + 1) ? [i] : []))
  if (places.length === 0) return []
  const branch = ({ parameters, outputs }: Subgraph): Subgraph => {
    const seeds = cotangents.map((c, i) => input(`cotangent.${i}`, c.shape, c.dtype))
    const wrt = places.map((i) => parameters[i])
    const grads = gradients(outputs, seeds, wrt)
    return {
      parameters: [...parameters, ...seeds],
      outputs: wrt.map((p, i) => grads[i] ?? zeros(p.shape, p.dtype)),
    }
  }
  const { then, otherwise } = node.attributes
  const out = apply('cond', [predicate, ...operands, ...cotangents], {
    then: branch(then),
    otherwise: branch(otherwise),
  })
  const back = new Map(places.map((place, i) => [place, out[i]] as const))
  return [undefined, ...operands.map((_, i) => back.get(i))]
}

const pullBack = (
  node: Node,
  cotangents: readonly (Tensor | undefined)[],
  wanted: (place: number) => boolean,
): readonly (Tensor | undefined)[] => {
  const fused = node as Node<'fused'>
  if (node.op === 'fused') {
    const { gradient } = fused.attributes
    if (!gradient) return cotangents
    return gradient(cotangents, node.inputs, node.outputs, wanted)
  }
  const given = cotangents.map((c, i) => c ?? zeros(node.outputs[i].shape, node.outputs[i].dtype))
  if (node.op === 'cond') return condRule(node as unknown as Node<'cond'>, given, wanted)
  const rule = gradientRules[node.op] as Rule | undefined
  return rule ? rule(cotangents[0] ?? given[0], node, cotangents) : flat.has(node.op) ? [] : noRule(node)
}

/**
 * Cotangents of `wrt` from those of `outputs` (vector-Jacobian product), [...] each as its tensor. An entry is
 * undefined where no output depends on it. Frozen tensors cost nothing: only what lies between `wrt` and `outputs` is
 * differentiated.
 */
export const gradients = (
  outputs: readonly Tensor[],
  cotangents: readonly Tensor[],
  wrt: readonly Tensor[],
): (Tensor | undefined)[] => {
  const way = active(outputs, wrt)
  const onWay = new Set(way)
  const ends = new Set(wrt)
  const wanted = (t: Tensor): boolean => ends.has(t) || onWay.has(t.node)
  const again = new Again(wanted)
  const found = new Map<Tensor, Tensor>()
  const accumulate = (to: Tensor, g: Tensor): void => {
    const sum = found.get(to)
    found.set(to, sum ? sum.add(g) : g)
  }
  outputs.forEach((o, i) => isFloat(o.dtype) && accumulate(o, cotangents[i]))
  for (const node of way) {
    const given = node.outputs.map((o) => found.get(o))
    const until = given.find(Boolean)
    if (!until) continue
    const back = pullBack(again.seen(node, until), given, (place) => wanted(node.inputs[place]))
    sources(node).forEach((t, i) => {
      const g = back[i]
      if (g && isFloat(t.dtype)) accumulate(t, g)
    })
  }
  return wrt.map((t) => found.get(t))
}

/** Result of `valueAndGrad`. */
export interface ValueAndGrad<R, P> {
  /** Result of the function. */
  readonly value: R
  /** The gradient of the loss by every float leaf of the parameters; zeros where the loss does not depend on it. */
  readonly grads: P
}

/**
 * Turns `f(parameters, ...rest)`, whose result is a scalar loss or `{ loss, ...more }`, into a function that gives
 * the result and the loss's gradients by every leaf of `parameters` (a tree of tensors). Apply it again for second
 * derivatives. Throws ShapeError when the loss is not a scalar.
 */
export const valueAndGrad =
  <P, A extends readonly unknown[], R extends Tensor | { readonly loss: Tensor }>(
    f: (parameters: P, ...rest: A) => R,
  ) =>
  (parameters: P, ...rest: A): ValueAndGrad<R, P> => {
    // Aliases tell this use of a tensor from every other: tied leaves and captured ones count as themselves.
    const own = mapTree<Tensor, Tensor, P>(parameters, (t) => alias(t)) as P
    const value = f(own, ...rest)
    const loss: Tensor = value instanceof Tensor ? value : value.loss
    if (loss.size !== 1) throw new ShapeError('grad', `the loss must be a scalar, not ${show(loss.shape)}`)
    const wrt = leaves<Tensor>(own).map(({ leaf }) => leaf)
    const found = gradients([loss], [ones(loss.shape, loss.dtype)], wrt)
    const grads = wrt.map((t, i) => found[i] ?? zeros(t.shape, t.dtype))
    return { value, grads: refill<Tensor, Tensor, P>(parameters, grads) as Replace<P, Tensor, Tensor> as P }
  }

/** The gradients of a scalar function by its first argument, a tree of tensors. */
export const grad =
  <P, A extends readonly unknown[]>(f: (parameters: P, ...rest: A) => Tensor) =>
  (parameters: P, ...rest: A): P =>
    valueAndGrad(f)(parameters, ...rest).grads
