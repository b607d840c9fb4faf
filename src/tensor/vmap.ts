/**
 * @file vmap: a function of single examples (or of one model's weights) becomes a function of many at once. The
 * function is traced on one row, and every node that depends on a row is replaced by its rule's operation on all of
 * them.
 */
import { WeftError } from '../errors.js'
import { input, randomBytes, range, where } from './create.js'
import { everything, reachable } from './graph.js'
import type { CustomGradient, Node, Primitive, Subgraph } from './primitives.js'
import { ShapeError, show } from './shape.js'
import { apply, nodeCount, type Tensor } from './tensor.js'
import { leaves, refill } from './tree.js'
import { maxOf } from './numbers.js'

/** An input of a node, with all rows along a leading axis where it depends on the row. */
interface Mapped {
  readonly t: Tensor
  readonly batched: boolean
}

/** The outputs of `node` for all rows, each with the leading axis. At least one input is batched. */
type Rule<P extends Primitive> = (m: Rows, inputs: readonly Mapped[], node: Node<P>) => readonly Tensor[]

const rankOf = ({ t, batched }: Mapped): number => t.rank - Number(batched)

/** With axes of length 1 put behind the leading one, so that the rest has rank `rank` and broadcasts as a row would. */
const aligned = ({ t, batched }: Mapped, rank: number): Tensor => {
  const missing = rank + 1 - t.rank
  if (!batched || missing === 0) return t
  return t.reshape([t.shape[0], ...new Array<number>(missing).fill(1), ...t.shape.slice(1)])
}

/** The tensors of a trace on one row, and what they are for all `size` rows. */
class Rows {
  private readonly made: Map<Tensor, Tensor>

  constructor(
    readonly size: number,
    /** Nodes from this one on belong to the trace: random bytes among them are each row's own. */
    private readonly start: number,
    made: ReadonlyMap<Tensor, Tensor>,
  ) {
    this.made = new Map(made)
  }

  /** The same trace, in which more tensors are known. */
  with(more: Iterable<readonly [Tensor, Tensor]>): Rows {
    return new Rows(this.size, this.start, new Map([...this.made, ...more]))
  }

  at(t: Tensor): Mapped {
    const all = this.made.get(t)
    return { t: all ?? t, batched: all !== undefined }
  }

  /** `t` with the leading axis, repeated along it if every row has the same. */
  full({ t, batched }: Mapped): Tensor {
    return batched ? t : t.expand([this.size, ...t.shape])
  }

  /** The tensors of the trace, for all rows. */
  map(outputs: readonly Tensor[]): Mapped[] {
    for (const node of reachable(outputs, (n) => everything(n).filter((t) => !this.made.has(t)))) {
      if (this.made.has(node.outputs[0])) continue
      const own = node.op === 'random' && node.id >= this.start
      if (!own && !everything(node).some((t) => this.made.has(t))) continue
      const rule = rules[node.op] as Rule<Primitive>
      const results = rule(
        this,
        node.inputs.map((t) => this.at(t)),
        node,
      )
      node.outputs.forEach((t, i) => this.made.set(t, results[i]))
    }
    return outputs.map((t) => this.at(t))
  }
}

/** Inputs broadcast against each other. */
const elementwise: Rule<Primitive> = (_, inputs, { op, attributes, outputs: [y] }) =>
  apply(
    op,
    inputs.map((x) => aligned(x, maxOf(inputs.map(rankOf), y.rank))),
    attributes,
  )

/** One input, or several that must all have the leading axis; attributes change with it. */
const shifted =
  <P extends Primitive>(change: (attributes: Node<P>['attributes'], m: Rows) => unknown): Rule<P> =>
  (m, inputs, { op, attributes }) =>
    apply(
      op,
      inputs.map((x) => m.full(x)),
      change(attributes, m) as Node<P>['attributes'],
    )

const axisAfter = shifted<
  'argMax' | 'cumsum' | 'topK' | 'concat' | 'split' | 'gatherElements' | 'scatterElements'
>((a) => ({ ...a, axis: a.axis + 1 }))

const axesAfter = shifted<'sum' | 'reduceMax' | 'flip'>(({ axes }) => ({ axes: axes.map((i) => i + 1) }))

const expand: Rule<'expand'> = (m, [x], { attributes: { shape } }) => [
  aligned(x, shape.length).expand([m.size, ...shape]),
]

/** Axis `from` moved to place `to`. */
const moveAxis = (t: Tensor, from: number, to: number): Tensor => {
  const order = t.shape.map((_, i) => i).filter((i) => i !== from)
  order.splice(to, 0, from)
  return t.transpose(order)
}

