/** @file Training a target on several sources at once, together with the gate that chooses among them (Fusion-X). */
import type { Model, Parameters } from '../../models/index.js'
import type { OnProgress } from '../../progress.js'
import type { Tensor, Value } from '../../tensor/index.js'
import { adamW, type Batch, fit, type LossFunction, type Objective } from '../../train/index.js'
import { byShape } from '../../train/by-shape.js'
import {
  countedOf,
  type Divergence,
  fusionLoss,
  type SourceWeights,
  taughtBatch,
  taughtBatches,
  type TaughtExample,
} from '../../distil/index.js'
import { gate, gateParameters, imbalance, isGate, kept } from './gate.js'

/** Settings of `trainFusionX`. */
export interface FusionXSettings {
  /** λ: the share of the labels in the target's loss. Default 0.5 (published: 0.9). */
  readonly labels?: number
  /** μ: how much balance counts in the gate's loss. Default 0.05 (published: 0.5). */
  readonly balance?: number
  /** τ: sources that the gate gives no more are not heard. Default 0.75 / K. */
  readonly threshold?: number
  /**
   * Loss that teaches the gate. `gold` (the default): the likelihood of the labels under the mean of all sources by g;
   * `gold-masked`: under the mean of those that are heard, which can leave a source unheard for good; `paper`: the
   * agreement of the student with the fused target, as published.
   */
  readonly gateLoss?: 'gold' | 'gold-masked' | 'paper'
  /** How the target is held against the fused distribution. Default 'cross-entropy'. */
  readonly divergence?: Divergence
  /** Learning rate of the gate. Default 1e-2. */
  readonly gateRate?: number
  /**
   * Give the gate log-likelihoods with mean 0 and deviation 1 over the data instead of likelihoods, which are near 0
   * and alike for long noisy rows. Default false.
   */
  readonly standardise?: boolean
  /** Learning rate of the target. Default 1e-5. */
  readonly learningRate?: number
  /** Default: once through the rows. */
  readonly steps?: number
  /** Default 8. */
  readonly batch?: number
  /** Seed of the gate and of the order of rows. Default 0. */
  readonly seed?: number | string
  /** Hears each step. */
  readonly onProgress?: OnProgress
  /** Aborts between two steps. */
  readonly signal?: AbortSignal
}

/** How the gate ended up choosing over the rows. */
export interface Selection {
  /** Mean weight of each source. */
  readonly usage: readonly number[]
  /** Entropy of the mean weights, in nats. */
  readonly entropy: number
  /** How many sources are heard in a row, on average. */
  readonly heard: number
  /** The share of rows in which g is greatest for the source with the lowest loss. */
  readonly hit: number
}

/** What the gate is told: [batch, sources]. */
const scoresOf = (
  rows: readonly TaughtExample[],
  standardise: boolean,
): ((batch: Batch<Tensor>) => Tensor) => {
  if (!standardise) return ({ teacherLosses }) => teacherLosses.neg().exp()
  const losses = rows.flatMap(({ sources }) => sources.map(({ loss }) => loss)).filter(Number.isFinite)
  const mean = losses.reduce((sum, l) => sum + l, 0) / losses.length
  const deviation = Math.sqrt(losses.reduce((sum, l) => sum + (l - mean) ** 2, 0) / losses.length)
  return ({ teacherLosses }) =>
    teacherLosses
      .minimum(mean + 10 * deviation)
      .sub(mean)
      .div(-(deviation || 1))
}

/** A model with parameters beside its own, which train with it. */
const beside = (model: Model, extra: Parameters<Value>): Model => ({
  ...model,
  parameters: { ...model.parameters, ...extra },
  with: (values) => {
    const part = (own: boolean): Record<string, Value> =>
      Object.fromEntries(Object.entries(values).filter(([name]) => isGate(name) !== own))
    return beside(model.with(part(true)), part(false))
  },
})

/**
 * Mean of -ln P[y], the fused target's surprise at the labels, over the tokens that count and that a source has spoken
 * about. What stands in a source's place is no certainty of its own: the others' weights share what it leaves.
 * weights: [batch, sources] -> [].
 */
export const surprise = (batch: Batch<Tensor>, weights: Tensor): Tensor => {
  const { teacherGold: gold, teacherSpoken: spoken } = batch
  const speaking = spoken.mul(weights.unsqueeze(1))
  const said = speaking.sum(2)
  const likelihood = gold.mul(speaking).sum(2).div(said.maximum(1e-9)).maximum(1e-9)
  const counted = countedOf(batch).mul(spoken.max(2))
  return likelihood.log().mul(counted).sum().neg().div(counted.sum().maximum(1))
}

