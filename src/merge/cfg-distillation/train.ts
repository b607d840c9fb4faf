/**
 * @file Distilling guidance into a model on its own samples, with a reward for samples that are unlike each other (Diversity-
 * Rewarded CFG Distillation, arXiv 2410.06084).
 */
import { UsageError } from '../../errors.js'
import { headOf, type Model, type Parameters } from '../../models/index.js'
import type { OnProgress } from '../../progress.js'
import { Stream } from '../../random/index.js'
import { logSoftmax, type Tensor, type Value, value, valueOf } from '../../tensor/index.js'
import {
  adamW,
  type Batch,
  eachRow,
  initialState,
  type LossFunction,
  makeStep,
  type Objective,
  sumOfRows,
  type TrainingState,
} from '../../train/index.js'
import { advantages, bigrams, type Embed, meanUnlikeness, unlikeness } from './diversity.js'
import { type Guidance, guidedLogits, sampler } from '../../distil/sampler.js'
import { append, maxOf } from '../../tensor/numbers.js'

/** Options of `distilGuidance`. */
export interface DistilOptions {
  /** Guidance that the student learns to do without. */
  readonly guidance: Guidance
  /** β: how much unlike samples are worth against faithfulness to the guided model. Default 0. */
  readonly diversity?: number
  /** New tokens of a sample. */
  readonly tokens: number
  /** Training steps. */
  readonly steps: number
  /** Prompts in a step. Default 8. */
  readonly prompts?: number
  /** Samples of each prompt. Default 4; at least 2 where diversity counts. */
  readonly samples?: number
  /** Constant. Default 1e-5. */
  readonly learningRate?: number
  /** Temperature of the student's samples. Default 1. */
  readonly temperature?: number
  /** `student`: KL(student || teacher), which drops what the teacher would not say (the default); `teacher`: the other way round. */
  readonly direction?: 'student' | 'teacher'
  /** Embedding of a sample by which samples are alike. Default: its bigrams. Never called where diversity is 0. */
  readonly embed?: Embed
  /** Tokens that end a sample. Default none. */
  readonly ends?: ReadonlySet<number>
  /** Default 0. */
  readonly seed?: number | string
  /** After each step: KL of a sequence, and the mean unlikeness of samples of a prompt (0 where it is not asked for). */
  readonly onStep?: (step: number, found: { readonly kl: number; readonly diversity: number }) => void
  /** Hears each step. */
  readonly onProgress?: OnProgress
  /** Aborts between two steps. */
  readonly signal?: AbortSignal
}

/** Student, and what its training came to. */
export interface Distilled {
  readonly model: Model
  /** Mean KL of a sequence over the last steps (a tenth of all), in nats. */
  readonly kl: number
  readonly diversity: number
}

/** KL(softmax(p) || softmax(q)) along the last axis, from log-probabilities. */
const divergence = (p: Tensor, q: Tensor): Tensor => p.exp().mul(p.sub(q)).sum(-1)

/** Logits at the places `at` [batch, tokens] of rows `ids`: [batch, tokens, vocabulary]. */
const logitsAt = (model: Model, parameters: Parameters<Tensor>, ids: Tensor, at: Tensor): Tensor =>
  model.architecture.forward(model.weights(parameters, {}), { ids, logitsAt: at }, model.config).logits

/**
 * The loss of the student on samples: the sum over a sample's tokens of the divergence from the guided teacher, less
 * β times what raises the samples' unlikeness (2 A log p, since both of a pair move); means over samples. Batches hold
 * `ids`, `at`, `negativeIds`, `negativeAt`, `tokens`, `counted` and `advantages`.
 */
