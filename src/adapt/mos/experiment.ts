/**
 * @file MoS against LoRA at equal and at higher rank, and against itself without its differences: a residual network is
 * adapted to a teacher that conflicts with its own, a small Llama to another Markov chain, and planted updates are fitted.
 */
import { createModel, type Model } from '../../models/index.js'
import {
  full,
  curve,
  type MeasureContext,
  pareto,
  type Reproduction,
  reproduction,
} from '../../papers/index.js'
import { Stream } from '../../random/index.js'
import {
  halfLinear,
  heldBatches,
  teacherBatches,
  teacherTask,
  tinyLlama,
  trainedNumbers,
} from '../../experiment/index.js'
import { markov, sequences } from '../../synth/index.js'
import { valueOf, type Value } from '../../tensor/index.js'
import { adamW, type Batch, evaluate, fit, type FitOptions, type LossFunction } from '../../train/index.js'
import type { AdaptedModel } from '../core/spec.js'
import { toLora } from '../lora/export.js'
import { lora } from '../lora/lora.js'
import { mos, type MosOptions } from './mos.js'

/** What the two sizes of the experiment differ in. */
const sizes = {
  quick: {
    network: { blocks: 5, width: 16, steps: 60 },
    steps: 30,
    held: 4,
    rates: [1e-2],
  },
  full: {
    network: { blocks: 6, width: 64, steps: 1500 },
    steps: 400,
    held: 32,
    rates: [3e-3, 1e-2],
    llama: { width: 64, layers: 4, pretraining: 500, steps: 200 },
    planted: { width: 64, dictionary: 24, steps: 1500 },
  },
}
type Size = Omit<(typeof sizes)['full'], 'llama' | 'planted'>
/** Only the full experiment has these parts. */
type FullSize = (typeof sizes)['full']

/** LoRA of a rank, or MoS. `llama`, `planted`: the ranks of arms that adapt the Llama, and fit planted updates. */
type Arm = {
  readonly planted?: number | 'all'
  readonly llama?: number | 'all'
  readonly exported?: true
} & ({ readonly lora: number } | { readonly mos: Partial<MosOptions> })

const alike = { privateRank: 0, shards: 1, dissociate: false } as const

const arms = {
  lora1: { lora: 1 },
  lora2: { lora: 2, planted: 2, llama: 2 },
  lora6: { lora: 6, planted: 8, llama: 5 },
  mos4: { mos: { rank: 4 } },
  mos6: { mos: { rank: 6 }, planted: 8, llama: 5, exported: true },
  selection: { mos: { ...alike, rank: 6 }, planted: 8 },
  dissociation: { mos: { ...alike, rank: 6, dissociate: true }, planted: 8 },
  sharing: { mos: { ...alike, rank: 'all' }, planted: 'all', llama: 'all' },
} satisfies Record<string, Arm>

const adapted = (
  arm: Arm,
  base: Model,
  targets: string,
  seed: number,
  rank?: number | 'all',
): Promise<AdaptedModel> =>
  'lora' in arm
    ? lora(base, { rank: (rank as number) ?? arm.lora, alpha: 16, targets, seed })
    : mos(base, { budget: 2, ...arm.mos, ...(rank && { rank }), alpha: 16, dropout: 0, targets, seed })

/** Adam, constant at first and linear to zero over the last half. */
const options = (steps: number, learningRate: number): FitOptions => {
  return { steps, schedule: halfLinear(steps, learningRate), optimizer: adamW({ weightDecay: 0 }) }
}

/** The base, and what each arm sees of the conflicting teacher. */
const teacherFor = async ({ seed, size, signal }: MeasureContext<Size>) => {
  const { base, conflicting } = await teacherTask(seed, { ...size.network, signal })
  const batches = (name: string, count: number): Batch[] =>
    heldBatches(teacherBatches(conflicting, { batch: 128, seed: `${name} ${seed}` }), count)
  return { base, train: batches('adapting', size.steps), held: batches('held', size.held) }
}

