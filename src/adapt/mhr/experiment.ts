/**
 * @file MHR against Poly and one shared LoRA: planted updates whose blocks are mixed from skills, each by itself, and
 * edits of strings of digits, two of which make a task; new tasks are pairs that training has not seen.
 */
import { halfLinear, tinyLlama, trainedNumbers } from '../../experiment/index.js'
import { createModel, type Model } from '../../models/index.js'
import {
  full,
  bars,
  curve,
  type MeasureContext,
  type ClaimWords,
  type Reproduction,
  type ReproductionClaim,
  reproduction,
} from '../../papers/index.js'
import { Stream } from '../../random/index.js'
import { dirichlet } from '../../synth/index.js'
import { compile, type Tensor, toNumbers, valueAndGrad, type Value, valueOf } from '../../tensor/index.js'
import {
  adamW,
  type Batch,
  byShape,
  evaluate,
  fit,
  forward,
  type LossFunction,
  modelLoss,
  type Objective,
  trainingOf,
} from '../../train/index.js'
import { mhr, type MhrOptions } from './mhr.js'
import { strings, tasksOf } from './tasks.js'
import type { AdaptedModel } from '../core/spec.js'

/** What the two sizes of the experiment differ in. */
const sizes = {
  quick: {
    planted: { tasks: 6, steps: 60 },
  },
  full: {
    planted: { tasks: 24, steps: 1000 },
    sequences: { width: 64, layers: 2, digits: 4, pretraining: 400, steps: 400, fewShot: 100, unseen: 4 },
  },
}
type Size = (typeof sizes)['quick' | 'full']
type Sequences = (typeof sizes)['full']['sequences']

type Inventory = Partial<Pick<MhrOptions, 'skills' | 'splits' | 'rank'>>

interface Arm {
  /** Of the planted updates. */
  readonly planted?: Inventory
  /** Of the sequences: what is trained on many tasks (nothing where the new task starts from scratch), and how it is adapted. */
  readonly sequences?: Inventory
  readonly tune?: MhrOptions['tune'] | 'scratch'
}

const many = { skills: 4, rank: 2 }

const arms = {
  shared: {
    planted: { skills: 1, splits: 1, rank: 8 },
    sequences: { skills: 1, splits: 1, rank: 8 },
    tune: 'all',
  },
  sharedLow: { planted: { skills: 1, splits: 1, rank: 2 } },
  poly: { planted: { ...many, splits: 1 }, sequences: { ...many, splits: 1 }, tune: 'all' },
  mhr2: { planted: { ...many, splits: 2 } },
  mhr: { planted: { ...many, splits: 4 }, sequences: { ...many, splits: 8 }, tune: 'all' },
  mhr8: { planted: { ...many, splits: 8 } },
  routing: { sequences: { ...many, splits: 8 }, tune: 'routing' },
  average: { sequences: { ...many, splits: 8 }, tune: 'average' },
  scratch: { sequences: { skills: 1, splits: 1, rank: 2 }, tune: 'scratch' },
} satisfies Record<string, Arm>

const plantedWidth = 32

/** Updates whose blocks are mixed from four skills of rank 2, with proportions of each block's own: [tasks, width, width], in by out. */
const plantedUpdates = (seed: number, tasks: number): Value => {
  const [blocks, skills, rank, width] = [4, 4, 2, plantedWidth]
  const stream = new Stream(`planted ${seed}`)
  const numbers = (): Float64Array =>
    Float64Array.from({ length: skills * width * rank }, () => stream.normal())
  const [A, B] = [numbers(), numbers()]
  const updates = Array.from({ length: tasks }, () => {
    const shares = Array.from({ length: blocks }, () => dirichlet(stream, skills, 0.3))
    const mixed = (of: Float64Array, i: number, j: number): number => {
      const block = Math.floor((i * blocks) / width)
      return shares[block].reduce((sum, share, s) => sum + share * of[(s * width + i) * rank + j], 0)
    }
    return Array.from({ length: width * width }, (_, at) => {
      const [i, o] = [Math.floor(at / width), at % width]
      return (mixed(A, i, 0) * mixed(B, o, 0) + mixed(A, i, 1) * mixed(B, o, 1)) / rank
    })
  })
  return valueOf(updates.flat(), [tasks, width, width])
}

