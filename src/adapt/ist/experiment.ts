/**
 * @file IST on a 12-layer Llama: it learns one second-order Markov chain and is adapted to another over the same symbols,
 * with all layers in every step, the top three, three at random, and three by their learned importance.
 */
import { tinyLlama } from '../../experiment/index.js'
import { createModel, type Model } from '../../models/index.js'
import { curve, type MeasureContext, type Reproduction, reproduction } from '../../papers/index.js'
import { markov, sequences } from '../../synth/index.js'
import { valueOf } from '../../tensor/index.js'
import { type Batch, evaluate, fit, type TrainingState } from '../../train/index.js'
import { scaleInput } from './answers.js'
import { ist, layerImportance, layerSampled } from './ist.js'
import type { LayerSampling } from './layers.js'
import { lora } from '../lora/lora.js'
import type { AdaptedModel } from '../core/spec.js'
import { maxOf, minOf } from '../../tensor/numbers.js'

const [symbols, length] = [20, 20]

const sizes = {
  quick: { layers: 4, width: 16, pretraining: 10, steps: 6, held: 1, targets: ['v_proj'] },
  full: {
    ...{ layers: 12, width: 48, pretraining: 600, steps: 220, held: 12 },
    targets: ['q_proj', 'k_proj', 'v_proj', 'up_proj', 'down_proj'],
  },
}
type Size = (typeof sizes)['full']

const batches = (name: string, seed: number): ((startAt: number) => Generator<Batch>) => {
  const source = markov({ symbols, order: 2, seed: `${name} ${seed}` })
  return function* (startAt) {
    for (let i = startAt; ; i++) {
      const ids = sequences(source, { count: 16, length, seed: `${name} ${seed} ${i}` })
      yield { ids, labels: ids }
    }
  }
}

const heldOut = (name: string, seed: number, count: number): Batch[] => {
  const source = batches(name, seed)(1_000_000)
  return Array.from({ length: count }, () => source.next().value as Batch)
}

/** The model that knows the first chain: the same for every arm. */
const pretrained = async ({ seed, size, signal }: MeasureContext<Size>): Promise<Model> => {
  const start = await createModel(tinyLlama({ ...size, tokens: symbols, length }), { seed })
  const options = { steps: size.pretraining, learningRate: 3e-3, signal }
  return (await fit(start, batches('first', seed), options)).model
}

interface Arm {
  /** How layers are drawn; absent where all of the adapter trains in every step. */
  readonly sampling?: Partial<LayerSampling>
  /** The adapter stands in the top three layers alone. */
  readonly top?: boolean
  /** Times the steps of the others. */
  readonly longer?: number
}

const arms = {
  all: {},
  top: { top: true },
  random: { sampling: { every: 0 } },
  ist: { sampling: {} },
  often: { sampling: { every: 2, normalized: true } },
  longer: { sampling: {}, longer: 4 },
} satisfies Record<string, Arm>

/** Ranks of values, the mean rank for equal ones. */
const ranksOf = (values: readonly number[]): number[] =>
  values.map((x) => {
    const below = values.filter((y) => y < x).length
    const same = values.filter((y) => y === x).length
    return below + (same - 1) / 2
  })

/** Spearman's rank correlation; 0 where one side has no order. */
const spearman = (a: readonly number[], b: readonly number[]): number => {
  const [x, y] = [ranksOf(a), ranksOf(b)]
  const middle = (a.length - 1) / 2
  const sum = (p: readonly number[], q: readonly number[]): number =>
    p.reduce((total, r, i) => total + (r - middle) * (q[i] - middle), 0)
  return sum(x, y) / (Math.sqrt(sum(x, x) * sum(y, y)) || 1)
}

/** How much the loss rises where one layer's adapter is left out. */
const oracle = async (model: AdaptedModel, held: readonly Batch[], layers: number): Promise<number[]> => {
  const without = async (left: number): Promise<number> => {
    const scale = valueOf(
      Array.from({ length: layers }, (_, l) => Number(l !== left)),
      [layers],
    )
    return (await evaluate(model, () => held.map((batch) => ({ ...batch, [scaleInput]: scale })))).loss
  }
  const whole = await without(-1)
  const losses: number[] = []
  for (let l = 0; l < layers; l++) losses.push((await without(l)) - whole)
  return losses
}

