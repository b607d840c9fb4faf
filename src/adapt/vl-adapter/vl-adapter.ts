/**
 * @file VL-Adapter (Sung et al. 2021, arXiv 2112.06825): serial adapters after every part of a block, of self-attention,
 * cross-attention and feed-forward, shared by several tasks in one of four ways: one adapter for all, one projection of two
 * for all, one a task, or all made by a network. Images come in by `withVision`, whose embedding trains with the adapters
 * and the norms.
 */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import type { Model } from '../../models/index.js'
import { type Tensor, where } from '../../tensor/index.js'
import type { Optimizer, Training } from '../../train/index.js'
import { adapter } from '../core/adapter.js'
import { classifiers } from '../core/plan.js'
import {
  type BottleneckOptions,
  bottleneckOptions,
  type BottleneckSettings,
  bottleneckSpec,
  type Projections,
} from '../core/bottleneck.js'
import { hyperMatrices, hyperSpecs, placeSpecs, type RowMatrices } from './hyperformer.js'
import { type Initial, uniformWithin, zeros } from '../core/initial.js'
import { checkTasks, noSuchTask, tasksOfRows } from '../core/routing.js'
import { type Site, sitesOf } from '../../models/sites.js'
import type { AdapterMethod, AdapterSpec, Named, ParameterSpec, Plan, SiteContext } from '../core/spec.js'
import { visualModule } from './vision.js'
import { card } from './card.js'

/** Options of VL-Adapter. */
export interface VlAdapterOptions extends BottleneckOptions {
  /** Number of tasks. Default 1. */
  readonly tasks: number
  /** Task of batches that hold no `taskIds`; it is not saved. Default: 0 where that is the only one. */
  readonly task?: number
  /**
   * Sharing among tasks. `single`: one adapter for all. `half`: one first projection for all, a second of each. `multiple`: one adapter a
   * task. `hyper`: all made by one network of embeddings of task and place. Default 'single'.
   */
  readonly sharing: 'single' | 'half' | 'multiple' | 'hyper'
  /** Beginning of the second projection: zero, so that nothing changes, or random as in the authors' code. Default 'zero'. */
  readonly initial: 'zero' | 'random'
  /** True to train the base's norms, and save them with the adapter. Default true. */
  readonly norms: boolean
}

interface Settings extends BottleneckSettings, Pick<VlAdapterOptions, 'tasks' | 'task' | 'sharing'> {
  readonly method: string
  readonly official: boolean
}

const count = z.number().int().positive()

/** Like all bottlenecks' but for its defaults: `reduction` 8, and the approximation of GELU by tanh. */
const options: z.ZodObject = bottleneckOptions('serial', 'both').extend({
  reduction: z.number().positive().default(8).describe('width divided by the inner width'),
  activation: bottleneckOptions('serial', 'both').shape.activation.default('gelu_new'),
  tasks: count.default(1).describe('how many tasks there are; records say theirs in "task", from 0'),
  task: z.number().int().nonnegative().optional().describe('the task where a batch names none'),
  sharing: z
    .enum(['single', 'half', 'multiple', 'hyper'])
    .default('single')
    .describe('what tasks share: all, the first projection, nothing, or a network that makes adapters'),
  initial: z.enum(['zero', 'random']).default('zero').describe('where the second projection begins'),
  norms: z.boolean().default(true).describe("whether the base's norms train too"),
})

const hint = 'The option tasks says how many there are.'

const settings = (usual: BottleneckSettings, o: VlAdapterOptions, site: Site): Settings => {
  const { tasks, task, sharing, initial, bottleneck, reduction = 8 } = o
  if (task !== undefined && task >= tasks) throw noSuchTask('vl-adapter', `task ${task}`, tasks, hint)
  if (bottleneck === undefined && usual.in % reduction)
    throw new UsageError(
      'BadReduction',
      `vl-adapter: reduction ${reduction} does not divide ${usual.in}, the width of ${site.name}`,
      { hint: 'Choose a divisor (reduction), or the inner width itself (bottleneck).' },
    )
  return { ...usual, method: 'vl-adapter', tasks, task, sharing, official: initial === 'random' }
}

/** Uniform within ±1 / sqrt(inputs), of matrices [tasks, inputs, outputs]. */
const byInputs = uniformWithin((shape) => 1 / Math.sqrt(shape[1]))

/** One matrix a task, or one for all. */
const matrices = ({
  in: width,
  out,
  bottleneck: b,
  tasks,
  sharing,
  official,
}: Settings): Named<ParameterSpec> => {
  const [first, second] = [sharing === 'multiple' ? tasks : 1, sharing === 'single' ? 1 : tasks]
  const spec = (key: string, shape: number[], initial: Initial): ParameterSpec => ({
    key: `adapter_${key}`,
    shape,
    initial,
  })
  return {
    D: spec('down.weight', [first, width, b], byInputs),
    d: spec('down.bias', [first, 1, b], zeros),
    U: spec('up.weight', [second, b, out], official ? byInputs : zeros),
    u: spec('up.bias', [second, 1, out], zeros),
  }
}