/** mean ||ΔW - fit||² / mean ||ΔW||² over tasks, after fitting. */
const onPlanted = async (
  inventory: Inventory,
  { tasks, steps }: (typeof sizes)['full']['planted'],
  { seed, signal, log }: MeasureContext,
): Promise<number> => {
  const width = plantedWidth
  const config = { model_type: 'weft_mlp', sizes: [width, width, 2], bias: false, initializer_range: 0 }
  const start = await mhr(await createModel(config), {
    ...inventory,
    tasks,
    targets: ['layers.0'],
    seed,
    routingRate: 5,
  })
  const target = plantedUpdates(seed, tasks)
  const norm = toNumbers(target).reduce((n, x) => n + x * x, 0)
  const identity = Float32Array.from({ length: tasks * width * width }, (_, i) =>
    Number((i % (width * width)) % (width + 1) === 0),
  )
  const batch: Batch = {
    identity: valueOf(identity, [tasks, width, width]),
    target,
    taskIds: valueOf(
      Array.from({ length: tasks }, (_, t) => t),
      [tasks],
      'int32',
    ),
  }
  // The base's weight is zero: of the identity a module makes the transpose of its update.
  const loss: LossFunction = (parameters, operands, trace) => {
    const fitted = start
      .weights(parameters, { ...trace, inputs: operands })
      .linear('layers.0', operands.identity)
    return { loss: fitted.sub(operands.target).square().sum().div(norm) }
  }
  const usual: Objective = { loss, optimizer: adamW({ weightDecay: 0 }) }
  const result = await fit(start, repeated(batch), {
    steps,
    schedule: halfLinear(steps, 2e-2),
    objectives: [trainingOf(start).objective!(usual)],
    signal,
    hook: ({ step }, { losses: [error] }) => {
      if (step % 10 === 0) log({ step, error })
    },
  })
  signal?.throwIfAborted()
  return result.loss
}

const repeated = (batch: Batch) =>
  function* () {
    for (;;) yield batch
  }

const withoutTask = ({ ids, labels }: Batch): Batch => ({ ids, labels })

/** A small Llama that copies strings. */
const copying = async ({ seed, signal }: MeasureContext, size: Sequences): Promise<Model> => {
  const { digits, pretraining } = size
  const config = tinyLlama({ ...size, tokens: 16, length: 2 * digits + 1 })
  const data = function* (startAt: number) {
    for (let i = startAt; ; i++) yield withoutTask(strings([(x) => [...x]], 64, digits, `copy ${seed} ${i}`))
  }
  const options = { steps: pretraining, learningRate: 3e-3, schedule: 'linear', signal } as const
  return (await fit(await createModel(config, { seed }), data, options)).model
}

const baseFor = (context: MeasureContext, size: Sequences): Promise<Model> =>
  context.once('base', () => copying(context, size))

/** The cosine between tasks' gradients on the skills, a mean over pairs of tasks. */
const alignment = async (model: AdaptedModel, batches: readonly Batch[]): Promise<number> => {
  const f = ({ parameters, batch }: { parameters: Record<string, Tensor>; batch: Record<string, Tensor> }) =>
    valueAndGrad((p: Record<string, Tensor>) => modelLoss(model)(p, batch, {}))(parameters).grads
  const inputsOf = (batch: Batch) => ({ parameters: { ...model.parameters }, batch: { ...batch } })
  const program = await compile(f, inputsOf(batches[0]))
  const directions: number[][] = []
  for (const batch of batches) {
    const grads = await program.run(inputsOf(batch))
    const shared = Object.entries(grads).flatMap(([name, g]) =>
      name.includes('router') ? [] : [...toNumbers(g)],
    )
    const length = Math.sqrt(shared.reduce((n, x) => n + x * x, 0))
    directions.push(shared.map((x) => x / (length || 1)))
  }
  const cosines = directions.flatMap((a, i) =>
    directions.slice(i + 1).map((b) => a.reduce((sum, x, k) => sum + x * b[k], 0)),
  )
  return cosines.reduce((sum, c) => sum + c, 0) / cosines.length
}