export const distillationLoss =
  (
    student: Model,
    teacher: Model,
    {
      guidance,
      diversity = 0,
      direction = 'student',
    }: Pick<DistilOptions, 'guidance' | 'diversity' | 'direction'>,
  ): LossFunction =>
  (parameters, batch, trace) => {
    const logits = logitsAt(student, parameters, batch.ids, batch.at)
    const taught = teaching(teacher, batch, guidance.scale)
    const kl = (rows: Tensor, taughtRows: readonly Tensor[]): Tensor => {
      const own = logSoftmax(rows)
      const theirs = logSoftmax(taught.logits(taughtRows))
      return direction === 'student' ? divergence(own, theirs) : divergence(theirs, own)
    }
    const counted = batch.counted.greater(0)
    const samples = batch.counted.shape[0]
    const faithful = { logits, given: taught.rows, counted }
    if (diversity === 0) {
      const loss = sumOfRows((own, ...rows) => kl(own, rows), faithful, trace).div(samples)
      return { loss, metrics: { kl: loss } }
    }
    const gains = batch.advantages.unsqueeze(1).expand(batch.tokens.shape)
    const each = (own: Tensor, tokens: Tensor, gain: Tensor, ...rows: Tensor[]): Tensor => {
      const chosen = logSoftmax(own).gatherElements(tokens.unsqueeze(-1), 2).squeeze(2)
      return kl(own, rows).sub(chosen.mul(gain).mul(2 * diversity))
    }
    const loss = sumOfRows(each, { logits, given: [batch.tokens, gains, ...taught.rows], counted }, trace)
    const [faith] = eachRow((own, ...rows) => [kl(own, rows)], faithful)
    return { loss: loss.div(samples), metrics: { kl: faith.sum().div(samples) } }
  }

/** What the guided teacher's logits are made of: rows of one pass or of both, and what makes them of these. */
const teaching = (
  teacher: Model,
  batch: Batch<Tensor>,
  scale: number,
): { readonly rows: readonly Tensor[]; readonly logits: (rows: readonly Tensor[]) => Tensor } => {
  const passes = [
    ...(scale === 0 ? [] : [logitsAt(teacher, {}, batch.ids, batch.at)]),
    ...(scale === 1 ? [] : [logitsAt(teacher, {}, batch.negativeIds, batch.negativeAt)]),
  ]
  const parts = passes.map((logits) => headOf(logits) ?? { hidden: logits, head: (x: Tensor) => x })
  return {
    rows: parts.map(({ hidden }) => hidden),
    logits: (rows) => {
      const [first, second] = parts.map(({ head }, i) => head(rows[i]))
      return parts.length === 1 ? first : guidedLogits(first, second, scale)
    },
  }
}

const padded = (rows: readonly (readonly number[])[], length: number): Value =>
  valueOf(
    rows.flatMap((row) => [...row, ...new Array<number>(length - row.length).fill(0)]),
    [rows.length, length],
    'int32',
  )

/** A batch for `distillationLoss`. prompts, samples, gains: one a row; `width`: the most tokens of a prompt. */
export const sampledBatch = (
  prompts: readonly (readonly number[])[],
  samples: readonly (readonly number[])[],
  gains: readonly number[],
  {
    negative,
    tokens,
    width,
  }: { readonly negative: readonly number[]; readonly tokens: number; readonly width: number },
): Batch => {
  const shape = [samples.length, tokens]
  const places = (starts: readonly number[]): Value =>
    valueOf(
      starts.flatMap((start) => Array.from({ length: tokens }, (_, t) => start - 1 + t)),
      shape,
      'int32',
    )
  const rows = (before: (r: number) => readonly number[]): number[][] =>
    samples.map((row, r) => [...before(r), ...row])
  return {
    ids: padded(
      rows((r) => prompts[r]),
      width + tokens,
    ),
    at: places(prompts.map(({ length }) => length)),
    negativeIds: padded(
      rows(() => negative),
      negative.length + tokens,
    ),
    negativeAt: places(samples.map(() => negative.length)),
    tokens: padded(samples, tokens),
    counted: value(
      Float32Array.from(
        samples.flatMap((row) => Array.from({ length: tokens }, (_, t) => Number(t < row.length))),
      ),
      shape,
      'float32',
    ),
    advantages: value(Float32Array.from(gains), [samples.length], 'float32'),
  }
}

