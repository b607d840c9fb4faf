/**
 * @file Which triplets AdaLoRA keeps: the sensitivity |w g| of every number and how uncertain it is, as running means in slots
 * beside the optimiser's (Zhang et al. 2023, equations 8 to 12), and a budget that falls by a cubic (equation 13).
 */
import { UsageError } from '../../errors.js'
import { type Spec, type Tensor, value, type Value, zerosValue } from '../../tensor/index.js'
import type { Optimizer, OptimizerState, Training, TrainingCourse, TrainingState } from '../../train/index.js'

export interface Allocation {
  /** Mean number of triplets a module at the end. Default 8. */
  readonly target: number
  /** Steps before anything is pruned. Default: a tenth of them. */
  readonly initialSteps?: number
  /** Steps after everything is pruned. Default: three tenths. */
  readonly finalSteps?: number
  /** Steps from one pruning to the next. Default 1. */
  readonly interval: number
  /** Length of the schedule. Default: of the run. */
  readonly totalSteps?: number
  /** β₁ of the sensitivities' running mean, and β₂ of their uncertainty's. Default 0.85. */
  readonly sensitivityDecay: number
  readonly uncertaintyDecay: number
}

/** Names of a module's Q: [r, in], λ: [r, 1] and P: [out, r]. */
export interface TripletNames {
  readonly A: string
  readonly E: string
  readonly B: string
}

type Slots<T> = Readonly<Record<string, T>>

/** `usual` with slots for the sensitivity of every number, its uncertainty, and (of λ) which triplets are kept. */
export const scored = (usual: Optimizer, sites: readonly TripletNames[], o: Allocation): Optimizer => {
  const mine = new Set(sites.flatMap(({ A, E, B }) => [A, E, B]))
  const values = new Set(sites.map(({ E }) => E))
  const b1 = o.sensitivityDecay
  const b2 = o.uncertaintyDecay
  const first = (name: string, { shape }: Spec): Slots<Value> => ({
    sensitivity: zerosValue(shape, 'float32'),
    uncertainty: zerosValue(shape, 'float32'),
    ...(values.has(name) && { kept: value(new Float32Array(shape[0]).fill(1), shape, 'float32') }),
  })
  const next = (p: Tensor, g: Tensor, { sensitivity, uncertainty, kept }: Slots<Tensor>): Slots<Tensor> => {
    const now = p.mul(g).abs()
    const mean = sensitivity.mul(b1).add(now.mul(1 - b1))
    const spread = uncertainty.mul(b2).add(
      now
        .sub(mean)
        .abs()
        .mul(1 - b2),
    )
    return { sensitivity: mean, uncertainty: spread, ...(kept && { kept }) }
  }
  const withMine = <T>(state: OptimizerState<T>, of: (name: string) => Slots<T>): OptimizerState<T> =>
    Object.fromEntries(
      Object.entries(state).map(([name, slots]) => [
        name,
        mine.has(name) ? { ...slots, ...of(name) } : slots,
      ]),
    )
  return {
    ...usual,
    init: (parameters) => withMine(usual.init(parameters), (name) => first(name, parameters[name])),
    update(parameters, gradients, state, scalars) {
      const updated = usual.update(parameters, gradients, state, scalars)
      const slots = withMine(updated.state, (name) => next(parameters[name], gradients[name], state[name]))
      return { parameters: updated.parameters, state: slots }
    },
  }
}

/** A schedule with everything decided. */
interface Schedule {
  readonly start: number
  /** The last step that prunes; from then on what was kept stays. */
  readonly end: number
  readonly interval: number
}

/** Throws UsageError where no step is left to prune in. */
const scheduleOf = (o: Allocation, { steps }: TrainingCourse): Schedule => {
  const total = o.totalSteps ?? steps
  const start = o.initialSteps ?? Math.floor(0.1 * total)
  const end = total - (o.finalSteps ?? Math.floor(0.3 * total))
  if (start < end) return { start, end, interval: o.interval }
  throw new UsageError(
    'BadSchedule',
    `adalora: ${start} steps before pruning and ${total - end} after leave none of ${total} to prune in`,
    { hint: 'Give fewer initialSteps or finalSteps, or train longer.' },
  )
}