const gather: Rule<'gather'> = (m, [x, ids], { attributes: { axis } }) => {
  if (!ids.batched) return [x.t.gather(ids.t, axis + 1)]
  if (!x.batched) return [moveAxis(x.t.gather(ids.t, axis), axis, 0)]
  // The rows' tables become one: row b's ids are counted from b times the length of a table.
  const length = x.t.shape[axis + 1]
  const before = x.t.shape.slice(1, axis + 1)
  const table = moveAxis(x.t, axis + 1, 1)
  const first = range(0, m.size, ids.t.dtype).mul(length)
  const at = ids.t.add(first.reshape([m.size, ...ids.t.shape.slice(1).map(() => 1)]))
  const found = table.reshape([m.size * length, ...table.shape.slice(2)]).gather(at)
  const rank = found.rank
  const idRank = ids.t.rank
  const places = Array.from({ length: rank }, (_, i) => i)
  const front = places.slice(idRank, idRank + before.length)
  const rest = places.slice(idRank + before.length)
  return [found.transpose([0, ...front, ...places.slice(1, idRank), ...rest])]
}

/**
 * Rows that share their weights are one greater batch; rows with weights of their own are groups of one greater
 * convolution.
 */
const convolution: Rule<'conv' | 'convTranspose'> = (m, [x, w], { op, attributes }) => {
  const rows = m.full(x)
  const [size, batch, channels, ...image] = rows.shape
  if (!w.batched) {
    const [y] = apply(op, [rows.reshape([size * batch, channels, ...image]), w.t], attributes)
    return [y.reshape([size, batch, ...y.shape.slice(1)])]
  }
  const grouped = rows.transpose([1, 0, 2, 3, 4]).reshape([batch, size * channels, ...image])
  const [, first, ...kernel] = w.t.shape
  const weights = w.t.reshape([size * first, ...kernel])
  const [y] = apply(op, [grouped, weights], { ...attributes, groups: attributes.groups * size })
  return [y.reshape([batch, size, -1, ...y.shape.slice(2)]).transpose([1, 0, 2, 3, 4])]
}

/** The cotangents that `gradient` gives for one row, for all of them. */
const mappedGradient =
  (m: Rows, gradient: CustomGradient, { inputs, outputs }: Node): CustomGradient =>
  (cotangents, given, results) => {
    const all = [...cotangents, ...given, ...results]
    const rows = [...outputs, ...inputs, ...outputs].map((t, i) =>
      all[i] ? input(`row.${i}`, t.shape, t.dtype) : undefined,
    )
    const parts = [rows.slice(0, outputs.length), rows.slice(outputs.length, -outputs.length)] as const
    const back = gradient(parts[0], parts[1] as Tensor[], rows.slice(-outputs.length) as Tensor[])
    const inner = m.with(rows.flatMap((row, i) => (row ? [[row, all[i]!] as const] : [])))
    return back.map((t) => t && inner.full(inner.map([t])[0]))
  }

const fused: Rule<'fused'> = (m, inputs, node) => {
  const { again, batch, body, gradient } = node.attributes
  if (batch) return batch(inputs.map((x) => m.full(x)))
  const mapped = m.map(body).map((y) => m.full(y))
  if (!gradient) return mapped
  const plain = { kernel: '', options: {}, body: mapped, again }
  return apply(
    'fused',
    inputs.map((x) => m.full(x)),
    {
      ...plain,
      gradient: mappedGradient(m, gradient, node as unknown as Node),
    },
  )
}

/**
 * One predicate for all rows stays a branch; where each row has its own, both branches are computed and chosen from.
 */
const cond: Rule<'cond'> = (m, [predicate, ...operands], { attributes: { then, otherwise } }) => {
  if (predicate.batched) {
    const [a, b] = [then, otherwise].map(({ parameters, outputs }) => {
      const inner = m.with(parameters.map((p, i) => [p, m.full(operands[i])] as const))
      return inner.map(outputs).map((y) => m.full(y))
    })
    return a.map((y, i) => where(predicate.t.reshape([m.size, ...y.shape.slice(1).map(() => 1)]), y, b[i]))
  }
  const branch = ({ parameters, outputs }: Subgraph): Subgraph => {
    const own = parameters.map((p, i) =>
      operands[i].batched ? input(`operand.${i}`, operands[i].t.shape, p.dtype) : p,
    )
    const inner = m.with(own.flatMap((t, i) => (t === parameters[i] ? [] : [[parameters[i], t] as const])))
    return { parameters: own, outputs: inner.map(outputs).map((y) => inner.full(y)) }
  }
  return apply('cond', [predicate.t, ...operands.map(({ t }) => t)], {
    then: branch(then),
    otherwise: branch(otherwise),
  })
}

