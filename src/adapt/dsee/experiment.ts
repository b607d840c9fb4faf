/**
 * @file DSEE against LoRA and full fine-tuning, un-pruned and pruned: a small Llama that knows texts of pairs and brackets
 * learns three questions about them. Arms that prune do so after five eighths of the steps, so that all have equally many.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from '../../checkpoint/index.js'
import { tinyLlama, trainedNumbers } from '../../experiment/index.js'
import { createModel, type Model, openModel, type Parameters } from '../../models/index.js'
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
import { yesNoAnswers, yesNoLength, yesNoQuestions, yesNoTexts, yesNoTokens } from '../../synth/index.js'
import { sizeOf, type Tensor, type Value } from '../../tensor/index.js'
import { type Batch, byShape, fit, forward } from '../../train/index.js'
import { dsee, prunedNow } from './dsee.js'
import type { DseeOptions } from './options.js'
import { lora } from '../lora/lora.js'
import type { AdaptedModel } from '../core/spec.js'

const sizes = {
  quick: { width: 24, layers: 1, pretraining: 30, steps: 8, held: 2 },
  full: { width: 48, layers: 3, pretraining: 1000, steps: 640, held: 12 },
}
type Size = (typeof sizes)['full']

const pruneAt = 0.625

/** Batches without end. */
const batches = (rows: typeof yesNoTexts, seed: string): ((startAt: number) => Generator<Batch>) =>
  function* (startAt) {
    for (let i = startAt; ; i++) yield { ...rows(32, `${seed} ${i}`) }
  }

/** The model that knows the texts: the same for every arm. */
const pretrained = async ({ seed, size, signal }: MeasureContext<Size>): Promise<Model> => {
  const start = await createModel(
    tinyLlama({ ...size, tokens: yesNoTokens, length: yesNoLength, heads: 6 }),
    { seed },
  )
  const options = { steps: size.pretraining, learningRate: 3e-3, schedule: 'linear', signal } as const
  return (await fit(start, batches(yesNoTexts, `texts ${seed}`), options)).model
}

interface Arm {
  /** What trains; all weights where it is absent. */
  readonly adapt?: (base: Model, seed: number) => Promise<AdaptedModel>
  readonly rate: number
  /** Folded, it is a smaller model. */
  readonly smaller?: boolean
}

const common = { targets: ['q_proj', 'v_proj'], modulesToSave: ['lm_head'], rank: 8, alpha: 8 } as const

const sparse = (options: Partial<DseeOptions>, arm: Partial<Arm> = {}): Arm => ({
  adapt: (base, seed) => dsee(base, { ...common, entries: 64, pruneAt, seed, ...options }),
  rate: 5e-3,
  ...arm,
})

const third = { heads: 2, hidden: 1 / 3 } as const

const arms = {
  full: { rate: 3e-3 },
  lora: { adapt: (base, seed) => lora(base, { ...common, seed }), rate: 5e-3 },
  dsee: sparse({}),
  magnitude: sparse({ omega: 'magnitude' }),
  random: sparse({ omega: 'random' }),
  fifth: sparse({ sparsity: 0.2, score: 'update' }),
  half: sparse({ sparsity: 0.5, score: 'update' }),
  halfByWeight: sparse({ sparsity: 0.5 }),
  prunedFirst: {
    adapt: async (base, seed) => prunedNow(await dsee(base, { ...common, entries: 0, sparsity: 0.5, seed })),
    rate: 5e-3,
  },
  units: sparse({ ...third, score: 'update' }, { smaller: true }),
  randomUnits: sparse({ ...third, score: 'random' }, { smaller: true }),
} satisfies Record<string, Arm>

/** The share of questions that a model with these parameters answers. */
const accuracyOf = (
  model: Model,
  held: readonly Batch[],
): ((parameters?: Parameters<Value>) => Promise<number>) => {
  const program = byShape(({ parameters, ids }: { parameters: Parameters<Tensor>; ids: Tensor }) => {
    const { logits } = forward(model, parameters, { ids })
    const answer = logits.slice(1, yesNoLength - 2, yesNoLength - 1).slice(2, yesNoAnswers.no)
    const wanted = ids.slice(1, yesNoLength - 1).sub(yesNoAnswers.no)
    return { right: answer.argMax(-1).equal(wanted).cast('float32').mean() }
  })
  return async (parameters = model.parameters) => {
    let sum = 0
    for (const { ids } of held) sum += Number((await (await program({ parameters, ids })).right.read())[0])
    return sum / held.length
  }
}

/** Multiplications and additions of the blocks for a row of tokens: those of their matrices, of scores and of their sums. */
const multiplyAdds = ({ architecture, config }: Model): number => {
  const matrices = architecture
    .table(config)
    .filter(({ name, kind }) => kind === 'linear' && name !== 'lm_head.weight')
  const perToken = matrices.reduce((n, { shape }) => n + sizeOf(shape), 0)
  const attended = architecture.cache!(config).reduce((n, { heads, size }) => n + heads * size, 0)
  return yesNoLength * (perToken + 2 * yesNoLength * attended)
}

