/**
 * @file Operations around other operations: kernels with a definition, custom gradients, branches, host functions,
 * recomputation.
 */
import { alias, input, zeros } from './create.js'
import { isFloat } from './dtype.js'
import { gradients } from './grad.js'
import { everything, reachable, substitute } from './graph.js'
import type { FusedAttributes, HostAttributes, Spec, Subgraph } from './primitives.js'
import { apply, nodeCount, Tensor } from './tensor.js'

type Options = Partial<Omit<FusedAttributes, 'kernel' | 'body'>>

/**
 * Tensors `body`: [...] each, computed by ONNX Runtime's operator `kernel` where the device has it. The body is the
 * definition: the interpreter runs it, and without `gradient` it is what gets differentiated. `inputs` are the
 * kernel's, in its order.
 */
export const fused = (
  kernel: string,
  inputs: readonly Tensor[],
  body: readonly Tensor[],
  options: Options = {},
): readonly Tensor[] => apply('fused', inputs, { kernel, body, options: {}, ...options })

/**
 * `f` with a gradient of your own: `rule` gives the cotangents of the inputs (undefined for none) from that of the
 * output. Straight-through estimators are made of it. Tensors that `f` captures get no gradient.
 */
export const withGradient =
  (
    f: (...inputs: Tensor[]) => Tensor,
    rule: (g: Tensor, inputs: readonly Tensor[], output: Tensor) => readonly (Tensor | undefined)[],
  ) =>
  (...inputs: Tensor[]): Tensor =>
    fused('', inputs, [f(...inputs)], {
      gradient: ([g], given, [output]) => rule(g!, given, output),
    })[0]

/** What comes from outside at each run: no branch can make it. */
const isGiven = ({ node: { op } }: Tensor): boolean => op === 'input' || op === 'random'

/** Tensors from before node `start` (and what is given at each run, whenever made) that `outputs` are computed from. */
const captured = (outputs: readonly Tensor[], start: number, own: readonly Tensor[] = []): Tensor[] => {
  const inside = (t: Tensor): boolean => t.node.id >= start && !isGiven(t) && !own.includes(t)
  const nodes = reachable(outputs.filter(inside), (n) => everything(n).filter(inside))
  const used = [...outputs, ...nodes.flatMap(everything)]
  return [...new Set(used.filter((t) => !inside(t) && !own.includes(t)))]
}

/**
 * The outputs of `then()` or of `otherwise()`, [...] each, whichever `predicate` (a scalar bool) says at the run: the
 * other branch is not computed, and nothing recompiles. Branches may use any tensor in scope; their outputs must
 * agree in shape and dtype. Throws ShapeError where they do not.
 */
export const cond = (
  predicate: Tensor,
  then: () => Tensor | readonly Tensor[],
  otherwise: () => Tensor | readonly Tensor[],
): Tensor[] => {
  const start = nodeCount()
  const branches = [then, otherwise].map((f) => [f()].flat() as Tensor[])
  const operands = captured(branches.flat(), start)
  const close = (outputs: readonly Tensor[]): Subgraph => {
    const parameters = operands.map((t, i) => input(`operand.${i}`, t.shape, t.dtype))
    return { parameters, outputs: substitute(outputs, new Map(operands.map((t, i) => [t, parameters[i]]))) }
  }
  const [a, b] = branches.map(close)
  return [...apply('cond', [predicate, ...operands], { then: a, otherwise: b })]
}

/** Cotangents of the inputs (undefined for none) of a host operation from those of its outputs. */
export type HostGradient = (
  cotangents: readonly Tensor[],
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
) => readonly (Tensor | undefined)[]

/**
 * A function of ours in the middle of a program: the graph is split there, `run` gets the inputs' values, [...] each,
 * and gives the outputs' (shapes and dtypes as declared). Without `gradient` nothing flows back. For what ONNX
 * Runtime lacks: SVD, codecs.
 */
export const hostOperation = (
  inputs: readonly Tensor[],
  outputs: readonly Spec[],
  run: HostAttributes['run'],
  options: { readonly name?: string; readonly gradient?: HostGradient } = {},
): readonly Tensor[] => {
  const { name = 'host', gradient } = options
  const filled: HostAttributes['gradient'] =
    gradient &&
    ((given, from, to) =>
      gradient(
        given.map((c, i) => c ?? zeros(to[i].shape, to[i].dtype)),
        from,
        to,
      ))
  return apply('host', inputs, {
    name,
    outputs: outputs.map(({ shape, dtype }) => ({ shape, dtype })),
    run,
    gradient: filled,
  })
}

/**
 * Result of `f(...inputs)`, inputs: [...] each, whose intermediate values are not kept for the backward pass but
 * computed again there (activation checkpointing; Chen et al. 2016, arXiv 1604.06174). The repeated part waits for
 * the incoming cotangent, so that it neither runs early nor is recognised as what was computed before.
 */
export const recompute = (f: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Tensor => {
  const start = nodeCount()
  const own = inputs.map(alias)
  const body = f(...own)
  const held = captured([body], start, own)
  return fused('', [...inputs, ...held], [body], {
    gradient: ([g], given) => {
      const late = given.map((t, i) =>
        i < own.length && isFloat(t.dtype) ? apply('barrier', [t, g!], {})[0] : alias(t),
      )
      const [again] = substitute([body], new Map([...own, ...held].map((t, i) => [t, late[i]])))
      return gradients([again], [g!], late)
    },
  })[0]
}

/**
 * `recompute` with a backward pass that only some runs need: `when` is told the result and gives a scalar bool that says so at
 * each run, and where it says no, nothing is computed and the gradients are zero. Without such a tensor (undefined) the
 * result is `f(...inputs)` as it stands, whose values are kept. inputs: [...] each.
 */
export const recomputeWhen = (
  when: (result: Tensor) => Tensor | undefined,
  f: (...inputs: Tensor[]) => Tensor,
  ...inputs: Tensor[]
): Tensor => {
  const start = nodeCount()
  const own = inputs.map(alias)
  const body = f(...own)
  const predicate = when(body)
  if (!predicate) return body
  const sources = [...own, ...captured([body], start, own)]
  return fused('', [...inputs, ...sources.slice(own.length), predicate], [body], {
    gradient: ([g], given, _, wanted = () => true) => {
      const places = sources.flatMap((t, i) => (isFloat(t.dtype) && wanted(i) ? [i] : []))
      const zero = (): Tensor[] => places.map((i) => zeros(given[i].shape, given[i].dtype))
      const slopes = (): Tensor[] => {
        const own = sources.map((_, i) => alias(given[i]))
        const again = substitute([body], new Map(sources.map((t, i) => [t, own[i]])))
        const wrt = places.map((i) => own[i])
        const none = zero()
        return gradients(again, [g!], wrt).map((slope, i) => slope ?? none[i])
      }
      if (places.length === 0) return []
      const found = cond(given[sources.length], slopes, zero)
      const back = new Map(places.map((place, i) => [place, found[i]] as const))
      return given.map((_, i) => back.get(i))
    },
  })[0]
}