const refuse =
  (why: string): Rule<Primitive> =>
  (_, __, { op, attributes }) => {
    throw new WeftError('NoBatchingRule', `vmap: ${op} '${(attributes as { name?: string }).name}' ${why}`)
  }

/** One rule a primitive. */
const rules: { readonly [P in Primitive]: Rule<P> } = {
  input: refuse('is no part of the function'),
  constant: refuse('has no inputs'),
  bound: refuse('has no inputs'),
  random: (m, _, { attributes: { shape, stream } }) => [randomBytes([m.size, ...shape], stream)],
  identity: elementwise,
  barrier: (m, [x, until]) => apply('barrier', [m.full(x), until.t], {}),
  cast: elementwise,
  neg: elementwise,
  abs: elementwise,
  sign: elementwise,
  floor: elementwise,
  ceil: elementwise,
  round: elementwise,
  exp: elementwise,
  log: elementwise,
  sqrt: elementwise,
  erf: elementwise,
  sin: elementwise,
  cos: elementwise,
  tanh: elementwise,
  sigmoid: elementwise,
  softplus: elementwise,
  not: elementwise,
  add: elementwise,
  sub: elementwise,
  mul: elementwise,
  div: elementwise,
  mod: elementwise,
  pow: elementwise,
  min: elementwise,
  max: elementwise,
  equal: elementwise,
  less: elementwise,
  lessEqual: elementwise,
  and: elementwise,
  or: elementwise,
  xor: elementwise,
  bitAnd: elementwise,
  bitOr: elementwise,
  bitXor: elementwise,
  shiftLeft: elementwise,
  shiftRight: elementwise,
  where: elementwise,
  matmul: elementwise,
  sum: axesAfter,
  reduceMax: axesAfter,
  flip: axesAfter,
  argMax: axisAfter,
  cumsum: axisAfter,
  topK: axisAfter,
  concat: axisAfter,
  split: axisAfter,
  gatherElements: axisAfter,
  scatterElements: axisAfter,
  reshape: shifted(({ shape }, m) => ({ shape: [m.size, ...shape] })),
  transpose: shifted(({ permutation }) => ({ permutation: [0, ...permutation.map((i) => i + 1)] })),
  slice: shifted(({ starts, ends, steps }, m) => ({
    starts: [0, ...starts],
    ends: [m.size, ...ends],
    steps: [1, ...steps],
  })),
  pad: shifted(({ before, after }) => ({ before: [0, ...before], after: [0, ...after] })),
  expand,
  gather,
  conv: convolution,
  convTranspose: convolution,
  fused,
  cond,
  host: refuse('runs a host function, which takes one shape'),
}

/** Options of `vmap`. */
export interface VmapOptions {
  /** Leading axes: for each argument 0 (its leaves have it) or null (every row gets the same). Default all 0. */
  readonly axes?: readonly (0 | null)[]
}

/**
 * `f` over the leading axis of its arguments, trees of tensors: many examples, many small models or many seeds in one
 * program. `vmap(f)(xs)` is the stack of `f(x)` over the rows x of xs. It composes with grad either way. Random bytes
 * (dropout) are each row's own. A `cond` whose predicate differs from row to row computes both branches. Throws
 * ShapeError where leading axes differ, NoBatchingRule at a hostOperation.
 */
export const vmap =
  <A extends readonly unknown[], R>(f: (...rows: A) => R, { axes }: VmapOptions = {}): ((...all: A) => R) =>
  (...all) => {
    const start = nodeCount()
    const made = new Map<Tensor, Tensor>()
    const rowOf = (t: Tensor, path: string): Tensor => {
      const [size] = made.values()
      if (t.rank === 0 || (size && size.shape[0] !== t.shape[0]))
        throw new ShapeError(
          'vmap',
          `'${path}' is ${show(t.shape)}${size ? `, others have ${size.shape[0]} rows` : ''}`,
        )
      const row = input(`row.${path}`, t.shape.slice(1), t.dtype)
      made.set(row, t)
      return row
    }
    const rows = all.map((tree, i) =>
      axes?.[i] === null
        ? tree
        : refill(
            tree,
            leaves<Tensor>(tree, String(i)).map(({ leaf, path }) => rowOf(leaf, path)),
          ),
    ) as unknown as A
    const [first] = made.values()
    if (!first) throw new ShapeError('vmap', 'no argument has rows')
    const tree = f(...rows)
    const m = new Rows(first.shape[0], start, made)
    const outputs = leaves<Tensor>(tree).map(({ leaf }) => leaf)
    return refill<Tensor, Tensor, R>(
      tree,
      m.map(outputs).map((y) => m.full(y)),
    ) as R
  }
