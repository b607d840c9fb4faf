/**
 * @file LoRA against full fine-tuning and the head alone: a small Llama learns one Markov chain and is then adapted to
 * another over the same symbols.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from '../../checkpoint/index.js'
import { heldBatches, tinyLlama } from '../../experiment/index.js'
import { createModel, type Model, openModel } from '../../models/index.js'
import { curve, type MeasureContext, pareto, type Reproduction, reproduction } from '../../papers/index.js'
import { markov, sequences } from '../../synth/index.js'
import { compile, type Tensor, type Value } from '../../tensor/index.js'
import { adamW, type Batch, evaluate, fit, forward, modelLoss, type Objective } from '../../train/index.js'
import type { AdaptedModel } from '../core/spec.js'
import { lora } from './lora.js'

const symbols = 32
const length = 24

/** What the two sizes of the experiment differ in. */
const sizes = {
  quick: { width: 32, layers: 1, pretraining: 120, steps: 60, rate: 1e-2, held: 4 },
  full: { width: 64, layers: 4, pretraining: 800, steps: 300, rate: 3e-3, held: 16 },
}
type Size = (typeof sizes)['full']

/** Batches of the chain `name`, without end. */
const chain = (name: string, seed: number): ((startAt: number) => Generator<Batch>) => {
  const source = markov({ symbols, order: 1, seed: `${name} ${seed}` })
  return function* (startAt) {
    for (let i = startAt; ; i++) {
      const ids = sequences(source, { count: 24, length, seed: `${name} ${seed} ${i}` })
      yield { ids, labels: ids }
    }
  }
}

/** The model that knows the first chain: the same for every arm. */
const pretrained = async ({ seed, size, signal }: MeasureContext<Size>): Promise<Model> => {
  const start = await createModel(tinyLlama({ ...size, tokens: symbols, length }), { seed })
  const options = { steps: size.pretraining, learningRate: size.rate, schedule: 'linear', signal } as const
  return (await fit(start, chain('first', seed), options)).model
}

interface Arm {
  /** Of LoRA on every linear module; absent for training weights themselves. */
  readonly rank?: number
  /** Which weights train where there is no adapter. */
  readonly moves?: (name: string) => boolean
  /** Of the learning rate, times the size's own. */
  readonly rate: number
}

const arms = {
  full: { moves: () => true, rate: 1 },
  head: { moves: (name) => name === 'lm_head.weight', rate: 3 },
  lora2: { rank: 2, rate: 3 },
  lora8: { rank: 8, rate: 3 },
} satisfies Record<string, Arm>

const count = (parameters: readonly Value[]): number => parameters.reduce((n, v) => n + v.data.length, 0)

/** How many operations a forward pass has. */
const operations = async (model: Model, { ids }: Batch): Promise<number> => {
  type Inputs = { parameters: Record<string, Tensor>; ids: Tensor }
  const f = ({ parameters, ids }: Inputs): Tensor => forward(model, parameters, { ids }).logits
  return (await compile(f, { parameters: { ...model.parameters }, ids }, { optimization: 'disabled' })).nodes
}

/** What folding does to the loss, and to the number of operations compared with the base. */
const afterFolding = async (
  model: AdaptedModel,
  base: Model,
  held: readonly Batch[],
): Promise<{ foldedLoss: number; addedOperations: number }> => {
  const folder = await mkdtemp(join(tmpdir(), 'weft-fold-'))
  try {
    await model.fold(folder)
    await using checkpoint = await open(folder)
    const folded = await openModel(checkpoint, { trainable: true })
    const added = (await operations(folded, held[0])) - (await operations(base, held[0]))
    const { loss } = await evaluate(folded, () => held)
    return { foldedLoss: loss, addedOperations: added }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const measure = async (
  { rank, moves, rate }: Arm,
  context: MeasureContext<Size>,
): Promise<Record<'loss' | 'parameters' | 'foldedLoss' | 'addedOperations', number>> => {
  const { seed, size, signal, log } = context
  const base = await context.once('base', () => pretrained(context))
  const start =
    rank === undefined ? base : await lora(base, { rank, alpha: rank, targets: 'all-linear', seed })
  const objective: Objective = { loss: modelLoss(start), optimizer: adamW(), moves }
  const { model } = await fit(start, chain('second', seed), {
    steps: size.steps,
    learningRate: rate * size.rate,
    schedule: 'linear',
    objectives: [objective],
    signal,
    hook: ({ step }, { losses: [loss] }) => log({ step, loss }),
  })
  signal?.throwIfAborted()
  const held = heldBatches(() => chain('second', seed)(1_000_000), size.held)
  const { loss } = await evaluate(model, () => held)
  const moved = Object.entries(start.parameters).filter(([name]) => moves?.(name) ?? true)
  const parameters = count(moved.map(([, v]) => v))
  if (rank === undefined) return { loss, parameters, foldedLoss: loss, addedOperations: 0 }
  return { loss, parameters, ...(await afterFolding(model as AdaptedModel, base, held)) }
}

export const experiment: Reproduction = reproduction(lora, {
  arms,
  sizes,
  measure,
  plot: [
    curve({ y: 'loss', title: 'Loss while adapting' }),
    pareto({ x: 'parameters', y: 'loss', title: 'Held-out loss by trained numbers', log: { x: true } }),
  ],
  claims: ({ holds, notShown }) => [
    holds(
      'at rank 8 it comes within 5 % of the loss of full fine-tuning',
      (m) => m.lora8.loss.notAbove(m.full.loss, 0.05),
      { fullOnly: true },
    ),
    holds(
      'at rank 8 it trains less than half of the numbers',
      (m) => m.lora8.parameters.below(m.full.parameters, 0.5),
      { fullOnly: true },
    ),
    holds('a higher rank is better', (m) => m.lora8.loss.below(m.lora2.loss), { fullOnly: true }),
    holds('at rank 8 it is better than training the head alone', (m) => m.lora8.loss.below(m.head.loss), {
      fullOnly: true,
    }),
    holds('folded it has the same loss', (m) => m.lora8.foldedLoss.within(m.lora8.loss, 1e-5)),
    holds('folded it adds no operation to inference', (m) => m.lora8.addedOperations.within(0, 0), {
      paper: '0 % latency added',
    }),
    notShown(
      '10,000 times fewer trained numbers and a third of the memory',
      'of GPT-3 175B: out of reach here',
    ),
  ],
})
