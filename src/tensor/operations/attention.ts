/** @file Scaled dot-product attention, and rotary position embedding. */
import { heldBack } from '../again.js'
import { fused } from '../control.js'
import { alias, concat, range, scalar, where } from '../create.js'
import { gradients } from '../grad.js'
import { unbroadcast } from '../gradients.js'
import { substitute } from '../graph.js'
import type { Attributes, CustomGradient } from '../primitives.js'
import { sameShape, type Shape, ShapeError, show } from '../shape.js'
import type { Tensor } from '../tensor.js'
import { logSumExp, softmax } from './activation.js'

/** Options of `attention`. */
export interface AttentionOptions {
  /** Keys that a query sees: bool, broadcastable to [batch, heads, time, keys]. Default all. */
  readonly mask?: Tensor
  /** Bias added to the scores: broadcastable to [batch, heads, time, keys]. */
  readonly bias?: Tensor
  /** Factor of q kᵀ. Default 1 / sqrt(size). */
  readonly scale?: number
  /** Bound c of the scores, which become c tanh(s / c) before mask and bias (Gemma 2). Default none. */
  readonly softcap?: number
  /** Dropout of the probabilities: [batch, heads, time, keys] to the same, linear. Default none. */
  readonly drop?: (probabilities: Tensor) => Tensor
}

/** Result of `attention`; each part is computed only if it is used. */
export interface Attended {
  /** Values weighed by the probabilities: [batch, heads, time, size of v]. */
  readonly output: Tensor
  /** Probabilities of the keys, some of them dropped: [batch, heads, time, keys]. */
  readonly probabilities: Tensor
  /** Log-sum-exp of the scores over the keys: [batch, heads, time]. */
  readonly logSumExp: Tensor
}

/** What is added to a hidden score, which vanishes beside it: finite, so that a row without any key stays finite. */
const HIDDEN = -1e30

const additive = new WeakMap<Tensor, Map<string, Tensor>>()

/** What a mask adds to scores; the layers that share a mask share it. */
const hiding = (mask: Tensor, dtype: Tensor['dtype']): Tensor => {
  const made = additive.get(mask) ?? new Map<string, Tensor>()
  additive.set(mask, made)
  const added = made.get(dtype) ?? where(mask, scalar(0, dtype), HIDDEN)
  made.set(dtype, added)
  return added
}

/** Heads that share a key head, and their rows, along one axis: [batch, heads, rows, width]. */
const regroup = (t: Tensor, heads: number, rows: number): Tensor =>
  t.reshape([t.shape[0], heads, rows, t.shape[t.rank - 1]])

/** Query heads and rows that are multiplied with each key head. */
const groupsOf = (q: Tensor, k: Tensor): readonly [heads: number, rows: number] => {
  const [, heads, time] = q.shape
  return [k.shape[1], (heads / k.shape[1]) * time]
}

type Settings = Required<Pick<AttentionOptions, 'scale'>> & Pick<AttentionOptions, 'softcap'>

/**
 * Keys or values that were joined along their axis, a cache's and the new ones: each part is multiplied by itself, so that
 * the whole, which is mostly cache, is never copied together.
 */
const partsOf = (t: Tensor): readonly Tensor[] => {
  const { op, attributes, inputs } = t.node
  return op === 'concat' && (attributes as Attributes['concat']).axis === 2 ? inputs.flatMap(partsOf) : [t]
}

/** Scores of the keys: [batch, heads, time, keys]. */
const scoresOf = (q: Tensor, k: Tensor, added: readonly Tensor[], { scale, softcap }: Settings): Tensor => {
  const [batch, heads, time] = q.shape
  const grouped = regroup(q, ...groupsOf(q, k)).mul(scale)
  const products = concat(
    partsOf(k).map((part) => grouped.matmul(part.t())),
    3,
  ).reshape([batch, heads, time, k.shape[2]])
  const capped =
    softcap === undefined
      ? products
      : products
          .mul(1 / softcap)
          .tanh()
          .mul(softcap)
  // Added, not chosen: so nothing of the scores' size is done again for the gradient.
  return added.reduce((sum, t) => sum.add(t), capped)
}

