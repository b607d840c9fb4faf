/**
 * @file Searching a merge's coefficients layer by layer (Unconstrained Model Merging, 2024, homogeneous part): CMA-ES over
 * genomes, each judged as the model that its recipe gives.
 */
import type { Checkpoint } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import type { OnProgress } from '../../progress.js'
import { CmaEs } from '../../solve/cma-es.js'
import { type Opened } from '../core/recipe/in-memory.js'
import type { Recipe } from '../core/recipe/recipe.js'
import {
  decodeGenome,
  encodeGenome,
  firstGenomes,
  type GenomeLayout,
  genomeLength,
  layerGroups,
  type Operator,
  recipeOf,
} from './genome.js'
import { mergedInMemory } from '../tensor-methods/recipes.js'
import { append, maxOf } from '../../tensor/numbers.js'

/** How good a merged model is: higher is better; NaN is worse than anything. */
export type Score = (merged: Checkpoint) => Promise<number>

/** Options of `searchMerge`. */
export interface SearchOptions {
  /** Default task_arithmetic. */
  readonly operator?: Operator
  /** Blocks that share coefficients. Default 1; 0: the whole model is one group. */
  readonly granularity?: number
  /** How many merged models may be scored. Default 150. */
  readonly evaluations?: number
  /**
   * Starting point of CMA-ES: at equal weights of 1 / n, at the best of a grid of common coefficients (the default), or at
   * the best weights of whole models, found first with two fifths of the evaluations.
   */
  readonly start?: 'uniform' | 'grid' | 'coarse'
  /** The first standard deviation of each number. Default 1/6; 0.1 for what follows a coarse search. */
  readonly step?: number
  /** Let weights be negative. Default false. */
  readonly negative?: boolean
  /** Factor of the merged update of TIES. Default 1. */
  readonly lambda?: number
  /** Default 0. */
  readonly seed?: number | string
  /** Hears each evaluation. */
  readonly onProgress?: OnProgress
  /** Aborts between two evaluations. */
  readonly signal?: AbortSignal
}

/** A scored candidate. */
export interface ScoredGenome {
  readonly genome: readonly number[]
  readonly score: number
}

/** Best recipe of a search, and every evaluation. */
export interface SearchResult {
  readonly layout: GenomeLayout
  /** The best ever scored. */
  readonly best: ScoredGenome
  readonly recipe: Recipe
  /** Every candidate in the order of scoring. */
  readonly log: readonly ScoredGenome[]
}

const checkOptions = (layout: GenomeLayout, evaluations: number): void => {
  if (layout.base === undefined && layout.operator !== 'linear')
    throw new UsageError(
      'NoBase',
      `${layout.operator} adds task vectors, which need the model that all started from`,
      {
        hint: 'Give it (base, --base), or search weights of an average (operator linear).',
      },
    )
  const { population } = new CmaEs({ start: new Float64Array(genomeLength(layout)), step: 1 })
  const first = firstGenomes(layout).alone.length + 1
  if (evaluations < population + first)
    throw new UsageError(
      'BudgetTooSmall',
      `${evaluations} evaluations; ${first} go to equal weights and each model alone, and a generation of the search takes ${population}`,
    )
}

/** Scores genomes within a budget, and remembers them. */
class Judge {
  readonly log: ScoredGenome[] = []
  constructor(
    private readonly opened: Opened,
    private readonly score: Score,
    private readonly budget: number,
    private readonly options: SearchOptions,
  ) {}

  get left(): number {
    return this.budget - this.log.length
  }

  get best(): ScoredGenome {
    return this.log.reduce((best, next) => (next.score > best.score ? next : best))
  }

  /** The scores of as many of `genomes` as the budget allows; what is no number is the worst. */
  async scores(layout: GenomeLayout, genomes: readonly ArrayLike<number>[]): Promise<number[]> {
    const scores: number[] = []
    for (const genome of genomes.slice(0, this.left)) {
      this.options.signal?.throwIfAborted()
      const merged = await mergedInMemory(recipeOf(layout, genome), this.opened)
      const found = await this.score(merged)
      const score = Number.isNaN(found) ? -Infinity : found
      this.log.push({ genome: Array.from(genome), score })
      scores.push(score)
      this.options.onProgress?.({
        status: 'progress',
        name: 'search',
        done: this.log.length,
        total: this.budget,
        unit: 'evaluations',
        metrics: { best: this.best.score },
      })
    }
    return scores
  }
}

