/**
 * @file The baselines of the survey on one shift: a small Llama learns three chains over symbols of their own, then one
 * chain's table is drawn anew, which re-maps outputs. Next-token accuracy has a ceiling of 0.7, the chains' own. Beside it
 * the numbers that train, and the bytes that a forward pass must keep for the backward one.
 */
import { heldBatches, tinyLlama } from '../../experiment/index.js'
import { createModel, type Model } from '../../models/index.js'
import { bars, type MeasureContext, pareto, type Reproduction, reproduction } from '../../papers/index.js'
import { markov, type SequenceSource, sequences } from '../../synth/index.js'
import { sizeOf, type Tensor, toNumbers, type Value, valueOf } from '../../tensor/index.js'
import {
  adamW,
  type Batch,
  byShape,
  fit,
  forward,
  modelLoss,
  type Objective,
  trainingOf,
} from '../../train/index.js'
import { adalora } from '../adalora/adalora.js'
import { bitfit } from '../bitfit/bitfit.js'
import { houlsby } from '../houlsby/houlsby.js'
import { parallel } from '../parallel/parallel.js'
import { ia3 } from '../ia3/ia3.js'
import { lnTuning } from '../ln-tuning/ln-tuning.js'
import { loha } from '../loha/loha.js'
import { lora } from '../lora/lora.js'
import { card } from './card.js'
import { prefix } from '../prefix/prefix.js'
import { prompt } from '../prompt/prompt.js'
import { savedBytes } from '../../train/saved-bytes.js'
import type { AdapterMethod } from '../core/spec.js'
import { vera } from '../vera/vera.js'

const symbols = 20
const length = 20
const rows = 24

/** What the two sizes of the experiment differ in. */
const sizes = {
  quick: { width: 16, layers: 1, pretraining: 40, steps: 8, held: 1 },
  full: { width: 64, layers: 4, pretraining: 1200, steps: 150, held: 12 },
}
type Size = (typeof sizes)['full']

const chains = new Map<string, SequenceSource>()

const chainOf = (name: string): SequenceSource => {
  const chain = chains.get(name) ?? markov({ symbols, order: 2, top: 0.7, seed: name })
  chains.set(name, chain)
  return chain
}

/** Rows of the chain `name` over the symbols of its `place`. The first two symbols follow from nothing: no label. */
const chainRows = (name: string, place: number, count: number, seed: string): Batch => {
  const drawn = sequences(chainOf(name), { count, length, seed })
  const ids = Array.from(toNumbers(drawn), (x) => x + 4 + place * symbols)
  const labels = ids.map((id, i) => (i % length < 2 ? -100 : id))
  const shape = [count, length]
  return { ids: valueOf(ids, shape, 'int32'), labels: valueOf(labels, shape, 'int32') }
}

const joined = (parts: readonly Batch[]): Batch => {
  const all = (name: string): Value =>
    valueOf(
      parts.flatMap((part) => [...toNumbers(part[name])]),
      [parts.reduce((n, part) => n + part[name].shape[0], 0), length],
      'int32',
    )
  return { ids: all('ids'), labels: all('labels') }
}

/** Batches of all three chains, without end. */
const before = (seed: number) =>
  function* (startAt: number): Generator<Batch> {
    for (let i = startAt; ; i++)
      yield joined(
        [0, 1, 2].map((chain) =>
          chainRows(`chain ${chain} ${seed}`, chain, rows / 3, `${seed} ${chain} ${i}`),
        ),
      )
  }

/** Batches of the third chain's new table: of 2,000 sequences, gone through again and again. */
const after = (seed: number, part = 'train', batches = Math.floor(2000 / rows)) =>
  function* (startAt: number): Generator<Batch> {
    for (let i = startAt; ; i++) yield chainRows(`redrawn ${seed}`, 2, rows, `${part} ${seed} ${i % batches}`)
  }

/** The model that knows the three chains: the same for every arm. */
const pretrained = async ({ seed, size, signal }: MeasureContext<Size>): Promise<Model> => {
  const start = await createModel(tinyLlama({ ...size, tokens: 64, length: 2 * length }), { seed })
  const options = { steps: size.pretraining, learningRate: 3e-3, schedule: 'linear', signal } as const
  return (await fit(start, before(seed), options)).model
}

interface Arm {
  readonly method?: AdapterMethod<never>
  readonly options?: Readonly<Record<string, unknown>>
  /** Which weights train where there is no adapter. */
  readonly moves?: (name: string, layers: number) => boolean
  readonly rate: number
}

const all = { targets: 'all-linear' }

const arms = {
  full: { moves: () => true, rate: 3e-3 },
  head: { moves: (name) => name === 'lm_head.weight', rate: 3e-2 },
  lastBlock: { moves: (name, layers) => name.startsWith(`model.layers.${layers - 1}.`), rate: 1e-2 },
  lora2: { method: lora, options: { ...all, rank: 2, alpha: 2 }, rate: 1e-2 },
  lora8: { method: lora, options: { ...all, rank: 8, alpha: 8 }, rate: 1e-2 },
  loha2: { method: loha, options: { ...all, rank: 2, alpha: 4 }, rate: 1e-2 },
  adalora: { method: adalora, options: { ...all, rank: 4, target: 2, alpha: 16 }, rate: 4e-2 },
  vera: { method: vera, options: { ...all, rank: 64 }, rate: 3e-2 },
  ia3: { method: ia3, rate: 1e-1 },
  serial: { method: houlsby, options: { bottleneck: 8, activation: 'relu' }, rate: 1e-2 },
  parallel: {
    method: parallel,
    options: { bottleneck: 16, placement: 'attention', activation: 'relu' },
    rate: 3e-2,
  },
  bitfit: { method: bitfit, rate: 3e-2 },
  norms: { method: lnTuning, rate: 1e-1 },
  prefix: { method: prefix, options: { tokens: 8 }, rate: 3e-2 },
  prompt: { method: prompt, options: { tokens: 8 }, rate: 3e-2 },
} satisfies Record<string, Arm>

