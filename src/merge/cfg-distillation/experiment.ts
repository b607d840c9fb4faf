/**
 * @file CFG distillation at small scale: a generator of noisy templates that follows its prompt badly, since three of ten
 * training sequences had a wrong one. Guidance, temperature, distilled students and their mixes, by quality and variety.
 */
import { createModel, type Model, openModel } from '../../models/index.js'
import {
  full,
  type MeasureContext,
  pareto,
  type ClaimWords,
  type Reproduction,
  type ReproductionClaim,
  reproduction,
} from '../../papers/index.js'
import { Stream } from '../../random/index.js'
import { weighted } from '../../synth/dirichlet.js'
import { valueOf } from '../../tensor/index.js'
import { type Batch, fit } from '../../train/index.js'
import { cfgDistillation, interpolation } from './cfg-distillation.js'
import { bigrams, meanUnlikeness, unlikeness } from './diversity.js'
import { sampler } from '../../distil/sampler.js'
import { distilGuidance } from './train.js'
import { modelInMemory } from '../core/recipe/in-memory.js'
import { mergedInMemory } from '../tensor-methods/recipes.js'
import { maxOf } from '../../tensor/numbers.js'

const letters = 16
const prompts = 6
const length = 12
/** Stands for an empty prompt. */
const empty = letters + prompts
const shares = [0.55, 0.25, 0.15, 0.05]

const sizes = {
  quick: { width: 8, layers: 1, base: 10, steps: 2, prompts: 2, samples: 16 },
  full: { width: 64, layers: 2, base: 800, steps: 200, prompts: 12, samples: 128 },
}
type Size = (typeof sizes)['full']

const config = (width: number, layers: number): Parameters<typeof createModel>[0] => ({
  model_type: 'gpt2',
  vocab_size: empty + 1,
  n_embd: width,
  n_layer: layers,
  n_head: 4,
  n_positions: 16,
  embd_pdrop: 0,
  attn_pdrop: 0,
  resid_pdrop: 0,
  initializer_range: 0.05,
})

/** [prompt][template][length] */
const templatesFor = (seed: number): number[][][] => {
  const stream = new Stream(seed).fork('templates')
  const template = (): number[] => Array.from({ length }, () => stream.int(letters))
  return Array.from({ length: prompts }, () => shares.map(template))
}

/** 64 sequences behind their prompts: a tenth of the letters replaced, three tenths of the prompts wrong, a tenth empty. */
const trainingBatch = (templates: readonly number[][][], seed: string): Batch => {
  const stream = new Stream(seed).fork('sequences')
  const rows = Array.from({ length: 64 }, () => {
    const own = stream.int(prompts)
    const body = templates[own][weighted(stream, shares)].map((t) =>
      stream.uniform() < 0.1 ? stream.int(letters) : t,
    )
    const said = stream.uniform() < 0.3 ? stream.int(prompts) : own
    return [stream.uniform() < 0.1 ? empty : letters + said, ...body]
  })
  const ids = valueOf(rows.flat(), [rows.length, length + 1], 'int32')
  return { ids, labels: ids }
}

interface Metrics extends Record<string, number> {
  readonly quality: number
  readonly diversity: number
  /** Of 16 samples of a prompt, how many templates are among their nearest. */
  readonly templates: number
  /** Of how often each template is nearest, in nats. */
  readonly entropy: number
  /** Samples that are a template to the letter. */
  readonly exact: number
  /** Passes of the model for each token. */
  readonly forwards: number
}

const mean = (numbers: readonly number[]): number => numbers.reduce((sum, x) => sum + x, 0) / numbers.length

/** Which template is nearest, and the share of letters that agree with it. */
const nearest = (row: readonly number[], templates: readonly number[][]): [number, number] => {
  const agree = templates.map((t) => mean(row.map((x, i) => Number(x === t[i]))))
  const best = maxOf(agree)
  return [agree.indexOf(best), best]
}

const entropyOf = (which: readonly number[]): number => {
  const counts = shares.map((_, t) => which.filter((w) => w === t).length / which.length)
  return counts.reduce((sum, p) => sum - (p > 0 ? p * Math.log(p) : 0), 0)
}

const describe = (
  samples: readonly number[][],
  templates: readonly number[][],
): Omit<Metrics, 'forwards'> => {
  const found = samples.map((row) => nearest(row, templates))
  const which = found.map(([t]) => t)
  const groups = Array.from({ length: Math.floor(which.length / 16) }, (_, g) =>
    which.slice(16 * g, 16 * g + 16),
  )
  return {
    quality: mean(found.map(([, share]) => share)),
    diversity: meanUnlikeness(unlikeness(samples.map(bigrams(letters + prompts + 1)))),
    templates: mean(groups.map((group) => new Set(group).size)),
    entropy: entropyOf(which),
    exact: mean(found.map(([, share]) => Number(share === 1))),
  }
}

