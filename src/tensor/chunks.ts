/**
 * @file A function of rows, computed on a few of them at a time: on those that count, in chunks whose intermediate values
 * never live together. Each chunk is a branch, which runs only where rows are left for it, so that their number compiles
 * nothing new; and since a branch is one operation to whoever orders them, nothing inside it can be put off to the end.
 */
import { concat, input, ones, range, where, zeros } from './create.js'
import { cond, fused, withGradient } from './control.js'
import { isFloat } from './dtype.js'
import { gradients } from './grad.js'
import { everything, reachable, substitute } from './graph.js'
import type { RandomStreams } from './operations/loss.js'
import type { Node } from './primitives.js'
import { nodeCount, type Tensor } from './tensor.js'

/** How rows are divided. */
export interface ChunkOptions {
  /** Rows that count: [batch, time] bool. The others are not computed. */
  readonly counted: Tensor
  /** Rows of a chunk, over the whole batch. */
  readonly chunk: number
  /** Source of dropout's bytes, where the function drops anything. */
  readonly random?: RandomStreams
}

/** Where each row goes: rows that count come first in their sequence, and chunks take some of every sequence. */
interface Packing {
  readonly time: number
  /** Rows of one sequence in a chunk. */
  readonly size: number
  readonly chunks: number
  /** The row in each slot, of the flattened rows: [batch, chunks * size] int32. */
  readonly order: Tensor
  /** The slot of each row, of the flattened slots: [batch, time] int32. */
  readonly place: Tensor
  /** Whether a slot's row counts: [batch, chunks * size] bool. */
  readonly mask: Tensor
  /** Most rows that count in a sequence: [] int32. */
  readonly most: Tensor
}

const packingOf = ({ counted, chunk }: ChunkOptions): Packing => {
  const [batch, time] = counted.shape
  const size = Math.ceil(time / Math.ceil((batch * time) / chunk))
  const chunks = Math.ceil(time / size)
  const slots = chunks * size
  const ones = counted.cast('int32')
  const total = ones.sum(1, { keep: true })
  const before = ones.cumsum(1)
  const at = range(0, time).unsqueeze(0)
  const place = where(counted, before.sub(1), total.add(at).sub(before))
  const order = zeros([batch, time], 'int32')
    .scatter(place, at.expand([batch, time]), { axis: 1 })
    .pad([0, 0], [0, slots - time])
  const first = (each: number): Tensor => range(0, batch).mul(each).unsqueeze(1)
  return {
    time,
    size,
    chunks,
    order: order.add(first(time)),
    place: place.add(first(slots)),
    mask: range(0, slots).unsqueeze(0).less(total),
    most: total.max(),
  }
}

/** Rows `at` of x: [batch, n, ...], counted through the batch. at: [batch, m] int32 -> [batch, m, ...]. */
const taken = (x: Tensor, at: Tensor): Tensor =>
  x.reshape([x.shape[0] * x.shape[1], ...x.shape.slice(2)]).gather(at, 0)

/** `taken`, whose gradient is taken back by the inverse: what stands in no slot gets none. */
const moved = (x: Tensor, at: Tensor, back: Tensor): Tensor =>
  isFloat(x.dtype)
    ? withGradient(
        (x, at) => taken(x, at),
        (g, [, , back]) => [taken(g, back), undefined, undefined],
      )(x, at, back)
    : taken(x, at)

/** The function's graph on one chunk, closed over what it captured. */
interface Template {
  /** What stands for the rows, for which of them count, and for the captured tensors. */
  readonly parameters: readonly Tensor[]
  readonly captured: readonly Tensor[]
  readonly outputs: readonly Tensor[]
  /** Nodes from this one on were made by the function: random bytes among them are each chunk's own. */
  readonly start: number
}

/** A tensor without the transpositions that it is seen through: they are the chunk's, so that no turned copy is kept. */
const untransposed = (t: Tensor): Tensor => (t.node.op === 'transpose' ? untransposed(t.node.inputs[0]) : t)

/**
 * The tensors that do not follow from `rows`: [...] each, and that `outputs` are computed from beside them; random bytes that the
 * function drew (nodes from `start` on) among them, so that what follows from these is each chunk's own.
 */
