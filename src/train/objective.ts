/** @file What a training step is made of: objectives, the state that steps change, and their graphs. */
import type { Parameters, Trace } from '../models/index.js'
import { WeftError } from '../errors.js'
import { type Tensor, type Value, valueAndGrad, valueOf } from '../tensor/index.js'
import type { Batch, LossFunction } from './loss.js'
import type { Optimizer, OptimizerState } from './optimizer.js'

/** A loss, and who follows its gradient. */
export interface Objective {
  readonly loss: LossFunction
  readonly optimizer: Optimizer
  /** Test for the names of parameters that it moves. Default all. No parameter may be moved by two. */
  readonly moves?: (name: string) => boolean
  /** Multiplies the learning rate. Default 1. */
  readonly rateScale?: number
}

/** Everything that a step changes. A step replaces what is in it; a hook between steps may too. */
export interface TrainingState {
  /** Steps done. */
  step: number
  parameters: Record<string, Value>
  /** One an objective. */
  optimizers: Record<string, Readonly<Record<string, Value>>>[]
}

type Named<T> = Record<string, T>

/** The parameters that an objective moves. */
export const movedBy = <T>({ moves }: Objective, parameters: Parameters<T>): Named<T> =>
  Object.fromEntries(Object.entries(parameters).filter(([name]) => moves?.(name) ?? true))

/** The state before the first step. Throws WeftError when two objectives move one parameter. */
export const initialState = (
  objectives: readonly Objective[],
  parameters: Parameters<Value>,
): TrainingState => {
  const moved = objectives.flatMap((o) => Object.keys(movedBy(o, parameters)))
  const twice = moved.find((name, i) => moved.indexOf(name) !== i)
  if (twice !== undefined)
    throw new WeftError('MovedTwice', `parameter '${twice}' is moved by several objectives`, {
      hint: "Give each objective its own parameters with 'moves'.",
    })
  return {
    step: 0,
    parameters: { ...parameters },
    optimizers: objectives.map((o) => ({ ...o.optimizer.init(movedBy(o, parameters)) })),
  }
}

/** Of one objective on one batch, or summed over several: everything but the weight is multiplied with the weight. */
export interface Sums<T> {
  readonly gradients: Named<T>
  readonly loss: T
  readonly weight: T
  readonly metrics: Named<T>
  /** What the model reports of its own parameters: running statistics, which replace them after the step. */
  readonly reported: Named<T>
}

/** Gradients, loss and metrics on one batch. `weighted` multiplies the gradients with the weight too. */
export const differentiate = (
  objective: Objective,
  parameters: Parameters<Tensor>,
  batch: Batch<Tensor>,
  random: Trace['random'],
  weighted: boolean,
): Sums<Tensor> => {
  const reports = new Map<string, Tensor>()
  const f = (own: Named<Tensor>) => {
    const {
      loss: mean,
      weight = mean.lift(1),
      metrics = {},
    } = objective.loss({ ...parameters, ...own }, batch, { random, reports })
    const sum = mean.mul(weight)
    return { loss: weighted ? sum : mean, sum, weight, metrics }
  }
  const { value, grads } = valueAndGrad(f)(movedBy(objective, parameters))
  const metrics = Object.entries(value.metrics).map(([name, mean]) => [name, mean.mul(value.weight)] as const)
  const reported = [...reports].filter(([name]) => Object.hasOwn(parameters, name))
  return {
    gradients: grads,
    loss: value.sum,
    weight: value.weight,
    metrics: Object.fromEntries(metrics),
    reported: Object.fromEntries(reported),
  }
}

const addNamed = (a: Named<Tensor>, b: Named<Tensor>): Named<Tensor> =>
  Object.fromEntries(Object.entries(a).map(([name, t]) => [name, t.add(b[name])]))

export const addSums = (a: Sums<Tensor>, b: Sums<Tensor>): Sums<Tensor> => ({
  gradients: addNamed(a.gradients, b.gradients),
  loss: a.loss.add(b.loss),
  weight: a.weight.add(b.weight),
  metrics: addNamed(a.metrics, b.metrics),
  reported: a.reported,
})

/** What gradients are multiplied with before the optimiser sees them (absent for 1), and their norm before clipping. */
export interface Scale<T> {
  readonly scale?: T
  readonly norm?: T
}

/**
 * The scale that makes weighted gradients a mean and clips it to the global norm `clip`, as PyTorch's clip_grad_norm_
 * does: min(1, clip / (norm + 1e-6)).
 */
export const scaleOf = (
  { gradients, weight }: Pick<Sums<Tensor>, 'gradients' | 'weight'>,
  clip: number | undefined,
  weighted: boolean,
): Scale<Tensor> => {
  const toMean = weighted ? weight.maximum(1e-30).reciprocal() : undefined
  const squares = Object.values(gradients).map((g) => g.square().sum())
  if (clip === undefined || squares.length === 0) return { scale: toMean }
  const length = squares.reduce((a, b) => a.add(b)).sqrt()
  const norm = toMean ? length.mul(toMean) : length
  const shrink = norm.add(1e-6).reciprocal().mul(clip).minimum(1)
  return { scale: toMean ? shrink.mul(toMean) : shrink, norm }
}

/** One optimiser's tensors: all of an objective's parameters, or some. */
export interface Update<T> {
  readonly parameters: Named<T>
  readonly gradients: Named<T>
  readonly state: OptimizerState<T>
  readonly scalars: Named<T>
  readonly scale?: T
}

export const applyUpdate = (
  optimizer: Optimizer,
  { parameters, gradients, state, scalars, scale }: Update<Tensor>,
): Pick<Update<Tensor>, 'parameters' | 'state'> => {
  const scaled = Object.entries(gradients).map(([name, g]) => [name, scale ? g.mul(scale) : g] as const)
  return optimizer.update(parameters, Object.fromEntries(scaled), state, scalars)
}

/** The numbers of the step that follows `step` steps, as inputs of its program. */
export const scalarValues = (
  { optimizer, rateScale = 1 }: Objective,
  step: number,
  learningRate: number,
): Named<Value> =>
  Object.fromEntries(
    Object.entries(optimizer.scalars(step + 1, learningRate * rateScale)).map(([name, x]) => [
      name,
      valueOf([x], []),
    ]),
  )
