/**
 * @file What Poly and MHR share: an inventory of S skills, each a pair of low-rank factors, and a router whose row for a
 * task says how they are mixed, for each of h parts (splits) of a module's inputs and outputs by itself. A: [h, S, in / h, r],
 * B: [h, S, r, out / h], logits: [tasks, h S]. The factors are averaged first, so that a row of a batch passes one pair:
 * W x + (1 / r) B̄ Ā x.
 */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import { type RandomStreams, type Tensor, tensor, where } from '../../tensor/index.js'
import type { Batch } from '../../train/index.js'
import type { Initial } from './initial.js'
import { requireRank, type Site } from '../../models/sites.js'
import {
  commonOptions,
  type CommonOptions,
  type LoraFactors,
  type Named,
  type ParameterSpec,
  type SiteContext,
} from './spec.js'

/** Options of an inventory of skills with a router. */
export interface RoutedOptions extends Omit<CommonOptions, 'bias'> {
  /** Rank r of each skill. */
  readonly rank: number
  /** Number of tasks that the router has rows for. Default 1. */
  readonly tasks: number
  /** Number S of skills. */
  readonly skills: number
  /** Number h of parts of inputs and outputs that choose skills by themselves. */
  readonly splits: number
  /** Task of batches that hold no `taskIds`, and of what is exported; it is not saved. Default: 0 where that is the only one. */
  readonly task?: number
}

const count = z.number().int().positive()

/** The schema of `RoutedOptions` with these defaults. */
export const routedOptions = (defaults: Pick<RoutedOptions, 'rank' | 'skills' | 'splits'>): z.ZodObject =>
  commonOptions.omit({ bias: true }).extend({
    rank: count.default(defaults.rank).describe('rank r of each skill'),
    tasks: count.default(1).describe('how many tasks there are; records say theirs in "task", from 0'),
    skills: count.default(defaults.skills).describe('how many skills they share'),
    splits: count
      .default(defaults.splits)
      .describe('parts of inputs and outputs that choose skills by themselves'),
    task: z.number().int().nonnegative().optional().describe('the task where a batch names none'),
  })

/** Settings of an inventory at a module. `router`: the name under which it finds its logits. */
export interface RoutedSettings extends Pick<RoutedOptions, 'rank' | 'tasks' | 'skills' | 'splits' | 'task'> {
  readonly method: string
  readonly router: string
}

/** The error of a task that there is not; `hint`: what else to do than to say another. */
export const noSuchTask = (
  method: string,
  what: string,
  tasks: number,
  hint = 'Make the router larger (tasks), or give a trained inventory a row for a new task: adapt mhr with inventory.',
): UsageError =>
  new UsageError(
    'NoSuchTask',
    `${method}: ${what}: there ${tasks === 1 ? 'is 1 task' : `are ${tasks} tasks`}`,
    { hint: `Tasks count from 0 to ${tasks - 1}. ${hint}` },
  )

/**
 * What the options come to at a module, whose skills are cut along these sides. Throws UsageError for splits that do not
 * divide them, a rank that the weight cannot have, and a task that there is not.
 */
export const routedSettings = (
  method: string,
  { rank, tasks, skills, splits, task }: RoutedOptions,
  site: Site,
  { router = 'logits', sides = ['in', 'out'] }: RoutedPlace = {},
): RoutedSettings => {
  // Skills of the output's side alone are vectors, which have no rank.
  if (sides.includes('in')) requireRank(method, rank, site)
  if (task !== undefined && task >= tasks) throw noSuchTask(method, `task ${task}`, tasks)
  if (sides.some((side) => site[side] % splits))
    throw new UsageError(
      'BadSplits',
      `${method}: ${splits} splits do not divide ${site.name}, whose weight is ${site.out} x ${site.in}`,
      { hint: 'Choose a number that divides all widths (splits), or leave the module out (exclude).' },
    )
  return { method, router, rank, tasks, skills, splits, task }
}

/** Where an inventory finds its router, and the sides of a weight along which its skills are cut. */
export interface RoutedPlace {
  /** Name of the logits among the module's parameters. Default 'logits'. */
  readonly router?: string
  /** Sides that splits divide. Default both. */
  readonly sides?: readonly ('in' | 'out')[]
}

/** Throws UsageError for the first row of a batch whose task there is not. */
export const checkTasks =
  (method: string, hint?: string) =>
  ({ taskIds }: Batch, { tasks }: Pick<RoutedOptions, 'tasks'>): void => {
    if (!taskIds || !('data' in taskIds)) return
    const ids = Array.from(taskIds.data, Number)
    const row = ids.findIndex((id) => !(Number.isInteger(id) && id >= 0 && id < tasks))
    if (row >= 0)
      throw noSuchTask(
        method,
        `row ${row} of the batch is of ${ids[row] < 0 ? 'no task' : `task ${ids[row]}`}`,
        tasks,
        hint,
      )
  }

