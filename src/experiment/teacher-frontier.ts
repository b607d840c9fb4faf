/**
 * @file What reproductions of sparse tuning measure: a network that knows one teacher is adapted to another, at the best of
 * some learning rates, and asked on the way how well it knows either. Two runs compare fairly only where they know the
 * target equally well.
 */
import type { Model } from '../models/index.js'
import { curve, type MeasureContext, pareto, type Plot, type Sizes } from '../papers/index.js'
import { heldBatches, teacherBatches, teacherTask } from './teacher-task.js'
import { halfLinear, trainedNumbers } from './training.js'
import { adamW, type Batch, evaluator, fit } from '../train/index.js'

/** Sizes of an experiment on the frontier of source and target. */
export interface FrontierSize {
  readonly network: { readonly blocks: number; readonly width: number; readonly steps: number }
  readonly steps: number
  /** Batches to evaluate on. */
  readonly held: number
  /** Steps between evaluations. */
  readonly every: number
  /** How many learning rates are tried, of each arm's the last. */
  readonly rates: number
}

/** Sizes of the quick and the full form. */
export const frontierSizes: Sizes<FrontierSize> = {
  quick: { network: { blocks: 1, width: 16, steps: 60 }, steps: 20, held: 2, every: 10, rates: 1 },
  full: { network: { blocks: 6, width: 64, steps: 1500 }, steps: 400, held: 16, every: 20, rates: 2 },
}

/** The same inputs with other labels, or another teacher on inputs that are shifted. */
export type Target = 'conflicting' | 'newDomain'

/** The loss on the target at which arms are compared; one that does not get there is taken at its end. */
const matched: Readonly<Record<Target, number>> = { conflicting: 1.5, newDomain: 1.6 }

/** Arm of an experiment on the frontier: how the base is adapted, and the learning rates that are tried. */
export interface FrontierArm {
  adapt(
    base: Model,
    context: { readonly seed: number; readonly calibration: readonly Batch[] },
  ): Promise<Model>
  readonly rates: readonly number[]
}

interface Point {
  readonly target: number
  readonly source: number
}

/** The loss on the source where that on the target first falls to `level`, between evaluations on a straight line. */
const sourceAt = (points: readonly Point[], level: number): number => {
  const i = points.findIndex(({ target }) => target <= level)
  if (i < 0) return points[points.length - 1].source
  if (i === 0) return points[0].source
  const [a, b] = [points[i - 1], points[i]]
  const share = (a.target - level) / (a.target - b.target)
  return a.source + share * (b.source - a.source)
}

interface Outcome {
  readonly points: readonly Point[]
}

const lossesOf = async (target: Target, { seed, size, signal, once }: MeasureContext<FrontierSize>) => {
  const task = await once('teacher task', () => teacherTask(seed, { ...size.network, signal }))
  const to = task[target]
  const shift = target === 'newDomain' ? 4 : 0
  const adapting = teacherBatches(to, { batch: 128, seed: `${target} ${seed}`, shift })
  const held = heldBatches(
    teacherBatches(to, { batch: 128, seed: `held ${target} ${seed}`, shift }),
    size.held,
  )
  const kept = heldBatches(teacherBatches(task.source, { batch: 128, seed: `held ${seed}` }), size.held)
  return { base: task.base, adapting, held, kept }
}

const run = async (
  start: Model,
  rate: number,
  { adapting, held, kept }: Awaited<ReturnType<typeof lossesOf>>,
  { signal, seed, size }: MeasureContext<FrontierSize>,
): Promise<Outcome> => {
  // One evaluator, so that one program is compiled.
  let asked = held
  const evaluation = evaluator(start, () => asked)
  const lossOn = async (batches: Batch[], parameters: Model['parameters']): Promise<number> => {
    asked = batches
    return (await evaluation(parameters)).loss
  }
  const points: Point[] = []
  const look = async (parameters: Model['parameters']): Promise<void> => {
    points.push({ target: await lossOn(held, parameters), source: await lossOn(kept, parameters) })
  }
  await look(start.parameters)
  await fit(start, adapting, {
    steps: size.steps,
    schedule: halfLinear(size.steps, rate),
    optimizer: adamW({ weightDecay: 0 }),
    seed,
    signal,
    hook: async ({ step, parameters }) => {
      if (step % size.every === 0) await look(parameters)
    },
  })
  signal?.throwIfAborted()
  return { points }
}

interface Frontier {
  /** What was adapted. */
  readonly base: Model
  readonly loss: number
  readonly source: number
  readonly kept: number
  readonly rate: number
  readonly parameters: number
}

/**
 * Of the run with the lowest final loss on the target: that loss, the loss on the source at the end (`source`) and when the
 * target's was `matched` (`kept`), and the rate; and how many numbers train. Logs the frontier as `target` and `source`.
 */
const onFrontier = async (
  arm: FrontierArm,
  target: Target,
  context: MeasureContext<FrontierSize>,
): Promise<Frontier> => {
  const { seed, size, log } = context
  const data = await lossesOf(target, context)
  const start = await arm.adapt(data.base, { seed, calibration: heldBatches(data.adapting, 4) })
  let best: (Outcome & { readonly rate: number }) | undefined
  const last = ({ points }: Outcome): Point => points[points.length - 1]
  for (const rate of arm.rates.slice(-size.rates)) {
    const outcome = await run(start, rate, data, context)
    if (!best || last(outcome).target < last(best).target) best = { ...outcome, rate }
  }
  best!.points.forEach((point, i) =>
    log({ step: i * size.every, [`${target} loss`]: point.target, [`${target} source loss`]: point.source }),
  )
  const { target: loss, source } = last(best!)
  const kept = sourceAt(best!.points, matched[target])
  return { base: data.base, loss, source, kept, rate: best!.rate, parameters: trainedNumbers(start) }
}

/** Numbers that train, and for both targets the losses that `onBothTargets` describes. */
export type FrontierMetrics = Readonly<
  Record<'parameters' | Target | `${Target}Source` | `${Target}Kept`, number>
>

/** Metrics of both targets: losses on the target and the source at the end, and on the source when the target's was matched. */
export const onBothTargets = async (
  arm: FrontierArm,
  context: MeasureContext<FrontierSize>,
): Promise<{ readonly base: Model; readonly metrics: FrontierMetrics }> => {
  const conflicting = await onFrontier(arm, 'conflicting', context)
  const shifted = await onFrontier(arm, 'newDomain', context)
  const metrics = {
    parameters: conflicting.parameters,
    conflicting: conflicting.loss,
    conflictingSource: conflicting.source,
    conflictingKept: conflicting.kept,
    newDomain: shifted.loss,
    newDomainSource: shifted.source,
    newDomainKept: shifted.kept,
  }
  return { base: conflicting.base, metrics }
}

/** The frontiers of both targets, and where the arms end. */
export const frontierPlots: readonly Plot[] = [
  curve({
    x: 'conflicting loss',
    y: 'conflicting source loss',
    title: 'Source against a conflicting target',
  }),
  curve({ x: 'newDomain loss', y: 'newDomain source loss', title: 'Source against a new domain' }),
  pareto({ x: 'conflictingSource', y: 'conflicting', title: 'Source and target at the end' }),
]