const check = (prompts: readonly (readonly number[])[], options: DistilOptions): void => {
  const { guidance, diversity = 0, samples = 4 } = options
  const refuse = (code: string, message: string, hint: string): never => {
    throw new UsageError(code, message, { hint })
  }
  if (prompts.length === 0 || prompts.some(({ length }) => length === 0))
    refuse('NoPrompt', 'there is no prompt, or an empty one', 'Give prompts of at least one token.')
  if (guidance.negative.length === 0)
    refuse(
      'NoNegative',
      'the negative prompt has no token',
      'The model needs one to begin with: what stands for an empty prompt.',
    )
  if (!(guidance.scale >= 0))
    refuse('BadGuidance', `a guidance of ${guidance.scale}`, 'Expected a number of at least 0.')
  if (!(diversity >= 0))
    refuse('BadDiversity', `a diversity of ${diversity}`, 'Expected a number of at least 0.')
  if (diversity > 0 && samples < 2)
    refuse(
      'OneSample',
      `${samples} sample of each prompt`,
      'Diversity needs at least two samples of a prompt.',
    )
}

/** A model that has at any time the parameters of `state`. */
const living = (model: Model, state: TrainingState): Model => ({
  ...model,
  get parameters() {
    return state.parameters
  },
})

/** Unlikeness of the samples of each prompt: what each sample gains, and the mean. */
const rewards = (
  samples: readonly (readonly number[])[],
  group: number,
  embed: Embed,
  running: number,
): { gains: number[]; mean: number } => {
  const gains: number[] = []
  let sum = 0
  for (let first = 0; first < samples.length; first += group) {
    const r = unlikeness(samples.slice(first, first + group).map(embed))
    append(gains, advantages(r, running))
    sum += meanUnlikeness(r)
  }
  return { gains, mean: (sum * group) / samples.length }
}

const meanOf = (numbers: readonly number[]): number => numbers.reduce((sum, x) => sum + x, 0) / numbers.length

/**
 * `student` after learning, on its own samples, to say without guidance what `teacher` says with it, and with β > 0 to
 * say unlike things to one prompt. Both begin as the same model; `teacher` is frozen. The student given stays as it was.
 * The same seed gives the same student. Throws UsageError for no prompts, and for options that make no sense.
 * prompts: [count][tokens].
 */
export const distilGuidance = async (
  student: Model,
  teacher: Model,
  prompts: readonly (readonly number[])[],
  options: DistilOptions,
): Promise<Distilled> => {
  check(prompts, options)
  const {
    guidance,
    diversity = 0,
    tokens,
    steps,
    samples: group = 4,
    seed = 0,
    learningRate = 1e-5,
    signal,
  } = options
  const count = options.prompts ?? 8
  const width = maxOf(prompts.map(({ length }) => length))
  const embed = options.embed ?? bigrams(Number(student.checkpoint.config.vocab_size))
  const objectives: Objective[] = [
    { loss: distillationLoss(student, teacher, options), optimizer: adamW({ weightDecay: 0 }) },
  ]
  const state = initialState(objectives, student.parameters)
  const step = makeStep(objectives, { clip: 1 })
  const { temperature, ends } = options
  const draw = sampler(living(student, state), {
    batch: count * group,
    prompt: width,
    tokens,
    temperature,
    ends,
  })
  const history: { kl: number; diversity: number }[] = []
  let running = 0
  while (state.step < steps) {
    signal?.throwIfAborted()
    const stream = new Stream(seed).fork('distillation').fork(state.step)
    const chosen = Array.from({ length: count }, () => stream.choice(prompts))
    const rows = chosen.flatMap((prompt) => new Array<readonly number[]>(group).fill(prompt))
    const { samples } = await draw(rows, stream)
    const { gains, mean } =
      diversity > 0 ? rewards(samples, group, embed, running) : { gains: rows.map(() => 0), mean: 0 }
    running = state.step === 0 ? mean : 0.9 * running + 0.1 * mean
    const batch = sampledBatch(rows, samples, gains, { negative: guidance.negative, tokens, width })
    const { metrics } = await step(state, batch, { learningRate, seed })
    history.push({ kl: metrics.kl, diversity: mean })
    options.onStep?.(state.step, { kl: metrics.kl, diversity: mean })
    options.onProgress?.({
      ...{ status: 'progress', name: 'distil', done: state.step, total: steps, unit: 'steps' },
      metrics: { kl: metrics.kl, diversity: mean },
    })
  }
  const last = history.slice(-Math.max(1, Math.ceil(steps / 10)))
  return {
    model: student.with({ ...state.parameters }),
    kl: meanOf(last.map(({ kl }) => kl)),
    diversity: meanOf(last.map((found) => found.diversity)),
  }
}
