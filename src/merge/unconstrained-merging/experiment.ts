/**
 * @file Unconstrained merging at small scale. Search: three experts of one base (sums, reversal, brackets), their task
 * vectors weighted globally or layer by layer with equal evaluations. Fusion: a small pivot that knows one Markov language
 * learns another from few sequences, with and without a larger source that knows it.
 */
import type { Checkpoint } from '../../checkpoint/index.js'
import { createModel, type Model, openModel } from '../../models/index.js'
import { full, bars, type MeasureContext, type Reproduction, reproduction } from '../../papers/index.js'
import { Stream } from '../../random/index.js'
import { brackets, markov, sequences } from '../../synth/index.js'
import { type Tensor, valueOf } from '../../tensor/index.js'
import { type Batch, evaluator, fit, forward, lossFor } from '../../train/index.js'
import { byShape } from '../../train/by-shape.js'
import { exampleRows } from '../../distil/index.js'
import { modelInMemory, type Opened } from '../core/recipe/in-memory.js'
import type { Recipe } from '../core/recipe/recipe.js'
import { unconstrainedMerging } from './unconstrained-merging.js'
import { fuse } from './fusion.js'
import { firstGenomes, type GenomeLayout, layerGroups, recipeOf } from './genome.js'
import { searchMerge, type SearchOptions } from './search.js'
import { mergedInMemory } from '../tensor-methods/recipes.js'

const length = 16
const symbols = 16
const ignored = -100

const config = (width: number, layers: number): Parameters<typeof createModel>[0] => ({
  model_type: 'gpt2',
  vocab_size: symbols,
  n_embd: width,
  n_layer: layers,
  n_head: 4,
  n_positions: length,
  embd_pdrop: 0,
  attn_pdrop: 0,
  resid_pdrop: 0,
  initializer_range: 0.05,
})

/** One row: tokens, and for each whether it is an answer. */
type Row = readonly [tokens: number[], answers: boolean[]]

/** Tasks begin with a symbol of their own: running sums modulo 11, the reversal of five symbols, the depth of brackets. */
const tasks: readonly ((stream: Stream) => Row)[] = [
  (stream) => {
    const tokens = [13]
    for (let sum = 0, i = 0; i < 7; i++) {
      const next = stream.int(11)
      sum = (sum + next) % 11
      tokens.push(next, sum)
    }
    return [tokens, tokens.map((_, i) => i > 2 && i % 2 === 0)]
  },
  (stream) => {
    const part = Array.from({ length: 5 }, () => stream.int(11))
    return [[14, ...part, 11, ...part.toReversed()], Array.from({ length: 12 }, (_, i) => i > 6)]
  },
  (stream) => {
    const tokens = [15]
    let depth = 0
    for (const bracket of brackets({ kinds: 1, depth: 6 }).sample(stream, 7)) {
      depth += bracket % 2 ? -1 : 1
      tokens.push(11 + bracket, depth)
    }
    return [tokens, tokens.map((_, i) => i > 0 && i % 2 === 0)]
  },
]

/** `count` rows of the tasks in turn. */
const taskBatch = (which: readonly number[], count: number, seed: string): Batch => {
  const stream = new Stream(seed)
  const rows = Array.from({ length: count }, (_, i) => tasks[which[i % which.length]](stream.fork(i)))
  const pad = (of: (row: Row) => readonly number[], rest: number): number[] =>
    rows.flatMap((row) => [...of(row), ...new Array<number>(length - row[0].length).fill(rest)])
  const labels = pad(([tokens, answers]) => tokens.map((t, i) => (answers[i] ? t : ignored)), ignored)
  return {
    ids: valueOf(
      pad(([tokens]) => tokens, 0),
      [count, length],
      'int32',
    ),
    labels: valueOf(labels, [count, length], 'int32'),
  }
}

function* endless(batch: (i: number) => Batch, startAt: number): Generator<Batch> {
  for (let i = startAt; ; i++) yield batch(i)
}

interface Experts {
  readonly opened: Opened
  /** Mean over the tasks of the loss on answers. */
  readonly validate: (candidate: Checkpoint) => Promise<number>
  readonly test: (candidate: Checkpoint) => Promise<Metrics>
}
type Metrics = Readonly<Record<'loss' | 'accuracy' | 'sums' | 'reversal' | 'brackets', number>>

