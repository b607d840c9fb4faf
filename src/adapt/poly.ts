/**
 * @file Poly (Polytropon, Ponti et al. 2022, arXiv 2202.13914): W x + (1 / r) B̄ Ā x, where Ā and B̄ are averages of the
 * low-rank factors of S skills by the weights that the row's task gives them: Z / Σ Z, with Z the sigmoid of the task's
 * row of the router, in training a sample of the relaxed Bernoulli distribution. As in MHR (Caccia et al. 2022, arXiv
 * 2211.03831) inputs and outputs may be split in parts, each with weights of its own.
 */
import { z } from 'zod'
import { UsageError } from '../errors.js'
import { type RandomStreams, type Tensor, tensor, where } from '../tensor/index.js'
import { adapter } from './adapter.js'
import { uniformWithin, zeros } from './initial.js'
import { polyCard } from './poly.card.js'
import {
  type AdapterMethod,
  type AdapterSpec,
  type CommonOptions,
  commonOptions,
  type Named,
  type SiteContext,
} from './spec.js'

export interface PolyOptions extends Omit<CommonOptions, 'bias'> {
  /** r of each skill. Default 8. */
  readonly rank: number
  /** Default 1. */
  readonly tasks: number
  /** S. Default 4. */
  readonly skills: number
  /** Parts of inputs and outputs that choose skills by themselves. Default 1. */
  readonly splits: number
  /** The task of rows where the batch holds no `taskIds`. Default 0; it is not saved. */
  readonly task: number
}

type Settings = Pick<PolyOptions, 'rank' | 'tasks' | 'skills' | 'splits' | 'task'>

const count = z.number().int().positive()

const options: z.ZodObject = commonOptions.omit({ bias: true }).extend({
  rank: count.default(8).describe('rank r of each skill'),
  tasks: count.default(1).describe('how many tasks there are'),
  skills: count.default(4).describe('how many skills they share'),
  splits: count.default(1).describe('parts of inputs and outputs that choose skills by themselves'),
  task: z.number().int().nonnegative().default(0).describe('the task where a batch names none'),
})

/** Numbers in (0, 1), of 16 random bits each. */
const uniformNumbers = (random: RandomStreams, shape: readonly number[]): Tensor => {
  const [high, low] = [random.bytes(shape), random.bytes(shape)].map((bytes) => bytes.cast('float32'))
  return high.mul(256).add(low).add(0.5).div(65_536)
}

/** What each row's task gives each skill, in each split: [splits, batch or 1, skills]; of every split the sum is 1. */
const mixture = (logits: Tensor, s: Settings, { input, random }: SiteContext): Tensor => {
  const given = input('taskIds') ?? tensor([s.task], [1], 'int32')
  // A negative index would count from the end: made too large, it is refused as those are.
  const ids = where(given.less(0), s.tasks, given)
  const rows = logits.gather(ids, 0).reshape([-1, s.splits, s.skills])
  const u = random && uniformNumbers(random, rows.shape)
  const chosen = (u ? rows.add(u.log()).sub(u.neg().add(1).log()) : rows).sigmoid()
  return chosen.div(chosen.sum(-1, { keep: true }).add(1e-12)).transpose([1, 0, 2])
}

/** Averages over skills. factors: [splits, skills, a, b], weights: [splits, batch, skills] -> [splits, batch, a, b]. */
const averaged = (factors: Tensor, weights: Tensor): Tensor => {
  const [splits, skills, a, b] = factors.shape
  const flat = weights.matmul(factors.reshape([splits, skills, a * b]))
  return flat.reshape([splits, weights.shape[1], a, b])
}

/** The update of x: [batch, ..., in] -> [batch, ..., out]. */
const update = (x: Tensor, y: Tensor, p: Named<Tensor>, s: Settings, context: SiteContext): Tensor => {
  const weights = mixture(p.logits, s, context)
  const [rows, width, out] = [weights.shape[1], x.shape[x.rank - 1], y.shape[y.rank - 1]]
  const A = averaged(p.A, weights).transpose([1, 0, 2, 3]).reshape([rows, width, s.rank])
  const B = averaged(p.B, weights).transpose([1, 2, 0, 3]).reshape([rows, s.rank, out])
  const tokens = x.reshape([x.shape[0], -1, width])
  return tokens.matmul(A).matmul(B).div(s.rank).reshape(y.shape)
}

const spec: AdapterSpec<PolyOptions, Settings> = {
  paper: polyCard,
  source: 'src/adapt/poly.ts',
  peftType: 'POLY',
  options,
  size: { option: 'rank', kind: 'count' },
  kinds: ['linear'],
  settings({ rank, tasks, skills, splits, task }, site) {
    if (task >= tasks)
      throw new UsageError('NoSuchTask', `poly: task ${task} of ${tasks}`, {
        hint: `Tasks count from 0 to ${tasks - 1}.`,
      })
    if (site.in % splits || site.out % splits)
      throw new UsageError(
        'BadSplits',
        `poly: ${splits} splits do not divide ${site.name}, whose weight is ${site.out} x ${site.in}`,
      )
    return { rank, tasks, skills, splits, task }
  },
  parameters: ({ in: width, out }, { rank, tasks, skills, splits }) => ({
    A: {
      key: 'poly_lora_A',
      shape: [splits, skills, width / splits, rank],
      initial: uniformWithin((shape) => 1 / Math.sqrt(shape[2])),
    },
    B: { key: 'poly_lora_B', shape: [splits, skills, rank, out / splits], initial: zeros },
    logits: {
      key: 'poly_router.module_logits',
      shape: [tasks, splits * skills],
      initial: uniformWithin(() => 1e-3),
    },
  }),
  linear: (y, x, p, s, context) => y.add(update(x, y, p, s, context)),
  toPeft: ({ rank, tasks, skills, splits }) => ({
    init_weights: true,
    n_skills: skills,
    n_splits: splits,
    n_tasks: tasks,
    poly_type: 'poly',
    r: rank,
  }),
  fromPeft({ r: rank, n_tasks: tasks, n_skills: skills, n_splits: splits }) {
    const present = Object.entries({ rank, tasks, skills, splits }).filter(([, x]) => typeof x === 'number')
    return { rank: 8, tasks: 1, skills: 4, splits: 1, task: 0, ...Object.fromEntries(present) }
  },
  ignoredKeys: [],
  lacks: ['bias', 'layers_pattern', 'layers_to_transform'],
}

/**
 * Poly on `base`, a checkpoint or an open model: a model whose parameters are the skills and the router of every target.
 * A batch names its rows' tasks in `taskIds`: [batch] int32. Throws UsageError for a target that matches nothing, a task
 * that there is not, and splits that do not divide a module's widths.
 */
export const poly: AdapterMethod<PolyOptions> = adapter(spec)