/** How many triplets may stay after `step` (1, 2, ...): it falls from `first` to `last` by a cubic. */
export const budgetAt = (step: number, { start, end }: Schedule, first: number, last: number): number => {
  if (step <= start) return first
  if (step >= end) return last
  return Math.floor((first - last) * (1 - (step - start) / (end - start)) ** 3 + last)
}

/** sensitivity times uncertainty of every number. */
const importance = async (slots: Slots<Value>): Promise<Float64Array> => {
  const [a, b] = await Promise.all([slots.sensitivity.read(), slots.uncertainty.read()])
  return Float64Array.from(a as Float32Array, (x, i) => x * Number(b[i]))
}

/** Of each triplet of a module: that of λ, and the means of those of its row of Q and its column of P. */
const scores = async (slots: OptimizerState, { A, E, B }: TripletNames): Promise<Float64Array> => {
  const [a, e, b] = await Promise.all([A, E, B].map((name) => importance(slots[name])))
  const r = e.length
  const [width, out] = [a.length / r, b.length / r]
  return e.map((score, i) => {
    let [row, column] = [0, 0]
    for (let j = 0; j < width; j++) row += a[i * width + j]
    for (let j = 0; j < out; j++) column += b[j * r + i]
    return score + row / width + column / out
  })
}

/** Which of all triplets stay, by module. */
const chosen = async (
  slots: OptimizerState,
  sites: readonly TripletNames[],
  budget: number,
): Promise<boolean[][]> => {
  const all = await Promise.all(sites.map((site) => scores(slots, site)))
  const order = all.flatMap((list, site) => Array.from(list, (score, i) => ({ site, i, score })))
  // Where scores are equal the earlier one stays, so that the same run always keeps the same.
  order.sort((a, b) => b.score - a.score || a.site - b.site || a.i - b.i)
  const kept = all.map((list) => Array.from(list, () => false))
  for (const { site, i } of order.slice(0, budget)) kept[site][i] = true
  return kept
}

/** What stands between the steps. */
export const triplets = (
  sites: readonly TripletNames[],
  o: Allocation,
): Pick<Training, 'inputs' | 'between'> => {
  const zero = async (state: TrainingState, E: string, kept: ArrayLike<number | boolean>): Promise<void> => {
    const before = state.parameters[E]
    const numbers = (await before.read()) as Float32Array
    const after = numbers.map((x, i) => (kept[i] ? x : 0))
    state.parameters[E] = value(after, before.shape, 'float32')
  }
  const prune = async (state: TrainingState, schedule: Schedule): Promise<void> => {
    const first = sites.reduce((n, { E }) => n + state.parameters[E].shape[0], 0)
    const last = Math.min(first, o.target * sites.length)
    const [slots, ...others] = state.optimizers
    const kept = await chosen(slots, sites, budgetAt(state.step, schedule, first, last))
    const changed: Record<string, Slots<Value>> = { ...slots }
    for (const [i, { E }] of sites.entries()) {
      await zero(state, E, kept[i])
      changed[E] = {
        ...slots[E],
        kept: value(Float32Array.from(kept[i], Number), slots[E].kept.shape, 'float32'),
      }
    }
    state.optimizers = [changed, ...others]
  }
  return {
    inputs(_state, course) {
      scheduleOf(o, course)
      return {}
    },
    async between(state, taken) {
      const schedule = scheduleOf(o, taken)
      const { step } = state
      if (step > schedule.end)
        for (const { E } of sites)
          await zero(state, E, (await state.optimizers[0][E].kept.read()) as Float32Array)
      else if (step === schedule.end || (step > schedule.start && step % schedule.interval === 0))
        await prune(state, schedule)
    },
  }
}