const taskNumbers = [0, 1, 2]

/** The mean over the tasks of what a program measures on a batch of each. */
const judgeFor = (like: Model, count: number, seed: string): ((c: Checkpoint) => Promise<Metrics>) => {
  const sets = taskNumbers.map((task) => taskBatch([task], count, `${seed} ${task}`))
  const loss = lossFor('causal')
  interface Inputs {
    readonly parameters: Readonly<Record<string, Tensor>>
    readonly batch: Batch<Tensor>
  }
  const program = byShape(({ parameters, batch }: Inputs) => {
    const outputs = forward(like, parameters, batch)
    const labels = batch.labels.slice(1, 1)
    const counts = labels.notEqual(ignored)
    const right = outputs.logits.slice(1, 0, -1).argMax(-1).equal(labels.cast('int32')).and(counts)
    const share = right.cast('float32').sum().div(counts.cast('float32').sum())
    return { loss: loss(outputs, batch).loss, share }
  })
  return async (candidate) => {
    const { parameters } = await openModel(candidate, { trainable: true })
    const scores: number[][] = []
    for (const batch of sets) {
      const { loss, share } = await program({ parameters, batch })
      scores.push([Number((await loss.read())[0]), Number((await share.read())[0])])
    }
    const mean = (i: number): number => scores.reduce((sum, one) => sum + one[i], 0) / scores.length
    const [sums, reversal, depth] = scores.map(([, share]) => share)
    return { loss: mean(0), accuracy: mean(1), sums, reversal, brackets: depth }
  }
}

/** What the two sizes of the experiment differ in: experts that are merged by search, speakers that are fused. */
const expertSizes = {
  quick: { width: 8, layers: 1, base: 10, expert: 10, batch: 12, validation: 8, test: 32, evaluations: 16 },
  full: {
    width: 64,
    layers: 4,
    base: 60,
    expert: 200,
    batch: 48,
    validation: 43,
    test: 2000,
    evaluations: 150,
  },
}

const trainExperts = async ({
  seed,
  size: { experts: size },
  signal,
}: MeasureContext<Size>): Promise<Experts> => {
  const start = await createModel(config(size.width, size.layers), { seed })
  const train = async (model: Model, which: number[], steps: number, rate: number): Promise<Model> => {
    const name = `${seed} ${which}`
    const data = (startAt: number): Iterable<Batch> =>
      endless((i) => taskBatch(which, size.batch, `${name} ${i}`), startAt)
    return (await fit(model, data, { steps, learningRate: rate, signal })).model
  }
  // Only partly trained, so that every expert still has something to bring.
  const base = await train(start, taskNumbers, size.base, 2e-3)
  const opened = new Map([['base', await modelInMemory(base)]])
  for (const task of taskNumbers)
    opened.set(`expert-${task}`, await modelInMemory(await train(base, [task], size.expert, 1e-3)))
  const validation = judgeFor(start, size.validation, `validation ${seed}`)
  return {
    opened,
    validate: async (candidate) => (await validation(candidate)).loss,
    test: judgeFor(start, size.test, `test ${seed}`),
  }
}

type SearchArm = Pick<SearchOptions, 'granularity' | 'start'> & {
  readonly by: 'search' | 'grid' | 'ties' | 'random' | 'base'
}

