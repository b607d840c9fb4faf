/**
 * @file Checkpoints of one LoRA run, averaged: a small network learns a mixture of Gaussians and is adapted to a moved one
 * at a rate that is too high to come to rest, at one that is annealed, and at one that is too low to arrive.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadAdapter, lora } from '../../adapt/index.js'
import { readAdapter } from '../../checkpoint/index.js'
import { createModel, type Model } from '../../models/index.js'
import {
  full,
  bars,
  type Finding,
  type MeasureContext,
  type Reproduction,
  reproduction,
  type Sample,
} from '../../papers/index.js'
import { gaussianMixture } from '../../synth/index.js'
import type { Value } from '../../tensor/index.js'
import { adamW, evaluate, fit, type FitOptions } from '../../train/index.js'
import { weightedSum } from '../core/averaging/landscape.js'
import { metricWeights, type WeightOptions } from './weights.js'
import { card } from './card.js'
import { mwa } from './mwa.js'
import { minibatches, onHost, whole } from '../../experiment/batches.js'

/** What the two sizes of the experiment differ in. */
const sizes = {
  quick: { width: 32, pretraining: 200, steps: 100, checkpoints: 10, test: 2000 },
  full: { width: 128, pretraining: 800, steps: 400, checkpoints: 20, test: 10_000 },
} as const
type Size = (typeof sizes)['quick' | 'full']

/** How the learning rate goes: too high to come to rest, annealed from there to 0, too low to arrive. */
const runs = {
  constant: { learningRate: 1.5e-2 },
  annealed: { learningRate: 1.5e-2, schedule: 'warmup-cosine', warmup: 0 },
  slow: { learningRate: 3e-3 },
} as const satisfies Record<string, FitOptions>

interface Run {
  readonly adapter: Awaited<ReturnType<typeof lora>>
  readonly base: Model
  readonly checkpoints: readonly Readonly<Record<string, Value>>[]
  readonly steps: readonly number[]
  /** Mean training loss since the checkpoint before. */
  readonly losses: readonly number[]
  readonly test: ReturnType<typeof whole>
}

const taskOf = (seed: number) => {
  const first = gaussianMixture({ classes: 16, width: 32, prototypes: 3, noise: 1.3, seed: `mwa ${seed}` })
  const target = first.shifted({ seed: `mwa target ${seed}`, move: 0.9 })
  return { first, target }
}

const pretrained = async ({ seed, size, signal }: MeasureContext<Size>): Promise<Model> => {
  const { first } = taskOf(seed)
  const config = { model_type: 'weft_mlp', sizes: [32, size.width, size.width, 16], hidden_act: 'relu' }
  const data = minibatches(first.sample(20_000, { seed: 'base' }), 128, `mwa base ${seed}`)
  const options = {
    steps: size.pretraining,
    learningRate: 2e-3,
    optimizer: adamW({ weightDecay: 0 }),
    signal,
  }
  const { model } = await fit(await createModel(config, { seed }), data, options)
  signal?.throwIfAborted()
  return model.with(await onHost(model.parameters))
}

const runOf = async (kind: keyof typeof runs, context: MeasureContext<Size>): Promise<Run> => {
  const { seed, size, signal, once } = context
  const { target } = taskOf(seed)
  const base = await once('base', () => pretrained(context))
  const adapter = await lora(base, { rank: 4, alpha: 8, targets: 'all-linear', seed })
  const every = size.steps / size.checkpoints
  const [checkpoints, steps, losses] = [[], [], []] as [Record<string, Value>[], number[], number[]]
  let window: number[] = []
  const data = minibatches(target.sample(3000, { seed: 'tuning' }), 32, `mwa ${seed}`)
  await fit(adapter, data, {
    ...runs[kind],
    steps: size.steps,
    optimizer: adamW({ weightDecay: 0 }),
    signal,
    hook: async ({ step, parameters }, { losses: [loss] }) => {
      window.push(loss)
      if (step % every) return
      checkpoints.push(await onHost(parameters))
      steps.push(step)
      losses.push(window.reduce((a, b) => a + b) / window.length)
      window = []
    },
  })
  signal?.throwIfAborted()
  return {
    adapter,
    base,
    checkpoints,
    steps,
    losses,
    test: whole(target.sample(size.test, { seed: 'test' })),
  }
}

