/** @file Losses over logits, and dropout. */
import { fused } from '../control.js'
import { alias, randomBytes, tensor, where } from '../create.js'
import { ShapeError, show } from '../shape.js'
import type { Tensor } from '../tensor.js'
import { logSoftmax, softmax } from './activation.js'

/** Options of `crossEntropy`. */
export interface CrossEntropyOptions {
  /** Label whose rows do not count. Default -100. */
  readonly ignored?: number
  /**
   * Reduction of the losses: 'mean' over the labels that count (0 when none does), 'sum', or 'none': one value a
   * label, 0 where ignored. Default 'mean'.
   */
  readonly reduction?: 'mean' | 'sum' | 'none'
}

/**
 * -log softmax(logits)[label]: one value a row. The gradient is made of the probabilities alone, which take the place of their
 * logarithms: as large as the logits, each of them counts. logits: [..., classes], labels: [...] -> [...].
 */
const surprise = (logits: Tensor, labels: Tensor): Tensor => {
  const at = labels.unsqueeze(-1)
  const logs = logSoftmax(logits)
  const [losses] = fused('', [logits, at], [logs.gatherElements(at).neg(), logs], {
    gradient: ([g, later], [, at], [, logs]) => {
      const p = logs.exp()
      const first = g && p.mul(g).scatter(at, g.neg(), { add: true })
      const second = later?.sub(p.mul(later.sum(-1, { keep: true })))
      return [first && second ? first.add(second) : (first ?? second), undefined]
    },
  })
  return losses.squeeze(-1)
}

/**
 * Cross-entropy -log softmax(logits)[label]. logits: [..., classes], labels: [...] int32 or int64. Throws ShapeError.
 */
export const crossEntropy = (
  logits: Tensor,
  labels: Tensor,
  { ignored = -100, reduction = 'mean' }: CrossEntropyOptions = {},
): Tensor => {
  if (labels.rank !== logits.rank - 1 || labels.shape.some((d, i) => d !== logits.shape[i]))
    throw new ShapeError(
      'crossEntropy',
      `logits ${show(logits.shape)} and labels ${show(labels.shape)}: one label for each row of logits expected`,
    )
  const counts = labels.notEqual(ignored)
  const kept = where(counts, surprise(logits, where(counts, labels, 0)), 0)
  if (reduction === 'none') return kept
  return reduction === 'sum' ? kept.sum() : kept.sum().div(counts.cast(logits.dtype).sum().maximum(1))
}

/**
 * Kullback-Leibler divergence KL(softmax(p) || softmax(q)) along the last axis, one value a row. p, q: logits [...,
 * classes] -> [...].
 */
export const klDivergence = (p: Tensor, q: Tensor): Tensor =>
  softmax(p)
    .mul(logSoftmax(p).sub(logSoftmax(q)))
    .sum(-1)

/** Mean of (a - b)². a, b: [...], broadcast. */
export const meanSquaredError = (a: Tensor, b: Tensor): Tensor => a.sub(b).square().mean()

/** Counter that numbers the streams of random bytes that one trace draws from, in the order of the draws. */
export class RandomStreams {
  private next = 0
  /** Uniform bytes (uint8) of the run's seed and step. */
  bytes(shape: readonly number[]): Tensor {
    return randomBytes(shape, this.next++)
  }
}

/**
 * Elements each zeroed with probability p, the others divided by 1 - p (Srivastava et al. 2014). One host-drawn byte
 * an element decides, so p is rounded to 256ths. Without `random` (evaluation) x itself. x: [...]. Throws ShapeError
 * when p is not in [0, 1).
 */
export const dropout = (x: Tensor, p: number, random?: RandomStreams): Tensor => {
  if (!(p >= 0 && p < 1)) throw new ShapeError('dropout', `p = ${p} is not in [0, 1)`)
  const threshold = Math.round(256 * p)
  if (!random || threshold === 0) return x
  const bytes = random.bytes(x.shape)
  const kept = (of: Tensor, drawn: Tensor): Tensor =>
    where(drawn.cast('int32').greaterEqual(threshold), of.mul(256 / (256 - threshold)), 0)
  return fused('', [x, bytes], [kept(x, bytes)], {
    gradient: ([g], [, drawn]) => [kept(g!, drawn)],
    again: true,
  })[0]
}

/** One-hot rows: 1 at `ids`, 0 elsewhere. ids: [...] -> [..., depth]. */
export const oneHot = (ids: Tensor, depth: number, dtype: Tensor['dtype'] = 'float32'): Tensor =>
  ids
    .unsqueeze(-1)
    .equal(
      tensor(
        Array.from({ length: depth }, (_, i) => i),
        [depth],
        ids.dtype,
      ),
    )
    .cast(dtype)

/** Options of `embedding`. */
export interface EmbeddingOptions {
  /** Id whose row learns nothing from being looked up, as `padding_idx` of PyTorch's nn.Embedding. Default: none. */
  readonly padding?: number
}

/** `rows`, of which those of the id `padding` give their table no gradient. rows: [..., width], ids: [...] -> the same. */
const unlearned = (rows: Tensor, ids: Tensor, padding: number): Tensor =>
  fused('', [rows, ids], [alias(rows)], {
    gradient: ([g], [, ids]) => [where(ids.notEqual(padding).unsqueeze(-1), g!, 0), undefined],
  })[0]

/** Rows `ids` of `table`. table: [count, width], ids: [...] -> [..., width]. */
export const embedding = (table: Tensor, ids: Tensor, { padding }: EmbeddingOptions = {}): Tensor => {
  const rows = table.gather(ids, 0)
  return padding === undefined ? rows : unlearned(rows, ids, padding)
}