/** The folded model's accuracy, and its work as a share of the base's. */
const afterFolding = async (
  model: AdaptedModel,
  held: readonly Batch[],
): Promise<{ foldedAccuracy: number; work: number }> => {
  const folder = await mkdtemp(join(tmpdir(), 'weft-fold-'))
  try {
    await model.fold(folder)
    await using checkpoint = await open(folder)
    const folded = await openModel(checkpoint)
    const work = multiplyAdds(folded) / multiplyAdds(model.plan.base)
    return { foldedAccuracy: await accuracyOf(folded, held)(), work }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Metrics of an arm; the last two of those that are smaller when folded. */
interface Metrics {
  readonly accuracy: number
  readonly justPruned: number
  readonly parameters: number
  readonly foldedAccuracy?: number
  readonly work?: number
}

const measure = async ({ adapt, rate, smaller }: Arm, context: MeasureContext<Size>): Promise<Metrics> => {
  const { seed, size, signal, log } = context
  const base = await context.once('base', () => pretrained(context))
  const start = (await adapt?.(base, seed)) ?? base
  const held = Array.from({ length: size.held }, (_, i) => ({ ...yesNoQuestions(96, `held ${seed} ${i}`) }))
  const accuracy = accuracyOf(start, held)
  let justPruned = NaN
  const { model } = await fit(start, batches(yesNoQuestions, `questions ${seed}`), {
    steps: size.steps,
    learningRate: rate,
    schedule: 'linear',
    seed,
    signal,
    hook: async ({ step, parameters }, { losses: [loss] }) => {
      log({ step, loss })
      if (step === Math.round(pruneAt * size.steps)) justPruned = await accuracy(parameters)
    },
  })
  signal?.throwIfAborted()
  const measured = {
    accuracy: await accuracy(model.parameters),
    justPruned,
    parameters: trainedNumbers(start),
  }
  return smaller ? { ...measured, ...(await afterFolding(model as AdaptedModel, held)) } : measured
}

const failing = { fullOnly: true, known: 'fails' } as const

/** Claims of the paper and of the specification, the first half. */
const firstClaims = ({ holds }: ClaimWords<keyof typeof arms, Metrics>): readonly ReproductionClaim[] => [
  holds(
    'un-pruned it answers as many questions as LoRA, within 1 %',
    (m) => m.dsee.accuracy.notBelow(m.lora.accuracy, 0.01),
    {
      ...failing,
      paper: 'a little better at matched counts',
      why: 'it was 3 % below; its V starts as the paper has it, several times smaller than that of LoRA here',
    },
  ),
  holds(
    'without a fifth of the weights it is within 1 % of un-pruned',
    (m) => m.fifth.accuracy.notBelow(m.dsee.accuracy, 0.01),
    full,
  ),
  holds(
    'without half of them, chosen by the update, it is within 1 %',
    (m) => m.half.accuracy.notBelow(m.dsee.accuracy, 0.01),
    { ...failing, why: 'chosen by the update it was 4 % below' },
  ),
  holds(
    'without a third of heads and channels it is within 2 %',
    (m) => m.units.accuracy.notBelow(m.dsee.accuracy, 0.02),
    { ...full, paper: 'comparable quality at 25 % fewer FLOPs' },
  ),
  holds('and folded it is a model with a third less work', (m) => m.units.work.within(2 / 3, 1e-9)),
  holds('which answers the same', (m) => m.units.foldedAccuracy.within(m.units.accuracy, 1e-6)),
  holds(
    'tuning on repairs what pruning half by update broke',
    (m) => m.half.accuracy.above(m.half.justPruned),
    full,
  ),
]

/** The rest of the claims. */
const furtherClaims = ({
  holds,
  notShown,
}: ClaimWords<keyof typeof arms, Metrics>): readonly ReproductionClaim[] => [
  holds(
    'and what pruning half by weight broke',
    (m) => m.halfByWeight.accuracy.above(m.halfByWeight.justPruned),
    full,
  ),
  holds('and what pruning heads and channels broke', (m) => m.units.accuracy.above(m.units.justPruned), full),
  holds(
    'free entries that the decomposition chose are better than random ones',
    (m) => m.dsee.accuracy.above(m.random.accuracy),
    {
      ...failing,
      paper: 'better than random or magnitude',
      why: 'random ones were as good on average, and seeds differ more',
    },
  ),
  holds(
    'heads and channels chosen by the update are better than random ones',
    (m) => m.units.accuracy.above(m.randomUnits.accuracy),
    { ...failing, paper: 'importance matters', why: '1 % better, within the noise of three seeds' },
  ),
  holds(
    'just pruned, half by update is better than half by weight',
    (m) => m.half.justPruned.above(m.halfByWeight.justPruned),
    {
      ...failing,
      paper: 'scripts score by the update',
      why: 'large weights that got a small update are removed: a quarter worse',
    },
  ),
  holds(
    'the three steps are better than pruning first and LoRA for all steps',
    (m) => m.half.accuracy.above(m.prunedFirst.accuracy),
    { ...failing, why: 'pruned first by weight it was 3 % better' },
  ),
  notShown('scores on GLUE and of GPT-2', 'out of reach here'),
  notShown('time saved by pruning single entries', 'ONNX Runtime multiplies dense matrices: FLOPs, not time'),
]

export const experiment: Reproduction = reproduction(dsee, {
  arms,
  sizes,
  measure,
  plot: [
    bars({ y: 'accuracy', title: 'Questions answered' }),
    bars({ y: 'justPruned', title: 'Questions answered after five eighths of the steps, just pruned' }),
    curve({ y: 'loss', title: 'Loss while adapting' }),
  ],
  claims: (words) => [...firstClaims(words), ...furtherClaims(words)],
})