const capturedBy = (outputs: readonly Tensor[], rows: readonly Tensor[], start: number): Tensor[] => {
  const following = new Set(rows.map(({ node }) => node))
  const found = new Set<Tensor>()
  for (const node of reachable(outputs, everything)) {
    if (node.op === 'random' && node.id >= start) {
      following.add(node)
      found.add(node.outputs[0])
    }
    if (!everything(node).some((t) => following.has(t.node))) continue
    following.add(node)
    for (const t of everything(node)) if (!following.has(t.node)) found.add(untransposed(t))
  }
  return [...found].filter(({ node }) => node.op !== 'constant')
}

const templateOf = (rows: readonly Tensor[], start: number, outputs: readonly Tensor[]): Template => {
  const captured = capturedBy(outputs, rows, start)
  const inputs = captured.map((t) => input('captured', t.shape, t.dtype))
  const closed = substitute(outputs, new Map(captured.map((t, i) => [t, inputs[i]])))
  return { parameters: [...rows, ...inputs], captured, outputs: closed, start }
}

/** What of `tensors`: [...] each, may train: floats that follow from values given at each run. */
const trainable = (tensors: readonly Tensor[]): Set<Tensor> => {
  const moving = new Set<Node>()
  for (const node of reachable(tensors, everything)) {
    const stops = node.op === 'identity' && (node as Node<'identity'>).attributes.stop
    const given = node.op === 'input' && isFloat(node.outputs[0].dtype)
    const follows = everything(node).some((t) => isFloat(t.dtype) && moving.has(t.node))
    if (given || (follows && !stops)) moving.add(node)
  }
  return new Set(tensors.filter((t) => isFloat(t.dtype) && moving.has(t.node)))
}

/** The outputs of a template on chunk number `i` of what is packed, or zeros where no row is left for it. */
const branch = (
  { parameters, captured, outputs, start }: Template,
  packed: readonly Tensor[],
  { size, most }: Packing,
  i: number,
  { random }: ChunkOptions,
  carried: readonly (Tensor | undefined)[] = [],
): Tensor[] => {
  const rows = packed.map((x) => x.slice(1, i * size, (i + 1) * size))
  const others = captured.map((t) =>
    i > 0 && t.node.op === 'random' && t.node.id >= start && random ? random.bytes(t.shape) : t,
  )
  const given = new Map([...rows, ...others].map((t, k) => [parameters[k], t] as const))
  return cond(
    most.greater(i * size),
    () => substitute(outputs, given).map((y, k) => (carried[k] ? carried[k].add(y) : y)),
    () => outputs.map((y, k) => carried[k] ?? zeros(y.shape, y.dtype)),
  )
}

const placeholders = (packed: readonly Tensor[], { size }: Packing): Tensor[] =>
  packed.map(({ shape: [batch, , ...rest], dtype }) => input('rows', [batch, size, ...rest], dtype))

/** y: [batch, n, ...], zero where `mask` ([batch, n]) says no. */
const masked = (mask: Tensor, y: Tensor): Tensor =>
  where(mask.reshape([...mask.shape, ...y.shape.slice(2).map(() => 1)]), y, 0)

/**
 * Results of `f`, numbers of each row by itself, for the rows that count; zero for the others. rows: [batch, time, ...] each;
 * f: [batch, n, ...] each -> [batch, n, ...] each. Differentiated, every chunk is computed again. Throws what `f` throws.
 */
export const mapRows = (
  f: (...rows: Tensor[]) => readonly Tensor[],
  rows: readonly Tensor[],
  options: ChunkOptions,
): Tensor[] => {
  const packing = packingOf(options)
  const { order, place, mask, chunks } = packing
  const packed = [...rows.map((x) => moved(x, order, place)), mask]
  const holes = placeholders(packed, packing)
  const start = nodeCount()
  const outputs = f(...holes.slice(0, -1)).map((y) => masked(holes[rows.length], y))
  const template = templateOf(holes, start, outputs)
  const parts = Array.from({ length: chunks }, (_, i) => branch(template, packed, packing, i, options))
  return outputs.map((_, k) =>
    moved(
      concat(
        parts.map((part) => part[k]),
        1,
      ),
      place,
      order,
    ),
  )
}