const bestOf = (genomes: readonly number[][], scores: readonly number[]): number[] =>
  genomes[scores.indexOf(maxOf(scores))]

/** Runs CMA-ES from `start` until `evaluations` are used up. A last generation that is not whole is scored, not learned from. */
const evolve = async (
  judge: Judge,
  layout: GenomeLayout,
  start: readonly number[],
  { step, evaluations, seed }: { step: number; evaluations: number; seed: number | string },
): Promise<void> => {
  const search = new CmaEs({ start, step, seed })
  const until = judge.log.length + evaluations
  while (judge.log.length < until) {
    const scores = await judge.scores(layout, search.ask().slice(0, until - judge.log.length))
    if (scores.length < search.population) return
    search.tell(scores.map((s) => -s))
  }
}

/** The best weights of whole models, as a genome of `layout`. */
const coarse = async (
  fine: GenomeLayout,
  judgeOf: (evaluations: number) => Judge,
  evaluations: number,
  seed: number | string,
): Promise<{ genome: number[]; log: readonly ScoredGenome[] }> => {
  const layout = { ...fine, groups: layerGroups([], 0) }
  const judge = judgeOf(evaluations)
  const { uniform, grid } = firstGenomes(layout)
  await judge.scores(layout, [uniform, ...grid.slice(0, Math.floor(evaluations / 3))])
  await evolve(judge, layout, judge.best.genome, { step: 1 / 6, evaluations: judge.left, seed })
  const [found] = decodeGenome(layout, judge.best.genome)
  const expand = (genome: readonly number[]): number[] => {
    const [own] = decodeGenome(layout, genome)
    return encodeGenome(fine, (_, m) => own[m])
  }
  const log = judge.log.map(({ genome, score }) => ({ genome: expand(genome), score }))
  return { genome: encodeGenome(fine, (_, m) => found[m]), log }
}

/**
 * The coefficients for which `score` is highest, a set for each group of layers, within the budget of evaluations: equal
 * weights and each model alone are always among the candidates, and the best ever scored is returned. `opened`: the
 * models by the names that the recipe gives them, `base` among them. Throws UsageError for a method that needs a base and
 * has none, and for a budget below one generation; CheckpointError for models that do not fit each other.
 */
export const searchMerge = async (
  opened: Opened,
  base: string | undefined,
  score: Score,
  options: SearchOptions = {},
): Promise<SearchResult> => {
  const {
    operator = 'task_arithmetic',
    granularity = 1,
    evaluations = 150,
    start = 'grid',
    seed = 0,
  } = options
  const { negative = false, lambda = 1 } = options
  const models = [...opened.keys()].filter((name) => name !== base || operator === 'linear')
  const groups = layerGroups(opened.get(models[0])!.names(), granularity)
  const layout: GenomeLayout = { operator, groups, models, base, negative, lambda }
  checkOptions(layout, evaluations)
  const { uniform, alone, grid } = firstGenomes(layout)
  const judge = new Judge(opened, score, evaluations, options)
  const scores = await judge.scores(layout, [uniform, ...alone])
  let from = uniform
  if (start === 'grid') {
    const tried = grid.slice(0, Math.max(0, judge.left - 1))
    from = bestOf([uniform, ...tried], [scores[0], ...(await judge.scores(layout, tried))])
  }
  if (start === 'coarse') {
    const judgeOf = (n: number): Judge => new Judge(opened, score, n, options)
    const found = await coarse(layout, judgeOf, Math.floor(0.4 * evaluations), seed)
    append(judge.log, found.log)
    from = found.genome
  }
  const step = options.step ?? (start === 'coarse' ? 0.1 : 1 / 6)
  await evolve(judge, layout, from, { step, evaluations: judge.left, seed })
  const { best, log } = judge
  return { layout, best, recipe: recipeOf(layout, best.genome), log }
}