/** The recipe that an arm comes to, with as many evaluations as any other. */
const searched = async (
  { by, ...options }: SearchArm,
  { opened, validate }: Experts,
  { seed, size, log }: MeasureContext<Size>,
): Promise<Checkpoint> => {
  const { evaluations } = size.experts
  if (by === 'base') return opened.get('base')!
  const score = async (candidate: Checkpoint): Promise<number> => -(await validate(candidate))
  if (by === 'search') {
    const result = await searchMerge(opened, 'base', score, { ...options, evaluations, seed })
    let best = -Infinity
    result.log.forEach((one, step) => log({ step, best: -(best = Math.max(best, one.score)) }))
    return mergedInMemory(result.recipe, opened)
  }
  const best = async (recipes: readonly Recipe[]): Promise<{ at: number; merged: Checkpoint }> => {
    let [at, merged, least] = [0, opened.get('base')!, Infinity]
    for (const [i, recipe] of recipes.entries()) {
      const candidate = await mergedInMemory(recipe, opened)
      const loss = await validate(candidate)
      if (loss < least) [at, merged, least] = [i, candidate, loss]
    }
    return { at, merged }
  }
  if (by === 'ties') return (await best(tiesGrid([...opened.keys()].slice(1)))).merged
  const layout: GenomeLayout = {
    ...{ operator: 'task_arithmetic', base: 'base', negative: false, lambda: 1 },
    groups: layerGroups(opened.get('base')!.names(), 1),
    models: [...opened.keys()].slice(1),
  }
  const { grid } = firstGenomes(layout)
  const global = await best(grid.map((genome) => recipeOf(layout, genome)))
  if (by === 'grid') return global.merged
  const stream = new Stream(seed).fork('random search')
  const tried = Array.from({ length: evaluations - grid.length }, () =>
    grid[global.at].map((x) => x + stream.normal() / 6),
  )
  return (await best([grid[global.at], ...tried].map((genome) => recipeOf(layout, genome)))).merged
}

/** TIES with common settings: five factors, three densities. */
const tiesGrid = (models: readonly string[]): Recipe[] =>
  [0.2, 0.4, 0.6, 0.8, 1].flatMap((lambda) =>
    [0.3, 0.6, 1].map((density): Recipe => ({
      merge_method: 'ties',
      base_model: 'base',
      models: models.map((model) => ({ model, parameters: { weight: 1, density } })),
      parameters: { lambda },
    })),
  )

const fusionSizes = {
  quick: { source: 8, pivot: 8, layers: 1, pretraining: 10, steps: 6, rows: 16, test: 32 },
  full: { source: 64, pivot: 32, layers: 2, pretraining: 300, steps: 200, rows: 100, test: 1000 },
}

const sizes = {
  quick: { experts: expertSizes.quick, fusion: fusionSizes.quick },
  full: { experts: expertSizes.full, fusion: fusionSizes.full },
}
type Size = (typeof sizes)['full']

const letters = 10

/** Batches of language `which` (or of both in turn), each row behind a symbol that names its language. */
const languages = (seed: number): ((which: readonly number[], count: number, name: string) => Batch) => {
  const sources = [0, 1].map((l) =>
    markov({ symbols: letters, order: 2, seed: `${seed} ${l}`, logitScale: 1.8 }),
  )
  return (which, count, name) => {
    const drawn = which.map(
      (l) => sequences(sources[l], { count, length: length - 1, seed: `${name} ${l}` }).data,
    )
    const ids = Array.from({ length: count }, (_, i) => {
      const w = i % which.length
      const row = drawn[w].subarray(i * (length - 1), (i + 1) * (length - 1))
      return [letters + which[w], ...Array.from(row, Number)]
    })
    // The first two letters of a chain are chance.
    const labels = ids.map((row) => row.map((t, i) => (i < 3 ? ignored : t)))
    return {
      ids: valueOf(ids.flat(), [count, length], 'int32'),
      labels: valueOf(labels.flat(), [count, length], 'int32'),
    }
  }
}

const trainSpeakers = async ({ seed, size: { fusion: size }, signal }: MeasureContext<Size>) => {
  const speak = languages(seed)
  const train = async (width: number, which: number): Promise<Model> => {
    const start = await createModel(config(width, size.layers), { seed: `${seed} ${which}` })
    const data = (startAt: number): Iterable<Batch> =>
      endless((i) => speak([which], 48, `${seed} pretraining ${i}`), startAt)
    return (await fit(start, data, { steps: size.pretraining, learningRate: 4e-3, signal })).model
  }
  const [source, pivot] = [await train(size.source, 0), await train(size.pivot, 1)]
  const evaluators = [0, 1].map((l) => {
    const held = [speak([l], size.test, `${seed} test`)]
    return evaluator(pivot, () => held)
  })
  const losses = async ({ parameters }: Model): Promise<number[]> =>
    Promise.all(evaluators.map(async (evaluate) => (await evaluate(parameters)).loss))
  return { source, pivot, speak, losses }
}

interface FusionArm {
  /** Share of the labels; absent for the pivot as it was. */
  readonly labels?: number
}