interface Arm extends Partial<WeightOptions> {
  readonly run?: keyof typeof runs
  /** The share of the checkpoints that are averaged, from the last one back. Default 1. */
  readonly window?: number
  readonly delta?: boolean
}

interface Scores {
  readonly accuracy: number
  readonly loss: number
}

const score = async (model: Model, test: Run['test']): Promise<Scores> => {
  const { accuracy, loss } = await evaluate(model, test)
  return { accuracy: accuracy!, loss }
}

/** The updates averaged exactly: as adapter folders, through the procedure that a user calls. */
const inDelta = async (
  { adapter, base, checkpoints, steps, losses, test }: Run,
  arm: Arm,
): Promise<Scores> => {
  const folder = await mkdtemp(join(tmpdir(), 'weft-mwa-'))
  try {
    const names = steps.map((step) => join(folder, `checkpoint-${step}`))
    for (const [i, name] of names.entries()) await adapter.with(checkpoints[i]).save(name)
    const log = steps.map((step, i) => JSON.stringify({ step, loss: losses[i] }))
    await writeFile(join(folder, 'metrics.jsonl'), `${log.join('\n')}\n`)
    const saved = await Promise.all(names.map(async (name) => (await readAdapter(name)).tensors))
    const { by: metric, score: kind, penalty } = optionsOf(arm)
    const merged = await mwa(saved, { metric, score: kind, penalty, space: 'delta' })
    await merged.save(join(folder, 'merged'))
    await Promise.all(saved.map((one) => one.close()))
    return await score(await loadAdapter(base, join(folder, 'merged'), { force: true }), test)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const optionsOf = ({ by = 'loss', score = 'power', penalty = 1, decay = 0.8 }: Arm): WeightOptions => ({
  ...{ by, score, penalty, decay },
})

const merged = async (run: Run, arm: Arm): Promise<Scores> => {
  if (arm.delta) return inDelta(run, arm)
  const { checkpoints, steps, losses, adapter, test } = run
  const from = Math.round(checkpoints.length * (1 - (arm.window ?? 1)))
  const [metrics, chosen] = [(arm.by === 'step' ? steps : losses).slice(from), checkpoints.slice(from)]
  const weights = metricWeights(metrics, [...chosen.keys()], optionsOf(arm))
  return score(adapter.with(await weightedSum(chosen, weights)), test)
}

interface Metrics extends Scores {
  readonly overLast: number
  readonly overUniform: number
  readonly lossUnderUniform: number
}

/** What the arm scores, and how far that is above the last checkpoint and the uniform average of the same window. */
const measure = async (arm: Arm, context: MeasureContext<Size>): Promise<Metrics> => {
  const { once } = context
  const kind = arm.run ?? 'constant'
  const run = await once(kind, () => runOf(kind, context))
  const at = (name: string, other: Arm): Promise<Scores> => once(`${kind} ${name}`, () => merged(run, other))
  const window = arm.window ?? 1
  const [last, uniform] = [
    await at('last', { score: 'last' }),
    await at(`uniform ${window}`, { score: 'uniform', window }),
  ]
  const scores = await merged(run, arm)
  return {
    ...scores,
    overLast: scores.accuracy - last.accuracy,
    overUniform: scores.accuracy - uniform.accuracy,
    lossUnderUniform: uniform.loss - scores.loss,
  }
}

const half = 0.5
const arms = {
  last: { score: 'last' },
  best: { score: 'best' },
  uniform: { score: 'uniform' },
  loss1: {},
  loss2: { penalty: 2 },
  loss4: { penalty: 4 },
  step1: { by: 'step' },
  ema: { score: 'ema' },
  uniformDelta: { score: 'uniform', delta: true },
  stepDelta: { by: 'step', delta: true },
  uniformHalf: { score: 'uniform', window: half },
  loss1Half: { window: half },
  step1Half: { by: 'step', window: half },
  softmaxHalf: { score: 'softmax', window: half },
  annealedUniform: { run: 'annealed', score: 'uniform' },
  annealedLoss: { run: 'annealed', penalty: 4 },
  annealedHalf: { run: 'annealed', score: 'uniform', window: half },
  slowUniform: { run: 'slow', score: 'uniform' },
  slowLoss: { run: 'slow', penalty: 4 },
} satisfies Record<string, Arm>

/** Above `than` with every seed. */
const always = (sample: Sample, than = 0): Finding => ({
  ...{ mean: sample.mean, spread: sample.spread, unit: '' },
  holds: sample.values.every((x) => x > than),
})

/** Whether all of several findings hold; the first says what was measured. */
const all = (...findings: readonly Finding[]): Finding => ({
  ...findings[0],
  holds: findings.every((finding) => finding.holds),
})

const whole20 = ['uniform', 'loss1', 'loss2', 'loss4', 'step1', 'ema', 'uniformDelta', 'stepDelta'] as const
export const experiment: Reproduction = reproduction(
  { paper: card },
  {
    arms,
    sizes,
    seeds: 4,
    measure,
    plot: [
      bars({ y: 'accuracy', title: 'Accuracy after averaging' }),
      bars({ y: 'overLast', title: 'Accuracy above the last checkpoint of the same run' }),
      bars({ y: 'loss', title: 'Held-out loss after averaging' }),
    ],
    claims: ({ holds, notShown }) => [
      holds(
        'every average of all checkpoints of the restless run is at least 0.02 more accurate than its last one',
        (m) => all(...whole20.map((arm) => m[arm].overLast.notBelow(0.02, 0))),
        full,
      ),
      holds(
        'weights by loss (p = 1, 2) and by step beat the uniform average in accuracy and loss with every seed',
        (m) =>
          all(
            ...([m.loss1, m.loss2, m.step1] as const).flatMap((arm) => [
              always(arm.overUniform),
              always(arm.lossUnderUniform),
            ]),
          ),
        { fullOnly: true, paper: 'up to 5 % above the uniform merge' },
      ),
      holds(
        'the checkpoint of the lowest training loss alone is no better than the last',
        (m) => m.best.overLast.notAbove(0, 0),
        full,
      ),
      holds(
        'on the last half alone weights by loss (p = 1) change the accuracy by less than 0.002',
        (m) => all(m.loss1Half.overUniform.notAbove(0.002, 0), m.loss1Half.overUniform.notBelow(-0.002, 0)),
        full,
      ),
      holds(
        'on the last half sharp weights by loss (softmax) hurt',
        (m) => m.softmaxHalf.overUniform.below(0),
        full,
      ),
      holds(
        'averaging updates instead of factors is better with every seed where the factors drift',
        (m) => always(m.uniformDelta.overUniform),
        full,
      ),
      holds(
        'of an annealed run no average differs from the last checkpoint by more than 0.003',
        (m) => all(m.annealedLoss.overLast.notAbove(0.003, 0), m.annealedHalf.overLast.notAbove(0.003, 0)),
        full,
      ),
      holds(
        'of an annealed run the uniform average of all checkpoints is worse than the last',
        (m) => m.annealedUniform.overLast.below(0),
        full,
      ),
      holds(
        'of a run that has not arrived weights by loss (p = 4) are at least 0.01 above the uniform average',
        (m) => m.slowLoss.overUniform.notBelow(0.01, 0),
        full,
      ),
      holds(
        'and the uniform average of all is worse than its last checkpoint',
        (m) => m.slowUniform.overLast.below(0),
        full,
      ),
      notShown('5 % on tasks of mathematics', 'language models and their benchmarks are out of reach here'),
    ],
  },
)
