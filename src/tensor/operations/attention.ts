/** @file Scaled dot-product attention, and rotary position embedding. */
import { fused } from '../control.js'
import { concat, range, scalar, where } from '../create.js'
import { unbroadcast } from '../gradients.js'
import type { CustomGradient } from '../primitives.js'
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
}

/** Result of `attention`; each part is computed only if it is used. */
export interface Attended {
  /** Values weighed by the probabilities: [batch, heads, time, size of v]. */
  readonly output: Tensor
  /** Probabilities of the keys: [batch, heads, time, keys]. */
  readonly probabilities: Tensor
  /** Log-sum-exp of the scores over the keys: [batch, heads, time]. */
  readonly logSumExp: Tensor
}

/** What is added to a hidden score, which vanishes beside it: finite, so that a row without any key stays finite. */
const HIDDEN = -1e30

const regroup = (t: Tensor, heads: number, rows: number): Tensor =>
  t.reshape([t.shape[0], heads, rows, t.shape[t.rank - 1]])

/**
 * Scaled dot-product attention softmax(q kᵀ scale) v (Vaswani et al. 2017), with fewer key-value heads than query
 * heads if these divide them (grouped-query attention: query head h uses key head floor(h / (heads / keyHeads))). q:
 * [batch, heads, time, size], k: [batch, keyHeads, keys, size], v: [batch, keyHeads, keys, sizeV]. Throws ShapeError.
 */
export const attention = (
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { mask, bias, scale, softcap }: AttentionOptions = {},
): Attended => {
  const [batch, heads, time, size] = q.shape
  const [, keyHeads, keys] = k.shape
  if (
    q.rank !== 4 ||
    k.rank !== 4 ||
    v.rank !== 4 ||
    heads % keyHeads ||
    k.shape[3] !== size ||
    v.shape[1] !== keyHeads ||
    v.shape[2] !== keys
  )
    throw new ShapeError('attention', `q ${show(q.shape)}, k ${show(k.shape)}, v ${show(v.shape)} do not fit`)
  const rows = (heads / keyHeads) * time
  let scores = regroup(q.mul(scale ?? 1 / Math.sqrt(size)), keyHeads, rows)
    .matmul(k.t())
    .reshape([batch, heads, time, keys])
  if (softcap !== undefined)
    scores = scores
      .mul(1 / softcap)
      .tanh()
      .mul(softcap)
  if (bias) scores = scores.add(bias)
  // Added, not chosen: so nothing of the scores' size is done again for the gradient.
  if (mask) scores = scores.add(where(mask, scalar(0, q.dtype), HIDDEN))
  const probabilities = softmax(scores, -1)
  const output = regroup(probabilities, keyHeads, rows).matmul(v).reshape([batch, heads, time, v.shape[3]])
  return { output, probabilities, logSumExp: logSumExp(scores, -1) }
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
