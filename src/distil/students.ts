/** @file Students of several teachers: taught rows as batches, who counts how much, and the loss to a fused target. */
import { type Model, type Parameters, sliceRows, type Trace } from '../models/index.js'
import { Stream } from '../random/index.js'
import { full, logSoftmax, oneHot, softmax, type Tensor, valueOf, where } from '../tensor/index.js'
import { ignored } from '../text/index.js'
import { type Batch, causalLoss, forward, type LossFunction, type OfRows, sumOfRows } from '../train/index.js'
import { batchOf, longestOf, rounded, type TaughtExample } from './teachings.js'

/** In place of the infinite loss of a source that says nothing about a row. */
const noLoss = 1e4

/** A batch of taught rows: names as `fusedCrossEntropy` reads them. */
export const taughtBatch = (rows: readonly TaughtExample[], time: number): Batch => {
  const [count, sources, steps] = [rows.length, rows[0].sources.length, time - 1]
  const top = rows[0].sources.reduce((most, { ids, gold }) => Math.max(most, ids.length / gold.length), 1)
  const ids = new Int32Array(count * steps * sources * top)
  const probabilities = new Float32Array(ids.length)
  const gold = new Float32Array(count * steps * sources)
  const spoken = new Float32Array(gold.length)
  const losses = new Float32Array(count * sources)
  rows.forEach((row, r) =>
    row.sources.forEach((source, k) => {
      losses[r * sources + k] = Math.min(source.loss, noLoss)
      const own = source.ids.length / source.gold.length
      source.gold.forEach((p, t) => {
        const place = (r * steps + t) * sources + k
        gold[place] = p
        spoken[place] = source.spoken[t]
        ids.set(source.ids.subarray(t * own, (t + 1) * own), place * top)
        probabilities.set(source.probabilities.subarray(t * own, (t + 1) * own), place * top)
      })
    }),
  )
  return {
    ...batchOf(rows, time),
    teacherIds: valueOf(ids, [count, steps, sources * top], 'int32'),
    teacherProbabilities: valueOf(probabilities, [count, steps, sources, top], 'float32'),
    teacherGold: valueOf(gold, [count, steps, sources], 'float32'),
    teacherSpoken: valueOf(spoken, [count, steps, sources], 'float32'),
    teacherLosses: valueOf(losses, [count, sources], 'float32'),
  }
}

/** Taught rows as batches without end, each epoch in its own order: a function of the seed and the place alone. */
export const taughtBatches = (
  rows: readonly TaughtExample[],
  { batch, seed = 0 }: { batch: number; seed?: number | string },
) =>
  function* (startAt: number): Generator<Batch> {
    const most = longestOf(rows)
    const orders = new Map<number, Uint32Array>()
    const at = (i: number): TaughtExample => {
      const epoch = Math.floor(i / rows.length)
      const order = orders.get(epoch) ?? new Stream(seed).fork('fusion').fork(epoch).permutation(rows.length)
      orders.clear()
      orders.set(epoch, order)
      return rows[order[i % rows.length]]
    }
    for (let i = startAt; ; i++) {
      const part = Array.from({ length: batch }, (_, k) => at(i * batch + k))
      yield taughtBatch(part, rounded(longestOf(part), most))
    }
  }

/** Positions that count: [batch, time - 1], 1 or 0. */
export const countedOf = ({ labels }: Batch<Tensor>): Tensor =>
  labels.slice(1, 1).notEqual(ignored).cast('float32')

/** The mean over the tokens that count of what `f` makes of the logits before each and of `given`, as `sumOfRows` takes them. */
const meanOverTokens = (
  f: OfRows<Tensor>,
  logits: Tensor,
  batch: Batch<Tensor>,
  given: readonly Tensor[],
  trace?: Trace,
): { readonly mean: Tensor; readonly weight: Tensor } => {
  const counted = batch.labels.slice(1, 1).notEqual(ignored)
  const weight = counted.cast('float32').sum()
  const sum = sumOfRows(f, { logits: sliceRows(logits, 0, -1), given, counted }, trace)
  return { mean: sum.div(weight.maximum(1)), weight }
}