interface Stage {
  readonly base: Model
  readonly frozen: Model
  readonly templates: readonly number[][][]
  /** The base with the parameters that `use` was given: all arms share its programs. */
  readonly live: Model
  readonly use: (parameters: Model['parameters']) => void
}

type Arm =
  | { readonly guidance: number }
  | { readonly temperature: number }
  | { readonly diversity: number }
  | { readonly mix: number }
  | { readonly fronts: true }

const build = async ({ seed, size, signal }: MeasureContext<Size>): Promise<Stage> => {
  const templates = templatesFor(seed)
  const start = await createModel(config(size.width, size.layers), { seed })
  function* data(startAt: number): Generator<Batch> {
    for (let i = startAt; ; i++) yield trainingBatch(templates, `${seed} ${i}`)
  }
  const { model } = await fit(start, data, { steps: size.base, learningRate: 2e-3, signal })
  const checkpoint = await modelInMemory(model)
  let current = model.parameters
  return {
    base: model,
    live: {
      ...model,
      get parameters() {
        return current
      },
    },
    use: (parameters) => void (current = parameters),
    frozen: await openModel(checkpoint),
    templates,
  }
}

const guidance = { scale: 3, negative: [empty] }

const studentFor = (stage: Stage, diversity: number, context: MeasureContext<Size>): Promise<Model> => {
  const { seed, size, signal, log } = context
  return context.once(`student ${diversity}`, async () => {
    const all = Array.from({ length: prompts }, (_, p) => [letters + p])
    const { model } = await distilGuidance(stage.base, stage.frozen, all, {
      ...{ guidance, diversity, tokens: length, learningRate: 5e-4, seed, signal },
      ...{ steps: size.steps, prompts: size.prompts },
      onStep: (step, { kl }) => log({ step, kl }),
    })
    return model
  })
}

const modelFor = async (stage: Stage, arm: Arm, context: MeasureContext<Size>): Promise<Model> => {
  if ('diversity' in arm) return studentFor(stage, arm.diversity, context)
  if (!('mix' in arm)) return stage.base
  const [quality, variety] = [await studentFor(stage, 0, context), await studentFor(stage, 15, context)]
  const opened = new Map([
    ['quality', await modelInMemory(quality)],
    ['variety', await modelInMemory(variety)],
  ])
  const merged = await mergedInMemory(interpolation('quality', 'variety', arm.mix), opened)
  return stage.base.with((await openModel(merged, { trainable: true })).parameters)
}

const sampled = async (stage: Stage, arm: Arm, context: MeasureContext<Size>): Promise<Metrics> => {
  const { samples: count } = context.size
  stage.use((await modelFor(stage, arm, context)).parameters)
  const draw = sampler(stage.live, {
    ...{ batch: prompts * count, prompt: 1, tokens: length },
    temperature: 'temperature' in arm ? arm.temperature : 1,
    ...('guidance' in arm ? { guidance: { ...guidance, scale: arm.guidance } } : {}),
  })
  const rows = Array.from({ length: prompts * count }, (_, i) => [letters + Math.floor(i / count)])
  const { samples, forwards } = await draw(rows, new Stream(context.seed).fork('measured'))
  const each = stage.templates.map((own, p) => describe(samples.slice(p * count, (p + 1) * count), own))
  const names = ['quality', 'diversity', 'templates', 'entropy', 'exact'] as const
  const means = Object.fromEntries(names.map((name) => [name, mean(each.map((one) => one[name]))]))
  return { ...means, forwards } as unknown as Metrics
}

const measuredFor = (stage: Stage, arm: Arm, context: MeasureContext<Size>): Promise<Metrics> =>
  context.once(`measured ${JSON.stringify(arm)}`, () => sampled(stage, arm, context))

const arms = {
  base: { guidance: 1 },
  guided1_5: { guidance: 1.5 },
  guided2: { guidance: 2 },
  guided3: { guidance: 3 },
  cooler85: { temperature: 0.85 },
  cooler70: { temperature: 0.7 },
  cooler50: { temperature: 0.5 },
  quality: { diversity: 0 },
  between: { diversity: 5 },
  variety: { diversity: 15 },
  mix25: { mix: 0.25 },
  mix50: { mix: 0.5 },
  mix75: { mix: 0.75 },
  fronts: { fronts: true },
} satisfies Record<string, Arm>

/** Diversity at a quality, between the points to both sides of it; beyond them, the nearest one's. */
const diversityAt = (points: readonly Metrics[], quality: number): number => {
  const sorted = points.toSorted((a, b) => a.quality - b.quality)
  const above = sorted.findIndex((point) => point.quality >= quality)
  if (above <= 0) return sorted.at(above)!.diversity
  const [a, b] = [sorted[above - 1], sorted[above]]
  const t = (quality - a.quality) / (b.quality - a.quality)
  return (1 - t) * a.diversity + t * b.diversity
}