/** What the gate follows: see `gateLoss`. */
const gateLossOf = (
  target: Model,
  scores: (batch: Batch<Tensor>) => Tensor,
  {
    labels,
    balance,
    threshold,
    gateLoss,
    divergence,
  }: Required<Pick<FusionXSettings, 'labels' | 'balance' | 'threshold' | 'gateLoss' | 'divergence'>>,
): LossFunction => {
  const heard: SourceWeights = (batch, parameters) => kept(gate(parameters, scores(batch)), threshold)
  return (parameters, batch, trace) => {
    const g = gate(parameters, scores(batch))
    const weights = gateLoss === 'gold' ? g : kept(g, threshold)
    const balanced = imbalance(weights).mul(balance)
    if (gateLoss === 'paper') {
      const { loss } = fusionLoss(target, labels, heard, divergence)(parameters, batch, trace)
      return { loss: loss.add(balanced) }
    }
    return { loss: surprise(batch, weights).add(balanced) }
  }
}

/**
 * The target after learning `rows` from their labels and their sources, and how these were chosen. The gate is dropped.
 * The target given stays as it was; it must train whole. `rows[i].sources` is [sources], the same ones in every row.
 */
export const trainFusionX = async (
  target: Model,
  rows: readonly TaughtExample[],
  settings: FusionXSettings = {},
): Promise<{ model: Model; selection: Selection; loss: number }> => {
  const sources = rows[0].sources.length
  const { labels = 0.5, balance = 0.05, threshold = 0.75 / sources, gateLoss = 'gold' } = settings
  const { divergence = 'cross-entropy' } = settings
  const { gateRate = 1e-2, learningRate = 1e-5, batch = 8, seed = 0, signal, onProgress } = settings
  const scores = scoresOf(rows, settings.standardise ?? false)
  const weights: SourceWeights = (b, parameters) => kept(gate(parameters, scores(b)), threshold)
  const optimizer = adamW({ betas: [0.9, 0.99] })
  const objectives: Objective[] = [
    { loss: fusionLoss(target, labels, weights, divergence), optimizer, moves: (name) => !isGate(name) },
    {
      loss: gateLossOf(target, scores, { labels, balance, threshold, gateLoss, divergence }),
      ...{ optimizer, moves: isGate, rateScale: gateRate / learningRate },
    },
  ]
  const start = beside(target, gateParameters(sources, seed))
  const steps = settings.steps ?? Math.ceil(rows.length / batch)
  const { state, loss } = await fit(start, taughtBatches(rows, { batch, seed }), {
    objectives,
    ...{ steps, learningRate, schedule: 'warmup-cosine', clip: 1, signal, onProgress },
  })
  signal?.throwIfAborted()
  const own = Object.entries(state.parameters).filter(([name]) => !isGate(name))
  const gates = Object.fromEntries(Object.entries(state.parameters).filter(([name]) => isGate(name)))
  const selection = await selectionOf(rows, gates, (b, p) => gate(p, scores(b)), threshold)
  return { model: target.with(Object.fromEntries(own)), selection, loss }
}

const selectionOf = async (
  rows: readonly TaughtExample[],
  parameters: Parameters<Value>,
  choose: SourceWeights,
  threshold: number,
): Promise<Selection> => {
  interface Inputs {
    readonly parameters: Parameters<Tensor>
    readonly teacherLosses: Tensor
  }
  const program = byShape(({ parameters, teacherLosses }: Inputs) => {
    const g = choose({ teacherLosses }, parameters)
    const w = kept(g, threshold)
    const hit = g.argMax(1).equal(teacherLosses.argMin(1)).cast('float32').mean()
    return { usage: w.mean(0), heard: w.greater(0).cast('float32').sum(1).mean(), hit }
  })
  // Distributions are not needed here, and would be large.
  const short = rows.map((row): TaughtExample => ({
    ...{ ids: [0, 0], labels: [0, 0] },
    sources: row.sources.map(({ loss }) => ({
      ids: none,
      probabilities: zero,
      gold: zero,
      spoken: one,
      loss,
    })),
  }))
  const { teacherLosses } = taughtBatch(short, 2)
  const { usage, heard, hit } = await program({ parameters, teacherLosses })
  const numbers = async (v: Value): Promise<number[]> => Array.from(await v.read(), Number)
  const shares = await numbers(usage)
  const entropy = -shares.reduce((sum, p) => sum + (p > 0 ? p * Math.log(p) : 0), 0)
  return { usage: shares, entropy, heard: (await numbers(heard))[0], hit: (await numbers(hit))[0] }
}

const none = new Int32Array(1)
const zero = new Float32Array(1)
const one = new Uint8Array(1).fill(1)