/** The shapes and beginnings of a module's skills. */
export const skillSpecs = (
  { in: width, out }: Site,
  { rank, skills, splits }: RoutedSettings,
  { A, B }: Record<'A' | 'B', Initial>,
): Record<'A' | 'B', ParameterSpec> => ({
  A: { key: 'poly_lora_A', shape: [splits, skills, width / splits, rank], initial: A },
  B: { key: 'poly_lora_B', shape: [splits, skills, rank, out / splits], initial: B },
})

/** The task of each row: [batch], or [1] where all are of one. */
export const tasksOfRows = (
  { method, tasks, task }: Pick<RoutedSettings, 'method' | 'tasks' | 'task'>,
  askedTasks: Tensor | undefined,
): Tensor => {
  // A negative index would count from the end: made too large, it is refused as those are.
  if (askedTasks) return where(askedTasks.less(0), tasks, askedTasks)
  if (task === undefined && tasks > 1)
    throw new UsageError('NoTask', `${method}: nothing says which of ${tasks} tasks a row is of`, {
      hint: 'Batches say it in taskIds ([batch] int32), records in "task"; or choose one for all (task).',
    })
  return tensor([task ?? 0], [1], 'int32')
}

/** Numbers in (0, 1), of 16 random bits each. */
const uniformNumbers = (random: RandomStreams, shape: readonly number[]): Tensor => {
  const high = random.bytes(shape).cast('float32')
  const low = random.bytes(shape).cast('float32')
  return high.mul(256).add(low).add(0.5).div(65_536)
}

/**
 * The share that each row's task gives each skill, in each split: sigmoid(Z) / Σ sigmoid(Z), with `random` of a sample of the relaxed
 * Bernoulli distribution. ids: [batch] -> [splits, batch, skills]; of every split the sum is 1.
 */
const mixture = (logits: Tensor, s: RoutedSettings, ids: Tensor, random?: RandomStreams): Tensor => {
  const rows = logits.gather(ids, 0).reshape([-1, s.splits, s.skills])
  const u = random && uniformNumbers(random, rows.shape)
  const chosen = (u ? rows.add(u.log()).sub(u.neg().add(1).log()) : rows).sigmoid()
  return chosen.div(chosen.sum(-1, { keep: true }).add(1e-12)).transpose([1, 0, 2])
}

/** What each row's task gives each skill, in each split. taskIds: [batch], absent for the options' task -> [splits, batch, skills]. */
export const mixtureOf = (
  p: Named<Tensor>,
  s: RoutedSettings,
  taskIds: Tensor | undefined,
  random?: RandomStreams,
): Tensor => mixture(p[s.router], s, tasksOfRows(s, taskIds), random)

/** Averages over skills. factors: [splits, skills, a, b], weights: [splits, batch, skills] -> [splits, batch, a, b]. */
const averaged = (factors: Tensor, weights: Tensor): Tensor => {
  const [splits, skills, a, b] = factors.shape
  const flat = weights.matmul(factors.reshape([splits, skills, a * b]))
  return flat.reshape([splits, weights.shape[1], a, b])
}

/** The factors of each row's task, their splits laid end to end. weights: [splits, batch, skills] -> [batch, in, r], [batch, r, out]. */
const combined = ({ A, B }: Named<Tensor>, { splits, rank }: RoutedSettings, weights: Tensor) => {
  const rows = weights.shape[1]
  return {
    A: averaged(A, weights)
      .transpose([1, 0, 2, 3])
      .reshape([rows, splits * A.shape[2], rank]),
    B: averaged(B, weights)
      .transpose([1, 2, 0, 3])
      .reshape([rows, rank, splits * B.shape[3]]),
  }
}

/** The module's output with the update. x: [batch, ..., in], y: [batch, ..., out]. `random` samples the skills. */
export const routed = (
  y: Tensor,
  x: Tensor,
  p: Named<Tensor>,
  s: RoutedSettings,
  { input }: SiteContext,
  random?: RandomStreams,
): Tensor => {
  const weights = mixtureOf(p, s, input('taskIds'), random)
  const { A, B } = combined(p, s, weights)
  const tokens = x.reshape([x.shape[0], -1, x.shape[x.rank - 1]])
  return y.add(tokens.matmul(A).matmul(B).div(s.rank).reshape(y.shape))
}

/** The update of the options' task, as LoRA. Throws UsageError where it has not been chosen. */
export const routedLora = (p: Named<Tensor>, s: RoutedSettings): LoraFactors => {
  const { A, B } = combined(p, s, mixtureOf(p, s, undefined))
  const [, width, rank] = A.shape
  return { A: A.reshape([width, rank]).t(), B: B.reshape([rank, -1]).t(), alpha: 1 }
}
