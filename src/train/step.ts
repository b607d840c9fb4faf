/**
 * @file The training step: forward, backward and optimiser as one program, or (when memory rules, or gradients are
 * accumulated) a gradient program and an update program a tensor. Its outputs are the next step's inputs.
 */
import {
  type CompileOptions,
  dispose,
  RandomStreams,
  sizeOf,
  type Tensor,
  type Value,
} from '../tensor/index.js'
import { byShape } from './by-shape.js'
import type { Batch } from './loss.js'
import {
  addSums,
  applyUpdate,
  differentiate,
  movedBy,
  type Objective,
  type Scale,
  scaleOf,
  scalarValues,
  type Sums,
  type TrainingState,
  type Update,
} from './objective.js'
import type { OptimizerState } from './optimizer.js'

/** Settings of a step's program. */
export interface StepOptions extends CompileOptions {
  /** Scale each objective's gradient down to at most this global norm. Default: no clipping. */
  readonly clip?: number
  /**
   * `fused`: one program, the fastest. `lean`: a gradient program, then one update a tensor, after which its gradient
   * is dropped: the least memory. Default: fused below 40 million parameters.
   */
  readonly memory?: 'fused' | 'lean'
}

/** Numbers that each step is given. */
export interface StepInputs {
  readonly learningRate: number
  /** Seed of dropout's bytes, together with the step. Default 0. */
  readonly seed?: number | string
}

/** Measures of a step. */
export interface StepResult {
  /** Means before the step over all micro-batches, one an objective. */
  readonly losses: readonly number[]
  /** How many labels they are means over. */
  readonly weights: readonly number[]
  /** The first objective's metrics, and `gradientNorm` (before clipping) when gradients are clipped. */
  readonly metrics: Readonly<Record<string, number>>
}

/**
 * Takes one step: it changes `state`. `batches`: one, or several whose gradients are accumulated as if they were one
 * (each counts by its number of labels). Programs are compiled for each new shape of batch. On a GPU, values of the state
 * that a step replaces are freed if a step made them: read what you would keep.
 */
export type Step = (
  state: TrainingState,
  batches: Batch | readonly Batch[],
  inputs: StepInputs,
) => Promise<StepResult>

/** Beyond this many parameters a copy of all of them weighs more than the calls of the lean way. */
const leanFrom = 40_000_000

/** The step of these objectives. Each one's gradient is taken at the parameters before the step. */
export const makeStep = (objectives: readonly Objective[], options: StepOptions = {}): Step => {
  const [fused, lean] = [fusedStep(objectives, options), leanStep(objectives, options)]
  return (state, batches, inputs) => {
    const all = Array.isArray(batches) ? (batches as readonly Batch[]) : [batches as Batch]
    const size = Object.values(state.parameters).reduce((n, p) => n + sizeOf(p.shape), 0)
    const memory = options.memory ?? (size < leanFrom ? 'fused' : 'lean')
    return all.length === 1 && memory === 'fused' ? fused(state, all[0], inputs) : lean(state, all, inputs)
  }
}

interface FusedInputs<T> {
  readonly parameters: Record<string, T>
  readonly optimizers: OptimizerState<T>[]
  readonly batch: Batch<T>
  readonly scalars: Record<string, T>[]
}

const fusedStep = (objectives: readonly Objective[], options: StepOptions) => {
  const program = byShape(({ parameters, optimizers, batch, scalars }: FusedInputs<Tensor>) => {
    const random = new RandomStreams()
    return objectives.map((objective, i) => {
      const { gradients, ...sums } = differentiate(objective, parameters, batch, random, false)
      const { scale, norm } = scaleOf({ gradients, ...sums }, options.clip, false)
      const given = { parameters: movedBy(objective, parameters), gradients, scale }
      const next = applyUpdate(objective.optimizer, { ...given, state: optimizers[i], scalars: scalars[i] })
      return { ...sums, norm, parameters: { ...next.parameters }, state: { ...next.state } }
    })
  }, options)
  // What each state was last given. Freed when it is replaced, for a GPU's sake: its memory fills unseen by the collector.
  const given = new WeakMap<TrainingState, unknown>()
  return async (
    state: TrainingState,
    batch: Batch,
    { learningRate, seed }: StepInputs,
  ): Promise<StepResult> => {
    const scalars = objectives.map((o) => scalarValues(o, state.step, learningRate))
    const { parameters, optimizers, step } = state
    const results = await program({ parameters, optimizers, batch, scalars }, { seed, step })
    const moved = results.flatMap((r) => [r.parameters, r.reported])
    state.parameters = Object.assign({}, parameters, ...moved)
    state.optimizers = results.map((r) => r.state)
    state.step++
    dispose(given.get(state))
    given.set(state, { moved, optimizers: state.optimizers })
    return resultOf(results, results)
  }
}