const fusedLosses = async (
  { labels }: FusionArm,
  context: MeasureContext<Size>,
): Promise<Record<'newLoss' | 'ownLoss', number>> => {
  const { seed, signal } = context
  const size = context.size.fusion
  const { source, pivot, speak, losses } = await context.once('speakers', () => trainSpeakers(context))
  const data = [speak([0, 1], 2 * size.rows, `${seed} fusion`)]
  const rows = await exampleRows(pivot, asyncly(data))
  const options = { labels, steps: size.steps, batch: 32, learningRate: 2e-3, seed, signal }
  const model = labels === undefined ? pivot : (await fuse(pivot, source, rows, options)).model
  const [newLoss, ownLoss] = await losses(model)
  return { newLoss, ownLoss }
}

const asyncly = <T>(items: readonly T[]): AsyncIterable<T> => ({
  async *[Symbol.asyncIterator]() {
    yield* items
  },
})

const arms = {
  base: { by: 'base' },
  globalGrid: { by: 'grid' },
  globalTies: { by: 'ties' },
  perExpert: { by: 'search', granularity: 0 },
  random: { by: 'random' },
  layerWise: { by: 'search' },
  pivot: {},
  labelsOnly: { labels: 1 },
  fused90: { labels: 0.9 },
  fused50: { labels: 0.5 },
} satisfies Record<string, SearchArm | FusionArm>

/** Metrics of a merge by search, or of a fusion. */
type MergeMetrics = Partial<Metrics & Readonly<Record<'validation' | 'newLoss' | 'ownLoss', number>>>

const measure = async (arm: SearchArm | FusionArm, context: MeasureContext<Size>): Promise<MergeMetrics> => {
  if (!('by' in arm)) return fusedLosses(arm, context)
  const experts = await context.once('experts', () => trainExperts(context))
  const merged = await searched(arm, experts, context)
  context.signal?.throwIfAborted()
  return { ...(await experts.test(merged)), validation: await experts.validate(merged) }
}

export const experiment: Reproduction = reproduction(unconstrainedMerging, {
  arms,
  sizes,
  measure,
  plot: [
    bars({ y: 'loss', title: 'Test loss of merges' }),
    bars({ y: 'newLoss', title: 'Loss on the new language' }),
  ],
  claims: ({ holds, notShown }) => [
    holds(
      'layer-wise CMA-ES is at least 8 % below one global coefficient in test loss',
      (m) => m.layerWise.loss.below(m.globalGrid.loss, 0.08),
      { ...full, paper: 'searched coefficients beat task arithmetic and TIES' },
    ),
    holds('and below TIES with common settings', (m) => m.layerWise.loss.below(m.globalTies.loss), full),
    holds('and below a coefficient for each expert', (m) => m.layerWise.loss.below(m.perExpert.loss), full),
    holds(
      'and below random search with as many evaluations',
      (m) => m.layerWise.loss.below(m.random.loss),
      full,
    ),
    holds('the merge keeps every skill above 0.9', (m) => m.layerWise.sums.above(0.9), {
      known: 'fails',
      ...full,
      why: 'sums modulo 11 do not survive a linear merge, searched or not: the search gives them up for the other two',
    }),
    holds(
      'fusing a source that knows the new language is at least 12 % below labels alone (half labels)',
      (m) => m.fused50.newLoss.below(m.labelsOnly.newLoss, 0.12),
      full,
    ),
    holds(
      'also with nine tenths labels, as published',
      (m) => m.fused90.newLoss.below(m.labelsOnly.newLoss),
      full,
    ),
    holds(
      'fusing forgets less of the own language than labels alone',
      (m) => m.fused50.ownLoss.below(m.labelsOnly.ownLoss),
      full,
    ),
    holds(
      'fusing forgets nothing of the own language',
      (m) => m.fused50.ownLoss.notAbove(m.pivot.ownLoss, 0.01),
      {
        known: 'fails',
        ...full,
        why: 'with a hundred sequences of it the pivot over-fits, only less than on labels alone',
      },
    ),
    notShown(
      'merged experts solve problems that neither solves',
      'needs experts whose merge keeps both skills; here sums do not survive it',
      { paper: 'combinatorial reasoning beyond additive effects' },
    ),
  ],
})