/** Values weighed by `weights`: [batch, heads, time, keys] -> [batch, heads, time, size of v]. */
const weigh = (weights: Tensor, v: Tensor): Tensor => {
  const [batch, heads, time] = weights.shape
  const grouped = regroup(weights, ...groupsOf(weights, v))
  let start = 0
  return partsOf(v)
    .map((part) => {
      const end = start + part.shape[2]
      const share = grouped.slice(3, start, end)
      start = end
      return share.matmul(part)
    })
    .reduce((sum, t) => sum.add(t))
    .reshape([batch, heads, time, v.shape[3]])
}

/**
 * Scaled dot-product attention softmax(q kᵀ scale) v (Vaswani et al. 2017), with fewer key-value heads than query
 * heads if these divide them (grouped-query attention: query head h uses key head floor(h / (heads / keyHeads))). q:
 * [batch, heads, time, size], k: [batch, keyHeads, keys, size], v: [batch, keyHeads, keys, sizeV]. The gradient computes
 * the probabilities again, as Dao et al. (2022, arXiv 2205.14135) do: q, k, v and the output are kept for it. Throws
 * ShapeError.
 */
export const attention = (q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Attended => {
  requireHeads(q, k, v)
  if (sharesKeys(q, k, options)) return headsAsRows(q, k, v, options)
  const { mask, bias, scale = 1 / Math.sqrt(q.shape[q.rank - 1]), softcap, drop } = options
  const settings = { scale, softcap }
  const added = [...(bias ? [bias] : []), ...(mask ? [hiding(mask, q.dtype)] : [])]
  const scores = scoresOf(q, k, added, settings)
  const probabilities = softmax(scores, -1)
  const dropped = drop?.(probabilities) ?? probabilities
  const [output] = fused('', [q, k, v, ...added], [weigh(dropped, v)], {
    gradient: attentionGradient(settings, { probabilities, dropped }),
  })
  return { output, probabilities: dropped, logSumExp: logSumExp(scores, -1) }
}

/** Whether the heads that share a key head are, for one query each, rows of it: what is added must be the same for all. */
const sharesKeys = (q: Tensor, k: Tensor, { mask, bias, drop }: AttentionOptions): boolean => {
  const alike = (t?: Tensor): boolean => !t || (t.rank === 4 && t.shape[1] === 1 && t.shape[2] === 1)
  return q.shape[2] === 1 && q.shape[1] > k.shape[1] && !drop && alike(mask) && alike(bias)
}

/** Attention of one query a head, in which scores and probabilities keep the shape that they are multiplied in. */
const headsAsRows = (q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): Attended => {
  const [batch, heads, , size] = q.shape
  const rows = q.reshape([batch, k.shape[1], heads / k.shape[1], size])
  const { output, probabilities, logSumExp } = attention(rows, k, v, options)
  return {
    output: output.reshape([batch, heads, 1, v.shape[3]]),
    probabilities: probabilities.reshape([batch, heads, 1, k.shape[2]]),
    logSumExp: logSumExp.reshape([batch, heads, 1]),
  }
}

/** `make`, whose results for the same tensor are one: layers share them, since nothing merges equal nodes. */
const shared = (make: (t: Tensor) => Tensor): ((t: Tensor) => Tensor) => {
  const made = new WeakMap<Tensor, Tensor>()
  return (t) => {
    const result = made.get(t) ?? make(t)
    made.set(t, result)
    return result
  }
}

const negated = shared((t) => t.neg())

/** Cosines or sines [texts, 1, time, pairs] as a table: [texts * time, pairs]. */
const rotaryTable = shared((t) => t.reshape([t.shape[0] * t.shape[2], t.shape[3]]))

/** Row of each token in the table of `t`, [texts, 1, time, pairs]: [texts, time]. */
const rotaryRows = shared(({ shape: [texts, , time] }) =>
  range(0, texts * time, 'int64').reshape([texts, time]),
)

const requireHeads = (q: Tensor, k: Tensor, v: Tensor): void => {
  const ranks = q.rank === 4 && k.rank === 4 && v.rank === 4
  const sizes = k.shape[3] === q.shape[3] && v.shape[1] === k.shape[1] && v.shape[2] === k.shape[2]
  if (!ranks || !sizes || q.shape[1] % k.shape[1])
    throw new ShapeError('attention', `q ${show(q.shape)}, k ${show(k.shape)}, v ${show(v.shape)} do not fit`)
}

/**
 * With P the probabilities again, D their dropout and g the output's cotangent: dV = D(P)ᵀ g, dP = Dᵀ(g Vᵀ) and
 * dS = P (dP - Σ g O), from which the scores' own gradients follow.
 */
const attentionGradient =
  (
    settings: Settings,
    { probabilities, dropped }: { readonly probabilities: Tensor; readonly dropped: Tensor },
  ): CustomGradient =>
  ([given], [q, k, v, ...added]) => {
    const g = given!
    const late = [q, k].map((t) => heldBack(t, g))
    // Of their own: layers share masks and biases, and the gradient must end here, not in the layers before.
    const [values, ...more] = [v, ...added].map(alias)
    const scores = scoresOf(late[0], late[1], more, settings)
    const P = softmax(scores, -1)
    const [weights] = substitute([dropped], new Map([[probabilities, P]]))
    const [dP, dV] = gradients([weigh(weights, values)], [g], [P, values])
    const E = P.mul(dP!)
    const dS = E.sub(P.mul(E.sum(-1, { keep: true })))
    const [dQ, dK, ...dAdded] = gradients([scores], [dS], [...late, ...more])
    return [dQ, dK, dV, ...dAdded]
  }

/**
 * Rotary position embedding (Su et al. 2021), the halves of the last axis forming the pairs, as Hugging Face lays it
 * out. x: [batch, heads, time, size]; cos, sin: a number a pair, [batch or 1, 1, time, size / 2] both, or broadcastable
 * to [batch, 1, time, size].
 */
export const rotary = (x: Tensor, cos: Tensor, sin: Tensor): Tensor => {
  const [first, second] = x.split(2, -1)
  if (!isPerPair(cos, x) || !sameShape(cos.shape, sin.shape))
    return x.mul(cos).add(concat([second.neg(), first], -1).mul(sin))
  const body = concat([first.mul(cos).sub(second.mul(sin)), second.mul(cos).add(first.mul(sin))], -1)
  const rows = rotaryRows(cos).expand([x.shape[0], x.shape[2]])
  return fused('RotaryEmbedding', [x, rows, rotaryTable(cos), rotaryTable(sin)], [body], {
    gradient: rotaryGradient(cos.shape),
  })[0]
}

const isPerPair = ({ shape }: Tensor, { shape: [batch, , time, size] }: Tensor): boolean =>
  [batch, 1].some((texts) => sameShape(shape, [texts, 1, time, size / 2]))

/** The turn back; and where cosines and sines are differentiated themselves, what each pair adds to them. */
const rotaryGradient =
  (shape: Shape): CustomGradient =>
  ([given], [x, , cosines, sines]) => {
    const g = given!
    const [first, second] = x.split(2, -1)
    const [gFirst, gSecond] = g.split(2, -1)
    const summed = (t: Tensor): Tensor => unbroadcast(t, shape).reshape(cosines.shape)
    return [
      rotary(g, cosines.reshape(shape), negated(sines).reshape(shape)),
      undefined,
      summed(first.mul(gFirst).add(second.mul(gSecond))),
      summed(first.mul(gSecond).sub(second.mul(gFirst))),
    ]
  }
