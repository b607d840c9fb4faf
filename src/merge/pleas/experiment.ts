/**
 * @file PLeaS against averaging, permutation alone and RegMean: two MLPs from different starts, each trained on its own
 * domain of one task, become one that is tested on both.
 */
import { createModel, type Model } from '../../models/index.js'
import { bars, type MeasureContext, type Reproduction, reproduction, Sample } from '../../papers/index.js'
import { type GaussianMixture, gaussianMixture } from '../../synth/index.js'
import { type Tensor, type Value, value } from '../../tensor/index.js'
import { adamW, type Batch, evaluate, fit, forward, modelLoss } from '../../train/index.js'
import { byShape } from '../../train/by-shape.js'
import { modelOf } from '../../units/permutation/index.js'
import { pleas, pleasMerge } from './pleas.js'
import type { PleasOptions } from './options.js'
import { maxOf } from '../../tensor/numbers.js'

const width = 24
const classes = 10

/** What the two sizes of the experiment differ in. */
const sizes = {
  quick: { hidden: 16, steps: 150, examples: 2000, unlabelled: 400, test: 500 },
  full: { hidden: 64, steps: 2000, examples: 8000, unlabelled: 2000, test: 4000 },
}
type Size = (typeof sizes)['full']

/** The task as the first model sees it, and as the second does: turned and moved so far that each model knows only its own. */
const domains = (seed: number): readonly GaussianMixture[] => {
  const task = gaussianMixture({
    classes,
    width,
    prototypes: 3,
    separation: 1,
    noise: 1,
    seed: `pleas ${seed}`,
  })
  return [task, task.shifted({ seed: `pleas ${seed}`, rotation: 6, offset: 3 })]
}

const rows = (v: Value, from: number, to: number): Value => {
  const inner = v.data.length / v.shape[0]
  return value(v.data.slice(from * inner, to * inner), [to - from, ...v.shape.slice(1)], v.dtype)
}

/** A sample in batches. */
const batchesOf = (task: GaussianMixture, count: number, seed: string, size: number): Batch[] => {
  const { x, labels } = task.sample(count, { seed })
  return Array.from({ length: Math.floor(count / size) }, (_, i) => ({
    embeddings: rows(x, i * size, (i + 1) * size),
    labels: rows(labels, i * size, (i + 1) * size),
  }))
}

/** The two models, what they are merged with, and what they are tested on. */
interface Setting {
  readonly models: readonly Model[]
  readonly unlabelled: readonly Batch[]
  readonly tests: readonly (readonly Batch[])[]
}

const prepare = async ({ seed, size, signal }: MeasureContext<Size>): Promise<Setting> => {
  const tasks = domains(seed)
  const models: Model[] = []
  for (const [i, task] of tasks.entries()) {
    const config = { model_type: 'weft_mlp', sizes: [width, size.hidden, size.hidden, classes] }
    const start = await createModel(config, { seed: `${seed} ${i}` })
    const data = batchesOf(task, size.examples, `train ${seed} ${i}`, 64)
    const endless = function* (from: number): Generator<Batch> {
      for (let k = from; ; k++) yield data[k % data.length]
    }
    const objectives = [{ loss: modelLoss(start), optimizer: adamW({ weightDecay: 0 }) }]
    const options = { steps: size.steps, learningRate: 2e-3, schedule: 'linear', objectives, signal } as const
    models.push((await fit(start, endless, options)).model)
  }
  const [first, second] = tasks.map((task, i) => batchesOf(task, size.unlabelled, `inputs ${seed} ${i}`, 100))
  return {
    models,
    unlabelled: first.flatMap((batch, i) => [batch, second[i]]),
    tests: tasks.map((task, i) => batchesOf(task, size.test, `test ${seed} ${i}`, 500)),
  }
}

/** The difference of two metrics, seed by seed. */
const gap = (a: Sample, b: Sample): Sample =>
  new Sample(
    a.arm,
    a.values.map((x, i) => x - b.values[i]),
  )

const mean = (numbers: readonly number[]): number => numbers.reduce((sum, x) => sum + x, 0) / numbers.length

const accuracyOf = async (model: Model, tests: Setting['tests']): Promise<number> =>
  mean(await Promise.all(tests.map(async (test) => (await evaluate(model, () => test)).accuracy!)))

