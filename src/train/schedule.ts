/** @file Learning rate schedules: host functions of the step, whose value is an input of the training step's program. */
import { nearest, UsageError } from '../errors.js'

/** The learning rate of step `step`, counted from 0. */
export type Schedule = (step: number) => number

/** Settings of a schedule. */
export interface ScheduleOptions {
  /** The highest rate. */
  readonly learningRate: number
  /** How many steps the run has. */
  readonly steps: number
  /** Steps over which the rate rises from near 0 (step i of w has (i + 1) / w of it). Default 0. */
  readonly warmup?: number
  /** Rate that is left at the end, as a share of the highest. Default 0. */
  readonly floor?: number
}

/** How much of the rate is left after the share `done` (0 to 1) of the steps that follow the warm-up. */
const decays: Readonly<Record<ScheduleName, (done: number) => number>> = {
  constant: () => 1,
  warmup: () => 1,
  linear: (done) => 1 - done,
  'warmup-cosine': (done) => (1 + Math.cos(Math.PI * done)) / 2,
}

/** Name of a schedule. */
export type ScheduleName = 'constant' | 'warmup' | 'linear' | 'warmup-cosine'

/** Names of all schedules. */
export const scheduleNames = Object.keys(decays) as readonly ScheduleName[]

/**
 * The schedule `name`: `constant`; `warmup` (then constant); `linear` and `warmup-cosine`, which fall to `floor` at the
 * last step. All rise first when `warmup` says so; `warmup` and `warmup-cosine` do over 3 % of the steps by default.
 * Throws UsageError for a name that is none.
 */
export const schedule = (name: ScheduleName, options: ScheduleOptions): Schedule => {
  if (!Object.hasOwn(decays, name))
    throw new UsageError('UnknownSchedule', `no schedule is called '${name}'`, {
      hint: `Nearest: ${nearest(name, scheduleNames).join(', ')}.`,
    })
  const { learningRate, steps, floor = 0 } = options
  const warmup = options.warmup ?? (name.startsWith('warmup') ? Math.ceil(0.03 * steps) : 0)
  const decay = decays[name]
  return (step) => {
    if (step < warmup) return (learningRate * (step + 1)) / warmup
    const done = Math.min(1, (step - warmup) / Math.max(1, steps - warmup))
    return learningRate * (floor + (1 - floor) * decay(done))
  }
}