/** An inventory after the tasks to train on, its loss on them, and how their gradients agree. */
const trainedInventory = async (context: MeasureContext, size: Sequences, inventory: Inventory) => {
  const { seed, signal } = context
  const { known } = tasksOf(seed)
  const start = await mhr(await baseFor(context, size), {
    ...inventory,
    tasks: known.length,
    routingRate: 20,
    seed,
  })
  const data = function* (startAt: number) {
    for (let i = startAt; ; i++) yield strings(known, 48, size.digits, `known ${seed} ${i}`)
  }
  const options = {
    steps: size.steps,
    schedule: halfLinear(size.steps, 5e-3),
    optimizer: adamW({ weightDecay: 0 }),
  }
  const { model } = await fit(start, data, { ...options, signal })
  signal?.throwIfAborted()
  const held = Array.from({ length: 4 }, (_, i) => strings(known, 96, size.digits, `held ${seed} ${i}`))
  const { loss } = await evaluate(model, () => held)
  const oneTask = known.slice(0, 8).map((edit, task) => ({
    ...strings([edit], 32, size.digits, `aligned ${seed}`),
    taskIds: valueOf(new Array<number>(32).fill(task), [32], 'int32'),
  }))
  return { model, loss, aligned: await alignment(model, oneTask) }
}

const inventoryFor = (context: MeasureContext, size: Sequences, inventory: Inventory) =>
  context.once(`inventory ${JSON.stringify(inventory)}`, () => trainedInventory(context, size, inventory))

/** The share of tokens that are right, the right ones before them given. */
const accuracyOf = async (model: AdaptedModel, batch: Batch): Promise<number> => {
  type Inputs<T> = { parameters: Record<string, T>; batch: Record<string, T> }
  const program = byShape(({ parameters, batch }: Inputs<Tensor>) => {
    const labels = batch.labels.slice(1, 1)
    const guesses = forward(model, parameters, batch).logits.slice(1, 0, -1).argMax(-1)
    const counted = labels.notEqual(-100).cast('float32').sum()
    return { right: guesses.equal(labels).cast('float32').sum().div(counted) }
  })
  const { right } = await program({ parameters: { ...model.parameters }, batch: { ...batch } })
  return Number((await right.read())[0])
}

/** What an arm makes of a new task: of an inventory, or of nothing. */
const learnerFor = async (arm: Arm, size: Sequences, context: MeasureContext): Promise<AdaptedModel> => {
  const { seed } = context
  const base = await baseFor(context, size)
  if (arm.tune === 'scratch') return mhr(base, { ...arm.sequences, routingRate: 20, seed })
  const { model } = await inventoryFor(context, size, arm.sequences!)
  return mhr(base, { inventory: model, tune: arm.tune as MhrOptions['tune'], routingRate: 20, seed })
}

const onSequences = async (arm: Arm, size: Sequences, context: MeasureContext) => {
  const { seed, signal } = context
  const start = await learnerFor(arm, size, context)
  const unseen = tasksOf(seed).unseen.slice(0, size.unseen)
  let [before, after] = [0, 0]
  for (const [i, edit] of unseen.entries()) {
    const held = withoutTask(strings([edit], 256, size.digits, `new held ${seed} ${i}`))
    const few = withoutTask(strings([edit], 64, size.digits, `new ${seed} ${i}`))
    const options = {
      steps: size.fewShot,
      schedule: halfLinear(size.fewShot, 5e-3),
      optimizer: adamW({ weightDecay: 0 }),
    }
    const { model } = await fit(start, repeated(few), { ...options, signal })
    signal?.throwIfAborted()
    before += (await accuracyOf(start, held)) / unseen.length
    after += (await accuracyOf(model, held)) / unseen.length
  }
  const measured = { accuracy: after, accuracyBefore: before, adapting: trainedNumbers(start) }
  if (arm.tune !== 'all') return measured
  const { loss, aligned } = await inventoryFor(context, size, arm.sequences!)
  return { ...measured, multitaskLoss: loss, alignment: aligned }
}