/** The lowest held-out loss over the rates, and that of the LoRA it is exported to. */
const onTeacher = async (arm: Arm, context: MeasureContext<Size>) => {
  const { seed, size, signal, log } = context
  const { base, train, held } = await context.once('teacher', () => teacherFor(context))
  const results: { loss: number; exportedLoss: number }[] = []
  const start = await adapted(arm, base, 'up,down', seed)
  for (const rate of size.rates) {
    const { model } = await fit(start, (startAt) => train.slice(startAt), {
      ...options(size.steps, rate),
      signal,
      hook: ({ step }, { losses: [loss] }) => {
        if (rate === size.rates[0]) log({ step, loss })
      },
    })
    signal?.throwIfAborted()
    const { loss } = await evaluate(model, () => held)
    const exported = arm.exported ? await evaluate(await toLora(model), () => held) : { loss }
    results.push({ loss, exportedLoss: exported.loss })
  }
  const best = results.reduce((lowest, result) => (result.loss < lowest.loss ? result : lowest))
  return { ...best, parameters: trainedNumbers(start) }
}

/** Batches of the chain `name`, without end. */
const chain = (name: string, seed: number): ((startAt: number) => Generator<Batch>) => {
  const source = markov({ symbols: 32, order: 1, seed: `${name} ${seed}` })
  return function* (startAt) {
    for (let i = startAt; ; i++) {
      const ids = sequences(source, { count: 24, length: 24, seed: `${name} ${seed} ${i}` })
      yield { ids, labels: ids }
    }
  }
}

/** A Llama that knows the first chain. */
const llamaFor = async (seed: number, size: FullSize['llama'], signal?: AbortSignal): Promise<Model> => {
  const start = await createModel(tinyLlama({ ...size, tokens: 32, length: 24 }), { seed })
  const options = { steps: size.pretraining, learningRate: 3e-3, schedule: 'linear', signal } as const
  return (await fit(start, chain('first', seed), options)).model
}

/** Held-out loss on the second chain. */
const onChain = async (arm: Arm, size: FullSize, { seed, signal, once }: MeasureContext): Promise<number> => {
  const base = await once('llama', () => llamaFor(seed, size.llama, signal))
  const start = await adapted(arm, base, 'all-linear', seed, arm.llama)
  const { model } = await fit(start, chain('second', seed), { ...options(size.llama.steps, 1e-2), signal })
  signal?.throwIfAborted()
  const held = heldBatches(() => chain('second', seed)(1_000_000), 8)
  return (await evaluate(model, () => held)).loss
}

const layers = 8

/** Updates of rank 8 for eight square matrices, each of directions of its own, or all of one dictionary: [8, width, width]. */
const plantedUpdates = (seed: number, { width, dictionary }: FullSize['planted'], shared: boolean): Value => {
  const stream = new Stream(`planted ${seed} ${shared}`)
  const vectors = (count: number): Float64Array[] =>
    Array.from({ length: count }, () => Float64Array.from({ length: width }, () => stream.normal()))
  const [left, right] = [vectors(dictionary), vectors(dictionary)]
  const rank = Math.min(8, dictionary)
  const updates = Array.from({ length: layers }, () => {
    const chosen = stream.permutation(dictionary).subarray(0, rank)
    const of = (pool: Float64Array[]) => (shared ? [...chosen].map((i) => pool[i]) : vectors(rank))
    const [B, A] = [of(left), of(right)]
    const scale = 1 / Math.sqrt(width * rank)
    return Array.from({ length: width * width }, (_, at) => {
      const [o, i] = [Math.floor(at / width), at % width]
      return scale * B.reduce((sum, b, j) => sum + b[o] * A[j][i], 0)
    })
  })
  return valueOf(updates.flat(), [layers, width, width])
}

/** ||ΔW - target||² / ||target||² over all matrices, after fitting. */
const onPlanted = async (
  arm: Arm,
  size: FullSize,
  shared: boolean,
  { seed, signal }: MeasureContext,
): Promise<number> => {
  const { width, steps } = size.planted
  const config = { model_type: 'weft_mlp', sizes: [width, ...new Array<number>(layers).fill(width), 2] }
  const base = await createModel({ ...config, bias: false, initializer_range: 0 })
  const start = await adapted(arm, base, 'layers\\.\\d', seed, arm.planted)
  const target = plantedUpdates(seed, size.planted, shared)
  const identity = valueOf(
    Float32Array.from({ length: width * width }, (_, i) => Number(i % (width + 1) === 0)),
    [width, width],
  )
  const norm = Array.from(target.data, Number).reduce((n, x) => n + x * x, 0)
  // The base's weights are zero: of the identity a module makes the transpose of its update.
  const loss: LossFunction = (parameters, batch, trace) => {
    const w = start.weights(parameters, trace)
    const errors = Array.from({ length: layers }, (_, i) =>
      w
        .linear(`layers.${i}`, batch.identity)
        .t()
        .sub(batch.target.slice(0, i, i + 1).reshape([width, width]))
        .square()
        .sum(),
    )
    return { loss: errors.reduce((a, b) => a.add(b)).div(norm) }
  }
  const batches = function* () {
    for (;;) yield { identity, target }
  }
  const { optimizer = adamW(), ...rest } = options(steps, 1e-2)
  const fitted = await fit(start, batches, { ...rest, objectives: [{ loss, optimizer }], signal })
  signal?.throwIfAborted()
  return fitted.loss
}