interface GradientInputs<T> {
  readonly parameters: Record<string, T>
  readonly batch: Batch<T>
  /** Of the micro-batches before. */
  readonly before?: Sums<T>[]
}

const leanStep = (objectives: readonly Objective[], options: StepOptions) => {
  const gradientOf = (weighted: boolean) =>
    byShape(({ parameters, batch, before }: GradientInputs<Tensor>) => {
      const random = new RandomStreams()
      return objectives.map((objective, i) => {
        const sums = differentiate(objective, parameters, batch, random, weighted)
        return before ? addSums(sums, before[i]) : sums
      })
    }, options)
  const scalesOf = (weighted: boolean) =>
    byShape((sums: Sums<Tensor>[]) => sums.map((s) => scaleOf(s, options.clip, weighted)), options)
  const updates = objectives.map(({ optimizer }) =>
    byShape((inputs: Update<Tensor>) => applyUpdate(optimizer, inputs), options),
  )
  const gradients = { mean: gradientOf(false), weighted: gradientOf(true) }
  const scales = { mean: scalesOf(false), weighted: scalesOf(true) }

  return async (
    state: TrainingState,
    batches: readonly Batch[],
    { learningRate, seed }: StepInputs,
  ): Promise<StepResult> => {
    const kind = batches.length > 1 ? 'weighted' : 'mean'
    let sums: Sums<Value>[] | undefined
    for (const [i, batch] of batches.entries()) {
      const inputs = { parameters: state.parameters, batch, before: sums }
      sums = await gradients[kind](inputs, { seed, step: state.step * batches.length + i })
      for (const { reported } of sums) Object.assign(state.parameters, reported)
    }
    const needed = kind === 'weighted' || options.clip !== undefined
    const scale: Scale<Value>[] = needed ? await scales[kind](sums!) : []
    for (const [i, objective] of objectives.entries()) {
      const scalars = scalarValues(objective, state.step, learningRate)
      const { gradients: left } = sums![i]
      for (const name of bySize(left)) {
        const next = await updates[i]({
          parameters: { [name]: state.parameters[name] },
          gradients: { [name]: left[name] },
          state: { [name]: state.optimizers[i][name] },
          scalars,
          scale: scale[i]?.scale,
        })
        // Replaced one by one, so that no second copy of all of them is ever alive.
        state.parameters[name] = next.parameters[name]
        state.optimizers[i][name] = next.state[name]
        delete left[name]
      }
    }
    state.step++
    return resultOf(sums!, scale)
  }
}

/** Names of the tensors, the smallest first: when the largest is updated, the gradients of all others are gone. */
const bySize = (tensors: Readonly<Record<string, Value>>): string[] =>
  Object.keys(tensors).sort((a, b) => sizeOf(tensors[a].shape) - sizeOf(tensors[b].shape))

const numberOf = async (v: Value): Promise<number> => Number((await v.read())[0])

const resultOf = async (
  sums: readonly Omit<Sums<Value>, 'gradients'>[],
  scales: readonly Scale<Value>[],
): Promise<StepResult> => {
  const weights = await Promise.all(sums.map(({ weight }) => numberOf(weight)))
  const mean = async (sum: Value, i: number): Promise<number> => (await numberOf(sum)) / (weights[i] || 1)
  const losses = await Promise.all(sums.map(({ loss }, i) => mean(loss, i)))
  const metrics: Record<string, number> = {}
  for (const [name, sum] of Object.entries(sums[0]?.metrics ?? {})) metrics[name] = await mean(sum, 0)
  if (scales[0]?.norm) metrics.gradientNorm = await numberOf(scales[0].norm)
  return { losses, weights, metrics }
}