/** Share of the labels that are the likeliest token. */
const accuracyOf = async (model: Model, batches: readonly Batch[]): Promise<number> => {
  interface Inputs {
    parameters: Record<string, Tensor>
    ids: Tensor
  }
  const program = byShape(({ parameters, ids }: Inputs) =>
    forward(model, parameters, { ids }).logits.argMax(-1),
  )
  let [right, count] = [0, 0]
  for (const { ids, labels } of batches) {
    const best = await program({ parameters: { ...model.parameters }, ids })
    const guesses = await best.read()
    toNumbers(labels).forEach((label, i) => {
      if (label === -100) return
      count++
      right += Number(Number(guesses[i - 1]) === label)
    })
  }
  return right / count
}

const measure = async (
  { method, options = {}, moves, rate }: Arm,
  context: MeasureContext<Size>,
): Promise<Record<'accuracy' | 'parameters' | 'savedKiB', number>> => {
  const { seed, size, signal, log } = context
  const base = await context.once('base', () => pretrained(context))
  const start = method ? await method(base, { ...options, seed } as never) : base
  const usual: Objective = { loss: modelLoss(start), optimizer: adamW({ weightDecay: 0 }) }
  const movesHere = moves && ((name: string): boolean => moves(name, size.layers))
  const { model } = await fit(start, after(seed), {
    steps: size.steps,
    learningRate: rate,
    schedule: 'linear',
    ...(movesHere ? { objectives: [{ ...usual, moves: movesHere }] } : { optimizer: usual.optimizer }),
    signal,
    hook: ({ step }, { losses: [loss] }) => log({ step, loss }),
  })
  signal?.throwIfAborted()
  const batches = heldBatches(() => after(seed, 'held', Infinity)(0), size.held)
  const moved = movesHere ?? trainingOf(start).moves ?? ((): boolean => true)
  const parameters = Object.entries(start.parameters)
    .filter(([name]) => moved(name))
    .reduce((n, [, { shape }]) => n + sizeOf(shape), 0)
  const savedKiB = (await savedBytes(start, batches[0], moved)) / 1024
  return { accuracy: await accuracyOf(model, batches), parameters, savedKiB }
}

const fullOnly = { fullOnly: true } as const

export const experiment: Reproduction = reproduction(
  { paper: card },
  {
    arms,
    sizes,
    measure,
    plot: [
      pareto({ x: 'parameters', y: 'accuracy', title: 'Accuracy by trained numbers', log: { x: true } }),
      bars({ y: 'savedKiB', title: 'KiB that a forward pass keeps for the backward one' }),
    ],
    claims: ({ holds, notShown }) => [
      holds(
        'full fine-tuning is above the best adapter, LoRA of rank 8',
        (m) => m.full.accuracy.notBelow(m.lora8.accuracy, 0),
        fullOnly,
      ),
      holds(
        'LoRA of rank 8 comes within 3 points of it',
        (m) => m.lora8.accuracy.notBelow(m.full.accuracy, 0.03 / 0.7),
        fullOnly,
      ),
      holds(
        'LoHa of rank 2 comes within 3 points of it',
        (m) => m.loha2.accuracy.notBelow(m.full.accuracy, 0.03 / 0.7),
        {
          ...fullOnly,
          why: '4.6 points below over three seeds, above LoRA at half its numbers',
          known: 'fails',
        },
      ),
      holds(
        'AdaLoRA from rank 4 to 2 comes within 3 points of it',
        (m) => m.adalora.accuracy.notBelow(m.full.accuracy, 0.03 / 0.7),
        fullOnly,
      ),
      holds(
        'prompt tuning is last, behind prefix tuning',
        (m) => m.prompt.accuracy.below(m.prefix.accuracy),
        fullOnly,
      ),
      holds('prefix tuning is behind BitFit', (m) => m.prefix.accuracy.below(m.bitfit.accuracy), fullOnly),
      holds('LoRA of rank 2 saves less than a quarter of the activations', (m) =>
        m.lora2.savedKiB.above(m.full.savedKiB, -0.25),
      ),
      holds(
        'training the last block alone saves more than half of them',
        (m) => m.lastBlock.savedKiB.below(m.full.savedKiB, 0.5),
        fullOnly,
      ),
      holds(
        'serial and parallel adapters come within 3 points of LoRA',
        (m) => m.serial.accuracy.notBelow(m.lora2.accuracy, 0.03 / 0.7),
        {
          ...fullOnly,
          why: 'measured in advance: 20 points below, at 8,700 numbers and 150 steps',
          known: 'fails',
        },
      ),
      holds('(IA)^3 is better than the head alone', (m) => m.ia3.accuracy.above(m.head.accuracy), {
        ...fullOnly,
        why: 'this shift re-maps outputs, which a head can do',
        known: 'fails',
      }),
      notShown('a ranking of the methods', 'it depends on the kind of shift, and this is one kind'),
      notShown(
        'serving many adapters over one base at once',
        'throughput of servers with many tenants is out of reach here',
      ),
    ],
  },
)