/** The matrices of each row's task, or one row for all. */
const rowsOfTasks = (p: Named<Tensor>, s: Settings, { input }: SiteContext): RowMatrices => {
  if (s.sharing === 'single' || (s.tasks === 1 && s.sharing !== 'hyper'))
    return { D: p.D, d: p.d, U: p.U, u: p.u }
  const ids = tasksOfRows(s, input('taskIds'))
  if (s.sharing === 'hyper') return hyperMatrices(p, s, ids)
  const byRow = (x: Tensor): Tensor => (x.shape[0] === 1 ? x : x.gather(ids, 0))
  return { D: byRow(p.D), d: byRow(p.d), U: byRow(p.U), u: byRow(p.u) }
}

/** x: [batch, ..., in] -> [batch, ..., out], each row of the batch by its own matrix. W: [batch or 1, in, out]. */
const through = (x: Tensor, W: Tensor, bias: Tensor): Tensor => {
  const rows = x.reshape([x.shape[0], -1, x.shape[x.rank - 1]])
  return rows
    .matmul(W)
    .add(bias)
    .reshape([...x.shape.slice(0, -1), W.shape[2]])
}

const projections: Projections<VlAdapterOptions, Settings> = {
  settings,
  parameters: (s) => (s.sharing === 'hyper' ? placeSpecs() : matrices(s)),
  down(x, p, s, context) {
    const { D, d } = rowsOfTasks(p, s, context)
    return through(x, D, d)
  },
  up(h, p, s, context) {
    const { U, u } = rowsOfTasks(p, s, context)
    return through(h, U, u)
  },
}

/** Steps that move, of parameters with a part a task ([tasks, ...]), only the parts of tasks that the batch has. */
const ofTasksMet = (optimizer: Optimizer, isOfTasks: (name: string) => boolean): Optimizer => ({
  ...optimizer,
  grouped: optimizer.grouped && ((groups) => ofTasksMet(optimizer.grouped!(groups), isOfTasks)),
  update(parameters, gradients, state, scalars) {
    const next = optimizer.update(parameters, gradients, state, scalars)
    const kept = { parameters: { ...next.parameters }, state: { ...next.state } }
    for (const [name, before] of Object.entries(parameters)) {
      if (!isOfTasks(name)) continue
      const met = gradients[name].abs().sum([1, 2], { keep: true }).greater(0)
      const [now, slots] = [next.parameters[name], next.state[name]]
      kept.parameters[name] = where(met, now, before)
      kept.state[name] = Object.fromEntries(
        Object.entries(slots).map(([slot, x]) => [slot, where(met, x, state[name][slot])]),
      )
    }
    return kept
  },
})

/** Momentum and decay would move the adapters of tasks that a batch has not: they stay. */
const training = ({ sites }: Plan, { tasks, sharing }: VlAdapterOptions): Training => {
  if (tasks === 1 || sharing === 'single' || sharing === 'hyper') return {}
  const perTask = sites.flatMap(({ site, parameters }) =>
    Object.values(parameters)
      .filter(({ shape }) => shape[0] === tasks)
      .map(({ key }) => `${site.name}.${key}`),
  )
  const names = new Set(perTask)
  return {
    objective: (usual) => ({ ...usual, optimizer: ofTasksMet(usual.optimizer, (name) => names.has(name)) }),
  }
}

const usual = bottleneckSpec<VlAdapterOptions, Settings>({
  paper: card,
  peftType: 'VL_ADAPTER',
  options,
  arrangement: 'serial',
  projections,
  keys: { sharing: 'sharing', tasks: 'tasks' },
})

const spec: AdapterSpec<VlAdapterOptions, Settings> = {
  ...usual,
  shared: (o, sites) =>
    o.sharing === 'hyper'
      ? hyperSpecs(
          { tasks: o.tasks, official: o.initial === 'random' },
          sites.map((site) => usual.settings(o, site, sites)),
          sites,
        )
      : {},
  training,
  check: checkTasks('vl-adapter', hint),
  resolve: (base, o) => Promise.resolve({ ...o, modulesToSave: trainedWith(base, o) }),
}

/** What trains whole beside the adapters: by default a classifier's head and the visual embedding; and the norms. */
const trainedWith = (base: Model, { norms, modulesToSave }: VlAdapterOptions): string[] => {
  const sees = base.architecture.table(base.config).some(({ name }) => name.startsWith(`${visualModule}.`))
  const chosen = modulesToSave ?? [...classifiers(base), ...(sees ? [visualModule] : [])]
  return [...chosen, ...(norms ? sitesOf(base, ['norm']).map(({ name }) => name) : [])]
}

/**
 * VL-Adapter on `base`, a checkpoint or an open model (a T5 `withVision` for images): 2 d b + b + d numbers a place for a
 * width d and bottleneck b where one adapter serves all tasks, T times as many of one a task, T (d b + d) + d b + b of half
 * shared ones. A batch names its rows' tasks in `taskIds`: [batch] int32, where they are not all shared. Throws UsageError
 * for a target that matches nothing, a task that there is not, and a reduction that does not divide a width.
 */
export const vlAdapter: AdapterMethod<VlAdapterOptions> = adapter(spec)
