/**
 * @file Soups of a sweep: a small network learns a mixture of Gaussians and is fine-tuned twelve times on a moved one
 * with noisy labels; and a small GPT-2 on a grammar that changed. Against the best run, the ensemble, and a sweep whose
 * runs share no start.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Checkpoint, open } from '../../checkpoint/index.js'
import { createModel, type Model, openModel, type Parameters } from '../../models/index.js'
import { bars, type MeasureContext, type Reproduction, reproduction } from '../../papers/index.js'
import { Stream } from '../../random/index.js'
import { gaussianMixture, Grammar, type LabelledData, phraseRules } from '../../synth/index.js'
import { type Tensor, type Value, valueOf } from '../../tensor/index.js'
import { adamW, type Batch, byShape, evaluate, fit, forward } from '../../train/index.js'
import { learnedSoup } from './learned.js'
import { modelInMemory } from '../core/recipe/in-memory.js'
import { minibatches, onHost, whole } from '../../experiment/batches.js'
import { card } from './card.js'
import type { Merged } from '../core/procedure.js'
import { greedySoup } from './model-soups.js'
import { uniformSoup } from './uniform.js'
import { maxOf } from '../../tensor/numbers.js'

/** What the two sizes of the experiment differ in. */
const sizes = {
  quick: { width: 24, pretraining: 150, examples: 3000, runs: 3, steps: [40, 80], test: 1000, text: 0 },
  full: { width: 128, pretraining: 1500, examples: 20_000, runs: 12, steps: [150, 600], test: 8000, text: 6 },
} as const
type Size = (typeof sizes)[keyof typeof sizes]

type Batches = () => readonly Batch[]

/** A sweep: its runs as checkpoints, and what they are chosen and judged by. */
interface Sweep {
  readonly base: Checkpoint
  readonly runs: readonly Checkpoint[]
  /** The control: runs that begin from weights of their own. */
  readonly strangers: readonly Checkpoint[]
  readonly validation: Batches
  readonly test: Batches
  readonly shifted: Batches
}

const logUniform = (stream: Stream, low: number, high: number): number =>
  low * (high / low) ** stream.uniform()

const train = async (
  model: Model,
  data: LabelledData,
  steps: number,
  learningRate: number,
  weightDecay: number,
  seed: string,
  signal?: AbortSignal,
): Promise<Model> => {
  const optimizer = adamW({ weightDecay })
  const result = await fit(model, minibatches(data, 64, seed), { steps, learningRate, optimizer, signal })
  signal?.throwIfAborted()
  return model.with(await onHost(result.model.parameters))
}

const classes = async (size: Size, seed: number, signal?: AbortSignal): Promise<Sweep> => {
  const first = gaussianMixture({ classes: 16, width: 32, prototypes: 3, seed: `soups ${seed}` })
  const target = first.shifted({ seed: `target ${seed}`, move: 1.1 })
  const config = { model_type: 'weft_mlp', sizes: [32, size.width, size.width, 16], hidden_act: 'relu' }
  const pretraining = first.sample(size.examples, { seed: 'base' })
  const start = await createModel(config, { seed })
  const base = await train(start, pretraining, size.pretraining, 2e-3, 0, `base ${seed}`, signal)
  const tuning = target.sample(800, { seed: 'tuning', labelNoise: 0.15 })
  const [least, most] = size.steps
  const sweep = async (from: (i: number) => Promise<Model>, name: string): Promise<Checkpoint[]> => {
    const runs: Checkpoint[] = []
    for (let i = 0; i < size.runs; i++) {
      const stream = new Stream(`sweep ${seed}`).fork(i)
      const rate = logUniform(stream, 2e-4, 2.5e-3)
      const decay = logUniform(stream, 1e-4, 1e-1)
      const steps = least + stream.int(most - least + 1)
      const run = await train(await from(i), tuning, steps, rate, decay, `run ${seed} ${i}`, signal)
      runs.push(await modelInMemory(run, `${name}-${i}`))
    }
    return runs
  }
  return {
    base: await modelInMemory(base, 'base'),
    runs: await sweep(async () => base, 'run'),
    strangers: await sweep((i) => createModel(config, { seed: `stranger ${seed} ${i}` }), 'stranger'),
    validation: whole(target.sample(600, { seed: 'validation' })),
    test: whole(target.sample(size.test, { seed: 'test' })),
    shifted: whole(target.sample(size.test, { seed: 'shifted', noise: 1.5 })),
  }
}