/** Gradients of a sum by some of its template's parameters, summed over chunks or laid side by side with them. */
interface Slopes {
  readonly sum: Tensor
  /** By the rows: [batch, chunks * size, ...] each. */
  readonly rows: readonly Tensor[]
  /** By captured tensors. */
  readonly captured: readonly Tensor[]
}

/** The sum over all chunks, and its gradients by the first `count` float rows and by `captured`, made in the same branches. */
const sumWithSlopes = (
  template: Template,
  packed: readonly Tensor[],
  packing: Packing,
  options: ChunkOptions,
  wrt: { readonly rows: readonly Tensor[]; readonly captured: readonly Tensor[] },
): Slopes => {
  const [sum] = template.outputs
  const by = [...wrt.rows, ...wrt.captured]
  const found = gradients([sum], [ones([], sum.dtype)], by)
  const outputs = [sum, ...by.map((t, i) => found[i] ?? zeros(t.shape, t.dtype))]
  const parts: Tensor[][] = []
  for (let i = 0; i < packing.chunks; i++) {
    // What is summed goes from one chunk to the next: else as many as there are chunks would live at once.
    const carried = parts.at(-1)?.map((y, k) => (k === 0 || k > wrt.rows.length ? y : undefined))
    parts.push(branch({ ...template, outputs }, packed, packing, i, options, carried))
  }
  const last = parts[packing.chunks - 1]
  const rows = wrt.rows.map((_, k) =>
    concat(
      parts.map((part) => part[k + 1]),
      1,
    ),
  )
  return { sum: last[0], rows, captured: last.slice(rows.length + 1) }
}

/**
 * Sum over the rows that count of what `f` makes of each by itself: []. rows: [batch, time, ...] each; f: [batch, n, ...]
 * each -> [batch, n]. The gradient to the rows, and to whatever `f` captured that may train, is made in the same chunk as the
 * sum, for whoever asks for it; `mapRows` is for values of which no gradient is wanted. Throws what `f` throws.
 */
export const sumRows = (
  f: (...rows: Tensor[]) => Tensor,
  rows: readonly Tensor[],
  options: ChunkOptions,
): Tensor => {
  const packing = packingOf(options)
  const packed = [...rows.map((x) => taken(x, packing.order)), packing.mask]
  const holes = placeholders(packed, packing)
  const start = nodeCount()
  const sum = masked(holes[rows.length], f(...holes.slice(0, -1))).sum()
  const template = templateOf(holes, start, [sum])
  const floats = rows.filter(({ dtype }) => isFloat(dtype))
  const heads = template.captured.filter(({ dtype }) => isFloat(dtype))
  const holeOf = new Map(template.captured.map((t, i) => [t, template.parameters[holes.length + i]] as const))
  const trained = trainable(heads)
  const slopes = (wrt: readonly Tensor[], byRows: boolean): Slopes =>
    sumWithSlopes(template, packed, packing, options, {
      rows: byRows ? holes.filter(({ dtype }) => isFloat(dtype)) : [],
      captured: wrt.map((t) => holeOf.get(t)!),
    })
  const known = heads.filter((t) => trained.has(t))
  const made = slopes(known, true)
  const kept = [packing.place, ...made.rows, ...made.captured]
  return fused('', [...floats, ...heads, made.sum, ...kept], [made.sum], {
    gradient: ([g], given, _, wanted = () => true) => {
      const [place, ...back] = given.slice(floats.length + heads.length + 1)
      const others = heads.filter((t, i) => !trained.has(t) && wanted(floats.length + i))
      const late = others.length ? slopes(others, false).captured : []
      const byHead = new Map<Tensor, Tensor>()
      known.forEach((t, i) => byHead.set(t, back[floats.length + i]))
      others.forEach((t, i) => byHead.set(t, late[i]))
      return [...floats.map((_, k) => taken(back[k], place)), ...heads.map((t) => byHead.get(t))].map((d) =>
        d?.mul(g!),
      )
    },
  })[0]
}