/** Metrics of an arm: the error of planted updates, and in the full form what the sequences show. */
interface Metrics {
  readonly error?: number
  readonly accuracy?: number
  readonly accuracyBefore?: number
  readonly adapting?: number
  readonly multitaskLoss?: number
  readonly alignment?: number
}

const measure = async (arm: Arm, context: MeasureContext<Size>): Promise<Metrics> => {
  const { planted, sequences }: Partial<(typeof sizes)['full']> = context.size
  const error = arm.planted && planted && (await onPlanted(arm.planted, planted, context))
  const measured = error === undefined ? {} : { error }
  return arm.sequences && sequences
    ? { ...measured, ...(await onSequences(arm, sequences, context)) }
    : measured
}

/** Claims of the paper and of the specification, the first half. */
const firstClaims = ({ holds }: ClaimWords<keyof typeof arms, Metrics>): readonly ReproductionClaim[] => [
  holds(
    'with as many splits as were planted it fits updates that differ from block to block: error below 0.05',
    (m) => m.mhr.error.below(0.05),
    full,
  ),
  holds(
    'Poly, with one mixture for all blocks, cannot: error above 0.2',
    (m) => m.poly.error.above(0.2),
    full,
  ),
  holds('one shared LoRA cannot, whatever its rank: error above 0.5', (m) => m.shared.error.above(0.5), full),
  holds(
    'its loss on many tasks is at most that of Poly',
    (m) => m.mhr.multitaskLoss.notAbove(m.poly.multitaskLoss, 0),
    full,
  ),
  holds(
    'the loss of Poly on many tasks is below that of a shared LoRA of as many numbers',
    (m) => m.poly.multitaskLoss.below(m.shared.multitaskLoss),
    full,
  ),
  holds(
    'on new tasks it comes within a point of the shared LoRA, or beats it',
    (m) => m.mhr.accuracy.notBelow(m.shared.accuracy.plus(-0.01), 0),
    { ...full, paper: 'better few-shot transfer than a shared LoRA' },
  ),
]

/** The rest of the claims. */
const furtherClaims = ({
  holds,
  notShown,
}: ClaimWords<keyof typeof arms, Metrics>): readonly ReproductionClaim[] => [
  holds('on new tasks it is better than Poly', (m) => m.mhr.accuracy.above(m.poly.accuracy), {
    ...full,
    paper: 'better few-shot transfer than Poly',
  }),
  holds(
    'on new tasks it is better than LoRA from scratch',
    (m) => m.mhr.accuracy.above(m.scratch.accuracy),
    full,
  ),
  holds(
    'MHR-mu comes within three points of it',
    (m) => m.average.accuracy.notBelow(m.mhr.accuracy.plus(-0.03), 0),
    full,
  ),
  holds('MHR-z is better than no step at all', (m) => m.routing.accuracy.above(m.routing.accuracyBefore), {
    ...full,
    paper: 'tuning the mixture alone stays competitive',
  }),
  holds(
    'MHR-z trains less than 5 % of the numbers',
    (m) => m.routing.adapting.below(m.mhr.adapting, 0.95),
    full,
  ),
  holds(
    'its tasks’ gradients agree better than those of a shared LoRA',
    (m) => m.mhr.alignment.above(m.shared.alignment),
    { ...full, paper: 'the highest gradient alignment' },
  ),
  notShown('69 on 11 T0 tasks, against 68 of Poly and 66 of LoRA', 'of T5-XL: out of reach here'),
]

export const experiment: Reproduction = reproduction(mhr, {
  arms,
  sizes,
  measure,
  plot: [
    curve({ y: 'error', title: 'Error of the planted updates while fitting', log: { y: true } }),
    bars({ y: 'accuracy', title: 'Share of right tokens on new tasks after 64 examples' }),
  ],
  claims: (words) => [...firstClaims(words), ...furtherClaims(words)],
})