/** Sentences as rows of token ids, one after another, cut to `length`. */
const textBatches = (grammar: Grammar, words: readonly string[], count: number, seed: string): Batch[] => {
  const length = 16
  const ids = grammar
    .sentences(count * 3, seed)
    .flatMap((sentence) => [...sentence.map((word) => words.indexOf(word) + 1), 0])
  return Array.from({ length: Math.floor(count / 16) }, (_, b) => {
    const rows = valueOf(ids.slice(b * 16 * length, (b + 1) * 16 * length), [16, length], 'int32')
    return { ids: rows, labels: rows }
  })
}

/** A two-layer GPT-2 on the grammar, fine-tuned on one with other habits. */
const texts = async (
  size: Size,
  seed: number,
  signal?: AbortSignal,
): Promise<Omit<Sweep, 'strangers' | 'shifted'>> => {
  const habits = (weights: readonly number[]): Grammar =>
    new Grammar({
      ...phraseRules,
      N1: ['dog', 'cat', 'child', 'bird', 'king'].map((w, i) => [weights[i], w] as const),
      N2: ['dogs', 'cats', 'children', 'birds', 'kings'].map((w, i) => [weights[4 - i], w] as const),
      V1: ['sees', 'likes', 'follows', 'hears'].map((w, i) => [weights[i], w] as const),
      ADJ: ['old', 'red', 'quiet', 'small'].map((w, i) => [weights[3 - i], w] as const),
    })
  const [first, second] = [habits([1, 1, 1, 1, 1]), habits([8, 4, 2, 1, 1])]
  const words = first.words
  const config = {
    model_type: 'gpt2',
    ...{ vocab_size: words.length + 1, n_embd: 32, n_layer: 2, n_head: 4, n_positions: 16 },
    ...{ resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0, initializer_range: 0.1 },
  }
  const run = async (
    model: Model,
    batches: readonly Batch[],
    steps: number,
    learningRate: number,
    i: number,
  ) => {
    const source = function* (startAt: number): Generator<Batch> {
      for (let step = startAt; ; step++)
        yield batches[new Stream(`text ${seed} ${i}`).fork(step).int(batches.length)]
    }
    const result = await fit(model, source, { steps, learningRate, signal })
    signal?.throwIfAborted()
    return model.with(await onHost(result.model.parameters))
  }
  const base = await run(
    await createModel(config, { seed }),
    textBatches(first, words, 800, `base ${seed}`),
    400,
    3e-3,
    -1,
  )
  const tuning = textBatches(second, words, 640, `tuning ${seed}`)
  const runs: Checkpoint[] = []
  for (let i = 0; i < size.text; i++) {
    const stream = new Stream(`text sweep ${seed}`).fork(i)
    const steps = 100 + stream.int(200)
    runs.push(
      await modelInMemory(await run(base, tuning, steps, logUniform(stream, 5e-4, 3e-3), i), `text-${i}`),
    )
  }
  const held = textBatches(second, words, 320, `validation ${seed}`)
  const test = textBatches(second, words, 1600, `test ${seed}`)
  return { base: await modelInMemory(base, 'base'), runs, validation: () => held, test: () => test }
}

const openedModel = (checkpoint: Checkpoint): Promise<Model> => openModel(checkpoint, { trainable: true })