/** Of each token the cross-entropy to its sources' distributions. logs: [batch, n, vocabulary], ids, p: as a batch has them. */
const fusedCost = (logs: Tensor, ids: Tensor, p: Tensor, weights: Tensor): Tensor =>
  p.mul(logs.gatherElements(ids, 2).reshape(p.shape)).sum(3).mul(weights.unsqueeze(1)).sum(2).neg()

/**
 * The cross-entropy of each row's logits to the mean of its sources' distributions, weighted by `weights`
 * ([batch, sources], rows sum to 1): the mean over the tokens that count. logits: [batch, time, vocabulary]; `trace` as the model
 * that made them was given it.
 */
export const fusedCrossEntropy = (
  logits: Tensor,
  batch: Batch<Tensor>,
  weights: Tensor,
  trace?: Trace,
): Tensor => {
  const cost = (logits: Tensor, ids: Tensor, p: Tensor): Tensor =>
    fusedCost(logSoftmax(logits), ids, p, weights)
  return meanOverTokens(cost, logits, batch, [batch.teacherIds, batch.teacherProbabilities], trace).mean
}

/**
 * Entropy of each row's fused target, the mean of its sources' distributions weighted by `weights` ([batch, sources]): the
 * mean over the tokens that count, []. Entries of the same token add up, so that each is held against all that P has there.
 */
export const fusedEntropy = (batch: Batch<Tensor>, weights: Tensor): Tensor => {
  const { teacherIds: ids, teacherProbabilities: p } = batch
  const [count, steps, sources, top] = p.shape
  const shares = p.mul(weights.reshape([count, 1, sources, 1])).reshape([count, steps, sources * top, 1])
  const same = ids.unsqueeze(3).equal(ids.unsqueeze(2)).cast('float32')
  const logs = same.matmul(shares).maximum(1e-12).log()
  const counted = countedOf(batch)
  const each = shares.mul(logs).sum(3).sum(2).neg()
  return each.mul(counted).sum().div(counted.sum().maximum(1))
}

/** How much each source counts in each row of a batch: [batch, sources], rows sum to 1. */
export type SourceWeights = (batch: Batch<Tensor>, parameters: Parameters<Tensor>) => Tensor

/** Weights that are 1 for the source with the lowest loss on a row (the first of equals), else 0. */
export const winners: SourceWeights = ({ teacherLosses: losses }) => oneHot(losses.argMin(1), losses.shape[1])

/** Proportional to exp(-loss). */
export const byLikelihood: SourceWeights = ({ teacherLosses: losses }) => softmax(losses.neg())

/** All alike. */
export const uniformly: SourceWeights = ({ teacherLosses: { shape } }) => full(shape, 1 / shape[1])

/** How a student is held against the fused target P: CE(f, P), or KL(P || f), which is the same less P's entropy. */
export type Divergence = 'cross-entropy' | 'kl'

/**
 * A student's loss: λ CE(labels) + (1 - λ) D(fused), over the labels that count. `labels` is λ; at 1 it is the loss of
 * ordinary training. The two divergences have one gradient for the student, and different ones for what weighs the sources.
 */
export const fusionLoss =
  (
    model: Model,
    labels: number,
    weights: SourceWeights,
    divergence: Divergence = 'cross-entropy',
  ): LossFunction =>
  (parameters, batch, trace) => {
    const outputs = forward(model, parameters, batch, trace)
    if (labels === 1) return causalLoss(outputs, batch, trace)
    const w = weights(batch, parameters)
    const cost = (logits: Tensor, next: Tensor, ids: Tensor, p: Tensor): Tensor => {
      const logs = logSoftmax(logits)
      const at = where(next.equal(ignored), 0, next).unsqueeze(-1)
      const own = logs.gatherElements(at, 2).squeeze(2).neg()
      return own.mul(labels).add(fusedCost(logs, ids, p, w).mul(1 - labels))
    }
    const given = [batch.labels.slice(1, 1), batch.teacherIds, batch.teacherProbabilities]
    const { mean, weight } = meanOverTokens(cost, outputs.logits, batch, given, trace)
    const entropy = divergence === 'kl' ? fusedEntropy(batch, w).mul(1 - labels) : undefined
    return { loss: entropy ? mean.sub(entropy) : mean, weight }
  }