/** Inputs and outputs of all linears of LLaMA-2-7B's blocks: what trains for each unit of budget, or of LoRA's rank. */
const numbersOf7B = 2_498_560

/** Metrics of an arm; those that follow `gigabytes` only of some arms, in the full form. */
interface Metrics {
  readonly loss: number
  readonly exportedLoss: number
  readonly parameters: number
  /** What a thousand adapters of LLaMA-2-7B take in memory, by the formula. */
  readonly gigabytes: number
  readonly chainLoss?: number
  readonly independentError?: number
  readonly dictionaryError?: number
}

const measure = async (arm: Arm, context: MeasureContext<Size>): Promise<Metrics> => {
  const budget = 'lora' in arm ? arm.lora : 2
  const gigabytes = (budget * numbersOf7B * 4 * 1000) / 1e9
  const measured = { ...(await onTeacher(arm, context)), gigabytes }
  if (context.quick) return measured
  return {
    ...measured,
    ...(arm.llama !== undefined && { chainLoss: await onChain(arm, sizes.full, context) }),
    ...(arm.planted !== undefined && {
      independentError: await onPlanted(arm, sizes.full, false, context),
      dictionaryError: await onPlanted(arm, sizes.full, true, context),
    }),
  }
}

export const experiment: Reproduction = reproduction(mos, {
  arms,
  sizes,
  measure,
  plot: [
    curve({ y: 'loss', title: 'Loss while adapting to the other teacher' }),
    pareto({ x: 'parameters', y: 'loss', title: 'Held-out loss by trained numbers' }),
  ],
  claims: ({ holds, notShown }) => [
    holds('it trains as many numbers as LoRA of rank 2', (m) =>
      m.mos6.parameters.within(m.lora2.parameters, 0),
    ),
    holds('exported as LoRA it has the same loss', (m) => m.mos6.exportedLoss.within(m.mos6.loss, 1e-5)),
    holds(
      'at equal numbers it is at least 4 % below LoRA of rank 2 in loss',
      (m) => m.mos6.loss.below(m.lora2.loss, 0.04),
      { ...full, paper: 'better than LoRA at equal numbers' },
    ),
    holds(
      'with a third of the numbers it comes within 5 % of the loss of LoRA of rank 6',
      (m) => m.mos6.loss.notAbove(m.lora6.loss, 0.05),
      { ...full, paper: '8 times fewer numbers at equal quality' },
    ),
    holds(
      'the same on a small Llama, at rank 5: below LoRA of rank 2',
      (m) => m.mos6.chainLoss.below(m.lora2.chainLoss),
      full,
    ),
    holds(
      'the same on a small Llama, at rank 5: within 5 % of LoRA of that rank',
      (m) => m.mos6.chainLoss.notAbove(m.lora6.chainLoss, 0.05),
      full,
    ),
    holds('it is better than pure sharing', (m) => m.mos6.loss.below(m.sharing.loss), {
      ...full,
      paper: 'each difference contributes',
      why: 'six layers are too few for sharing a whole pool to hurt',
      known: 'fails',
    }),
    holds(
      'planted updates of their own: pure sharing is the worst by 0.1 of their squared norm',
      (m) => m.sharing.independentError.above(m.selection.independentError.plus(0.1)),
      full,
    ),
    holds(
      'planted updates: pairs that A and B choose by themselves are better than selection alone',
      (m) => m.dissociation.independentError.below(m.selection.independentError),
      full,
    ),
    notShown(
      '8 times fewer numbers than LoRA on LLaMA-2-7B',
      'out of reach here; what a thousand adapters take follows from the formula (gigabytes)',
    ),
  ],
})