/** What a procedure's result scores after it was written and opened again. */
const scoreOf = async <T>(merged: Merged, score: (model: Model) => Promise<T>): Promise<T> => {
  const folder = await mkdtemp(join(tmpdir(), 'weft-soup-'))
  try {
    await merged.save(folder)
    await using checkpoint = await open(folder)
    return await score(await openedModel(checkpoint))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

type Scores = Record<'accuracy' | 'shifted', number>
type Inputs = { parameters: Record<string, Tensor>; batch: Batch<Tensor> }

/** Accuracy of the mean of all models' logits. */
const ensembleAccuracy = async (models: readonly Model[], [batch]: readonly Batch[]): Promise<number> => {
  const program = byShape(({ parameters, batch }: Inputs) => forward(models[0], parameters, batch).logits)
  const run = async (parameters: Parameters<Value>): Promise<Float32Array> =>
    (await (await program({ parameters: { ...parameters }, batch })).read()) as Float32Array
  const sum = new Float32Array(batch.labels.data.length * 16)
  for (const { parameters } of models) (await run(parameters)).forEach((x, i) => (sum[i] += x))
  let right = 0
  const labels = batch.labels.data as Int32Array
  labels.forEach((label, row) => {
    const logits = sum.subarray(row * 16, row * 16 + 16)
    if (logits[label] === maxOf(logits)) right++
  })
  return right / labels.length
}

type Arm = 'base' | 'mean' | 'best' | 'uniform' | 'greedy' | 'learned' | 'ensemble' | 'strangers'

const meanOf = (all: readonly Scores[]): Scores => ({
  accuracy: all.reduce((sum, { accuracy }) => sum + accuracy, 0) / all.length,
  shifted: all.reduce((sum, { shifted }) => sum + shifted, 0) / all.length,
})

/** Accuracies of an arm; of the greedy soup also how many runs it took. */
interface Scored extends Scores {
  readonly ingredients?: number
}

const scored = async (arm: Arm, sweep: Sweep): Promise<Scored> => {
  const { base, runs, strangers, validation, test, shifted } = sweep
  const judge = async (model: Model): Promise<Scores> => ({
    accuracy: (await evaluate(model, test)).accuracy!,
    shifted: (await evaluate(model, shifted)).accuracy!,
  })
  const alone = async (checkpoint: Checkpoint): Promise<Scores> => judge(await openedModel(checkpoint))
  const each = (): Promise<Scores[]> => Promise.all(runs.map(alone))
  const given = { data: validation, metric: 'accuracy' } as const
  switch (arm) {
    case 'base':
      return alone(base)
    case 'mean':
      return meanOf(await each())
    case 'best': {
      const { report } = await uniformSoup(runs, given)
      return alone(runs.find(({ folder }) => folder === report.best)!)
    }
    case 'uniform':
      return scoreOf(await uniformSoup(runs), judge)
    case 'greedy': {
      const merged = await greedySoup(runs, given)
      const { length } = merged.report.ingredients as unknown as readonly string[]
      return { ...(await scoreOf(merged, judge)), ingredients: length }
    }
    case 'learned': {
      const [batch] = validation()
      const steps = runs.length > 4 ? 100 : 20
      const data = function* (): Generator<Batch> {
        for (let i = 0; i < steps; i++) yield batch
      }
      return scoreOf(
        await learnedSoup(runs, { data, steps, evaluation: validation, metric: 'accuracy' }),
        judge,
      )
    }
    case 'ensemble': {
      const models = await Promise.all(runs.map(openedModel))
      return {
        accuracy: await ensembleAccuracy(models, test()),
        shifted: await ensembleAccuracy(models, shifted()),
      }
    }
    case 'strangers': {
      const soup = await scoreOf(await uniformSoup(strangers), judge)
      const own = meanOf(await Promise.all(strangers.map(alone)))
      return { accuracy: soup.accuracy / own.accuracy, shifted: soup.shifted / own.shifted }
    }
  }
}

const textLoss = async (arm: Arm, sweep: Awaited<ReturnType<typeof texts>>): Promise<number | undefined> => {
  const { base, runs, validation, test } = sweep
  const judge = async (model: Model): Promise<number> => (await evaluate(model, test)).loss
  const alone = async (checkpoint: Checkpoint): Promise<number> => judge(await openedModel(checkpoint))
  if (arm === 'base') return alone(base)
  if (arm === 'uniform') return scoreOf(await uniformSoup(runs), judge)
  if (arm === 'greedy') return scoreOf(await greedySoup(runs, { data: validation }), judge)
  const { report } = await uniformSoup(runs, { data: validation })
  if (arm === 'best') return alone(runs.find(({ folder }) => folder === report.best)!)
  if (arm !== 'mean') return undefined
  const losses = await Promise.all(runs.map(alone))
  return losses.reduce((a, b) => a + b) / losses.length
}

/** Metrics of an arm; `textLoss` in the full form, gains over the best run of the greedy soup. */
interface Metrics extends Scored {
  readonly textLoss?: number
  readonly gain?: number
  readonly shiftedGain?: number
}

const measure = async (arm: Arm, context: MeasureContext<Size>): Promise<Metrics> => {
  const { seed, size, quick, signal, once } = context
  const sweep = await once('classes', () => classes(size, seed, signal))
  const scores = await scored(arm, sweep)
  // The text sweep takes too long for the quick size.
  const loss = quick ? undefined : await textLoss(arm, await once('texts', () => texts(size, seed, signal)))
  const measured = loss === undefined ? scores : { ...scores, textLoss: loss }
  if (arm !== 'greedy') return measured
  const best = await scored('best', sweep)
  const gain = scores.accuracy - best.accuracy
  return { ...measured, gain, shiftedGain: scores.shifted - best.shifted }
}

const arms: Record<Arm, Arm> = {
  base: 'base',
  mean: 'mean',
  best: 'best',
  uniform: 'uniform',
  greedy: 'greedy',
  learned: 'learned',
  ensemble: 'ensemble',
  strangers: 'strangers',
}

export const experiment: Reproduction = reproduction(
  { paper: card },
  {
    arms,
    sizes,
    measure,
    plot: [
      bars({ y: 'accuracy', title: 'Accuracy on the task of the sweep' }),
      bars({ y: 'shifted', title: 'Accuracy on the task with more noise' }),
      bars({ y: 'textLoss', title: 'Held-out loss of the text sweep' }),
    ],
    claims: ({ holds, notShown }) => [
      holds(
        'the greedy soup is at least 0.003 more accurate than the best run',
        (m) => m.greedy.gain.notBelow(0.003, 0),
        { fullOnly: true, paper: '90.94 against 90.78 (ViT-G/14)' },
      ),
      holds(
        'under a shift it is at least 0.005 more accurate than the best run',
        (m) => m.greedy.shiftedGain.notBelow(0.005, 0),
        { fullOnly: true, paper: '85.02 against 84.68 on average over five shifts' },
      ),
      holds(
        'the greedy soup is at least as accurate as the uniform one',
        (m) => m.greedy.accuracy.notBelow(m.uniform.accuracy, 0),
        { fullOnly: true, paper: '81.03 against 79.97 (CLIP ViT-B/32)' },
      ),
      holds(
        'it comes within 0.01 of the ensemble, which costs all models at every use',
        (m) => m.greedy.accuracy.notBelow(m.ensemble.accuracy, 0.01),
        { fullOnly: true },
      ),
      holds(
        'the learned soup is more accurate than the greedy one',
        (m) => m.learned.accuracy.above(m.greedy.accuracy),
        { fullOnly: true, paper: '81.38 against 81.03 (CLIP ViT-B/32, weights per tensor)' },
      ),
      holds(
        'a soup of runs without a common start falls below half of their own accuracy',
        (m) => m.strangers.accuracy.below(0.5),
        { fullOnly: true },
      ),
      holds(
        'the greedy soup of text models has a lower loss than the best run',
        (m) => m.greedy.textLoss.below(m.best.textLoss),
        { fullOnly: true, paper: 'smaller gains on text' },
      ),
      notShown('the accuracies on ImageNet and its shifts', 'of CLIP and ViT-G/14: out of reach here'),
    ],
  },
)
