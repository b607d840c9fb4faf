/**
 * @file Optimisers: pure pairs of `init` and `update`. An update is a graph, part of the training step's program; what
 * depends on the step alone (rates, bias corrections) is computed on the host in float64 and enters as scalars.
 */
import type { Parameters } from '../models/index.js'
import { type Spec, type Tensor, type Value, zerosValue } from '../tensor/index.js'

/** Tensors by parameter and slot: `state['lm_head.weight'].momentum`. */
export type OptimizerState<T = Value> = Readonly<Record<string, Readonly<Record<string, T>>>>

/** A rule by which gradients change parameters. */
export interface Optimizer {
  readonly name: string
  /** The numbers of step `step` (1, 2, ...) at `learningRate` that `update` reads. */
  scalars(step: number, learningRate: number): Readonly<Record<string, number>>
  /** The same with these groups before its own, where it knows groups: a method may ask for rates of its own. */
  grouped?(groups: readonly ParameterGroup[]): Optimizer
  /** The state before the first step. */
  init(parameters: Parameters<Spec>): OptimizerState
  /** One step. It treats every parameter by itself, so that it may also be called for some of them at a time. */
  update(
    parameters: Parameters<Tensor>,
    gradients: Parameters<Tensor>,
    state: OptimizerState<Tensor>,
    scalars: Readonly<Record<string, Tensor>>,
  ): { readonly parameters: Parameters<Tensor>; readonly state: OptimizerState<Tensor> }
}

/** Settings of some of the parameters; the first group that matches a name holds. */
export interface ParameterGroup {
  readonly match: (name: string) => boolean
  /** Multiplies the learning rate. Default 1. */
  readonly rateScale?: number
  /** Decay of their weights in place of the optimiser's. */
  readonly weightDecay?: number
}

interface GroupOptions {
  /** Default 0 (SGD), 0.01 (AdamW). */
  readonly weightDecay?: number
  readonly groups?: readonly ParameterGroup[]
}

interface Settings {
  readonly rateScale: number
  readonly weightDecay: number
}

type One<T> = Readonly<Record<string, T>>
type UpdateOne = (
  p: Tensor,
  g: Tensor,
  state: One<Tensor>,
  scalars: One<Tensor>,
  settings: Settings,
) => { readonly p: Tensor; readonly state: One<Tensor> }

/** An optimiser from the update of one parameter. */
const perParameter = (
  name: string,
  options: GroupOptions & { weightDecay: number },
  slots: readonly string[],
  scalars: Optimizer['scalars'],
  update: UpdateOne,
): Optimizer => ({
  name,
  scalars,
  grouped: (more) =>
    perParameter(name, { ...options, groups: [...more, ...(options.groups ?? [])] }, slots, scalars, update),
  init: (parameters) =>
    mapEntries(parameters, ({ shape, dtype }) =>
      Object.fromEntries(slots.map((slot) => [slot, zerosValue(shape, dtype)])),
    ),
  update(parameters, gradients, state, given) {
    const { groups = [], weightDecay } = options
    const results = mapEntries(parameters, (p, key) => {
      const group = groups.find(({ match }) => match(key))
      const settings = {
        rateScale: group?.rateScale ?? 1,
        weightDecay: group?.weightDecay ?? weightDecay,
      }
      return update(p, gradients[key], state[key], given, settings)
    })
    return { parameters: mapEntries(results, (r) => r.p), state: mapEntries(results, (r) => r.state) }
  },
})

const mapEntries = <T, U>(
  record: Readonly<Record<string, T>>,
  f: (x: T, key: string) => U,
): Record<string, U> => Object.fromEntries(Object.entries(record).map(([key, x]) => [key, f(x, key)]))

/** Settings of SGD. */
export interface SgdOptions extends GroupOptions {
  /** Default 0. */
  readonly momentum?: number
  /** Look ahead along the momentum (Nesterov). Default false. */
  readonly nesterov?: boolean
}

/** Stochastic gradient descent as PyTorch's: decay is added to the gradient, momentum m ← μ m + g. */
export const sgd = ({ momentum = 0, nesterov = false, ...options }: SgdOptions = {}): Optimizer =>
  perParameter(
    'sgd',
    { weightDecay: 0, ...options },
    momentum ? ['momentum'] : [],
    (_, learningRate) => ({ learningRate }),
    (p, gradient, state, { learningRate }, { rateScale, weightDecay }) => {
      const g = weightDecay ? gradient.add(p.mul(weightDecay)) : gradient
      const rate = scaled(learningRate, rateScale)
      if (!momentum) return { p: p.sub(g.mul(rate)), state }
      const m = state.momentum.mul(momentum).add(g)
      return { p: p.sub((nesterov ? g.add(m.mul(momentum)) : m).mul(rate)), state: { momentum: m } }
    },
  )

/** Settings of AdamW. */
export interface AdamWOptions extends GroupOptions {
  /** Decay of the two moments. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number]
  /** Number that keeps the denominator from zero. Default 1e-8. */
  readonly epsilon?: number
  /**
   * Whether ε joins √v before its bias is corrected, as in the second form of the paper (Kingma & Ba 2015, end of
   * section 2) and in TensorFlow: ε weighs more in the first steps. Default false: after, as in PyTorch.
   */
  readonly epsilonBeforeCorrection?: boolean
}

/**
 * AdamW (Loshchilov & Hutter 2019) as PyTorch's: p ← p (1 - η λ), then p ← p - η / (1 - β₁ᵗ) · m / (√(v / (1 - β₂ᵗ)) + ε).
 * Slots `m` and `v` are the moments of the gradient.
 */
export const adamW = ({
  betas: [beta1, beta2] = [0.9, 0.999],
  epsilon = 1e-8,
  epsilonBeforeCorrection = false,
  ...options
}: AdamWOptions = {}): Optimizer =>
  perParameter(
    'adamw',
    { weightDecay: 0.01, ...options },
    ['m', 'v'],
    // With the root of v's correction taken out of the fraction, so that it costs no pass over the parameters.
    (step, learningRate) => {
      const correction = Math.sqrt(1 - beta2 ** step)
      const stepSize = (learningRate * correction) / (1 - beta1 ** step)
      return { learningRate, stepSize, floor: epsilonBeforeCorrection ? epsilon : epsilon * correction }
    },
    (p, g, state, { learningRate, stepSize, floor }, { rateScale, weightDecay }) => {
      const m = state.m.mul(beta1).add(g.mul(1 - beta1))
      const v = state.v.mul(beta2).add(g.square().mul(1 - beta2))
      const kept = weightDecay ? p.mul(scaled(learningRate, rateScale).mul(-weightDecay).add(1)) : p
      const direction = m.div(v.sqrt().add(floor))
      return { p: kept.sub(direction.mul(scaled(stepSize, rateScale))), state: { m, v } }
    },
  )

const scaled = (rate: Tensor, scale: number): Tensor => (scale === 1 ? rate : rate.mul(scale))