type Way = 'mix' | 'guided' | 'cooler' | 'trained'
/** Diversity of each way at equal qualities, the best quality it reaches, and whether the mixes trade one for the other. */
type Fronts = Readonly<Record<`${Way}${80 | 85 | 90 | 'Reach'}` | 'monotone' | 'mixAtTrained', number>>

const fronts = async (stage: Stage, context: MeasureContext<Size>): Promise<Fronts> => {
  const { base, guided1_5, guided2, guided3, cooler85, cooler70, cooler50 } = arms
  const { quality, between, variety, mix25, mix50, mix75 } = arms
  const ways: Record<Way, Arm[]> = {
    mix: [quality, mix25, mix50, mix75, variety],
    guided: [base, guided1_5, guided2, guided3],
    cooler: [base, cooler85, cooler70, cooler50],
    trained: [quality, between, variety],
  }
  const line: Metrics[] = []
  for (const arm of ways.mix) line.push(await measuredFor(stage, arm, context))
  const falls = line.slice(1).every((m, i) => m.quality < line[i].quality && m.diversity > line[i].diversity)
  const out: Record<string, number> = { monotone: Number(falls) }
  for (const [way, list] of Object.entries(ways)) {
    const points: Metrics[] = []
    for (const arm of list) points.push(await measuredFor(stage, arm, context))
    for (const at of [80, 85, 90]) out[`${way}${at}`] = diversityAt(points, at / 100)
    out[`${way}Reach`] = maxOf(points.map((point) => point.quality))
  }
  out.mixAtTrained = diversityAt(line, (await measuredFor(stage, between, context)).quality)
  return out as Fronts
}

const measure = async (arm: Arm, context: MeasureContext<Size>): Promise<Partial<Metrics & Fronts>> => {
  const stage = await context.once('stage', () => build(context))
  context.signal?.throwIfAborted()
  return 'fronts' in arm ? fronts(stage, context) : measuredFor(stage, arm, context)
}

/** Claims of the paper and of the specification, the first half. */
const firstClaims = ({
  holds,
}: ClaimWords<keyof typeof arms, Partial<Metrics & Fronts>>): readonly ReproductionClaim[] => [
  holds(
    'the student comes within 2.2 % of the quality of guidance',
    (m) => m.quality.quality.notBelow(m.guided3.quality, 0.022),
    { ...full, paper: 'the quality of guidance' },
  ),
  holds('at half the passes of the model', (m) => m.quality.forwards.within(m.guided3.forwards, 0.5), {
    paper: 'half the sampling cost',
  }),
  holds('and well above the base', (m) => m.quality.quality.above(m.base.quality, 0.2), full),
  holds(
    'the reward makes samples at least 1.2 times as unlike',
    (m) => m.variety.diversity.above(m.quality.diversity, 0.2),
    full,
  ),
  holds(
    'templates are visited more evenly than by the base',
    (m) => m.variety.entropy.above(m.base.entropy),
    full,
  ),
  holds(
    'along the mixes quality falls and variety rises, without exception',
    (m) => m.fronts.monotone.within(1, 0),
    full,
  ),
]

/** The rest of the claims. */
const furtherClaims = ({
  holds,
  notShown,
}: ClaimWords<keyof typeof arms, Partial<Metrics & Fronts>>): readonly ReproductionClaim[] => [
  holds(
    'at a quality of 0.80 mixes are more varied than guidance',
    (m) => m.fronts.mix80.above(m.fronts.guided80),
    full,
  ),
  holds('at a quality of 0.85 too', (m) => m.fronts.mix85.above(m.fronts.guided85), full),
  holds('and more than a lower temperature', (m) => m.fronts.mix85.above(m.fronts.cooler85), full),
  holds(
    'mixes reach the quality of full guidance, so that they are ahead over all of its scale',
    (m) => m.fronts.mixReach.notBelow(m.fronts.guidedReach, 0),
    {
      ...full,
      paper: 'interpolated models dominate guidance over its scale',
      known: 'fails',
      why: 'the student stays 0.4 % behind the teacher, and no mix is above the student',
    },
  ),
  holds(
    'mixes are more varied than a student trained for their quality',
    (m) => m.fronts.mixAtTrained.above(m.between.diversity),
    {
      ...full,
      paper: 'interpolated models dominate individually trained ones',
      known: 'fails',
      why: 'a tie, or nearly: what is saved is the training of the others',
    },
  ),
  holds(
    'the variety is no noise: templates are hit to the letter as often',
    (m) => m.variety.exact.notBelow(m.quality.exact, 0.1),
    {
      ...full,
      known: 'fails',
      why: 'in part it is noise: exact hits fall, although rare templates are visited more',
    },
  ),
  notShown('audio, and what listeners prefer', 'of MusicLM, text to music: out of reach here'),
]

export const experiment: Reproduction = reproduction(cfgDistillation, {
  arms,
  sizes,
  measure,
  plot: pareto({ x: 'quality', y: 'diversity', title: 'Quality and variety' }),
  claims: (words) => [...firstClaims(words), ...furtherClaims(words)],
})