/** The accuracy of the average of both models' logits. */
const ensembleAccuracy = async ({ models, tests }: Setting): Promise<number> => {
  type Inputs<T> = { parameters: Record<string, T>[]; batch: Batch<T> }
  const program = byShape(({ parameters, batch }: Inputs<Tensor>) =>
    models.map((model, i) => forward(model, parameters[i], batch).logits).reduce((x, y) => x.add(y)),
  )
  const parameters = models.map((model) => ({ ...model.parameters }))
  let [right, all] = [0, 0]
  for (const batch of tests.flat()) {
    const sum = (await program({ parameters, batch })).data as Float32Array
    const labels = batch.labels.data
    for (let i = 0; i < labels.length; i++, all++) {
      const row = sum.subarray(i * classes, (i + 1) * classes)
      right += Number(row.indexOf(maxOf(row)) === Number(labels[i]))
    }
  }
  return right / all
}

type Arm = 'single' | 'ensemble' | Partial<PleasOptions>

const permutation = { match: 'activations', leastSquares: false } as const

const arms = {
  single: 'single',
  ensemble: 'ensemble',
  average: { match: 'none', leastSquares: false },
  permutation,
  regmean: { match: 'none', rows: 'stacked' },
  pleas: {},
  'permutation 0.25': { ...permutation, ratio: 0.25 },
  'pleas 0.25': { ratio: 0.25 },
  'permutation 0.5': { ...permutation, ratio: 0.5 },
  'pleas 0.5': { ratio: 0.5 },
  'pleas 1': { ratio: 1 },
} satisfies Record<string, Arm>

const measure = async (
  arm: Arm,
  context: MeasureContext<Size>,
): Promise<Record<'accuracy' | 'cost', number>> => {
  const setting = await context.once('setting', () => prepare(context))
  const { models, unlabelled, tests } = setting
  if (arm === 'ensemble') return { accuracy: await ensembleAccuracy(setting), cost: 2 }
  if (arm === 'single')
    return { accuracy: mean(await Promise.all(models.map((m) => accuracyOf(m, tests)))), cost: 1 }
  const checkpoints = await Promise.all(
    models.map(async (m) => (await modelOf(m.checkpoint.config, m.parameters)).checkpoint),
  )
  const { model, report } = await pleasMerge(checkpoints, {
    ...arm,
    data: () => unlabelled,
    signal: context.signal,
  })
  return { accuracy: await accuracyOf(model, tests), cost: Number(report.cost) }
}

export const experiment: Reproduction = reproduction(pleas, {
  seeds: 4,
  arms,
  sizes,
  measure,
  plot: bars({ y: 'accuracy', title: 'Mean accuracy on both domains' }),
  claims: ({ holds, notShown }) => [
    holds(
      'at the size of one model it is at least 0.15 more accurate than permutation alone',
      (m) => gap(m.pleas.accuracy, m.permutation.accuracy).notBelow(0.15, 0),
      { fullOnly: true },
    ),
    holds(
      'at the size of one model it is at least 0.03 more accurate than RegMean',
      (m) => gap(m.pleas.accuracy, m.regmean.accuracy).notBelow(0.03, 0),
      { fullOnly: true },
    ),
    holds('at the size of one model it is more accurate than the plain average', (m) =>
      m.pleas.accuracy.above(m.average.accuracy),
    ),
    holds(
      'at the size of one model it is more accurate on both domains than one model',
      (m) => m.pleas.accuracy.above(m.single.accuracy),
      { fullOnly: true },
    ),
    holds(
      'with a quarter of the units apart it is more accurate than with none',
      (m) => m['pleas 0.25'].accuracy.above(m.pleas.accuracy),
      { fullOnly: true },
    ),
    holds(
      'with half of the units apart it is more accurate than with a quarter',
      (m) => m['pleas 0.5'].accuracy.above(m['pleas 0.25'].accuracy),
      { fullOnly: true },
    ),
    holds(
      'least squares makes partial merges more accurate too',
      (m) => m['pleas 0.25'].accuracy.above(m['permutation 0.25'].accuracy),
      { fullOnly: true },
    ),
    holds('with every unit apart it is the ensemble', (m) =>
      m['pleas 1'].accuracy.within(m.ensemble.accuracy, 0.002),
    ),
    notShown(
      'up to 15 points above earlier merging',
      'of DomainNet and fine-grained images: out of reach here',
      { paper: '15 points at most, ResNet-18/50/101 and ViT' },
    ),
    notShown(
      'ratios chosen by a quadratic program beat one ratio for all groups',
      'of two hidden layers there is little to choose between',
    ),
  ],
})