/** What is looked at in every step: how much of the adapter moved, and the lowest layer that did. */
class Watch {
  private shares = 0
  private lowest = 0
  private steps = 0

  see({ optimizers: [slots] }: TrainingState, layers: number): void {
    const open = Object.entries(slots).filter(
      ([, own]) => own.gate === undefined || Number(own.gate.data[0]) > 0.5,
    )
    const size = (entries: typeof open): number => entries.reduce((n, [, { m }]) => n + m.data.length, 0)
    this.shares += size(open) / size(Object.entries(slots))
    this.lowest += minOf(
      open.map(([name]) => Number(/layers\.(\d+)\./.exec(name)![1])),
      layers,
    )
    this.steps++
  }

  get means(): { gradientShare: number; lowestLayer: number } {
    return { gradientShare: this.shares / this.steps, lowestLayer: this.lowest / this.steps }
  }
}

const measure = async (
  { sampling, top, longer = 1 }: Arm,
  context: MeasureContext<Size>,
): Promise<Record<'loss' | 'gradientShare' | 'lowestLayer' | 'agreement' | 'spread', number>> => {
  const { seed, size, signal, log } = context
  const base = await context.once('base', () => pretrained(context))
  const { targets } = size
  const layers = top ? [3, 2, 1].map((n) => size.layers - n) : undefined
  const adapter = await lora(base, { rank: 4, alpha: 4, targets, seed, layers })
  const start = sampling ? layerSampled(adapter, sampling) : adapter
  const watch = new Watch()
  const { model, state } = await fit(start, batches('second', seed), {
    ...{ steps: size.steps * longer, learningRate: 5e-3, schedule: 'linear', seed, signal },
    hook: (now, { losses: [loss] }) => {
      watch.see(now, size.layers)
      log({ step: now.step, loss })
    },
  })
  signal?.throwIfAborted()
  const held = heldOut('second', seed, size.held)
  const importance = sampling && layerImportance(state)
  const moved = importance !== undefined && importance.some((i) => i !== 0)
  const agreement = moved ? spearman(importance, await oracle(model, held, size.layers)) : 0
  const spread = importance ? maxOf(importance) - minOf(importance) : 0
  return { loss: (await evaluate(model, () => held)).loss, ...watch.means, agreement, spread }
}

export const experiment: Reproduction = reproduction(ist, {
  arms,
  sizes,
  measure,
  plot: [curve({ y: 'loss', title: 'Loss while adapting' })],
  claims: ({ holds, notShown }) => [
    holds(
      'each step has gradients for a quarter of the adapter',
      (m) => m.ist.gradientShare.within(0.25, 1e-9),
      { paper: '25 % of the layers' },
    ),
    holds('importance agrees in order with what leaving a layer out costs', (m) => m.ist.agreement.above(0), {
      fullOnly: true,
      known: 'fails',
      why: '21 updates move the scores by a tenth: the draws stay uniform',
    }),
    holds(
      'with an update every other step and advantages divided by their spread, importance agrees',
      (m) => m.often.agreement.above(0),
      { fullOnly: true },
    ),
    holds('it is at most 5 % behind random layers', (m) => m.ist.loss.notAbove(m.random.loss, 0.05), {
      fullOnly: true,
    }),
    holds('learned importance is better than random layers', (m) => m.ist.loss.below(m.random.loss), {
      fullOnly: true,
      paper: 'above random sparse tuning',
    }),
    holds(
      'it is as good as training all layers in as many steps',
      (m) => m.ist.loss.notAbove(m.all.loss, 0),
      { fullOnly: true, known: 'fails', paper: 'better than uniform updating' },
    ),
    holds(
      'it is as good as training all layers after as many updates of each',
      (m) => m.longer.loss.notAbove(m.all.loss, 0),
      { fullOnly: true },
    ),
    notShown(
      'less memory on a GPU at 7B',
      'out of reach here; the share of gradients is shown, and npm run bench adapt measures a small model',
    ),
  ],
})
