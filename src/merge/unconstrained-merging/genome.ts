/** @file A genome of a merge: for each group of layers and each model a few numbers, and the recipe that they stand for. */
import { UsageError } from '../../errors.js'
import type { Conditional, Recipe } from '../core/recipe/recipe.js'

/** The recipes' methods that a search can set coefficients of. */
export const operators = ['task_arithmetic', 'ties', 'linear', 'dare_linear'] as const
export type Operator = (typeof operators)[number]

/** What a genome holds for a model in a group: its weight, and where the method has one its density. */
const genesOf: Readonly<Record<Operator, readonly ('weight' | 'density')[]>> = {
  task_arithmetic: ['weight'],
  ties: ['weight', 'density'],
  linear: ['weight'],
  dare_linear: ['weight', 'density'],
}

/** Tensors that share their coefficients: those whose names contain one of `filters`; of `rest`, all others. */
export interface LayerGroup {
  readonly name: string
  readonly filters: readonly string[]
}

/** What comes in front of the number of a layer, and the number. */
const layered = /^((?:[^.]+\.)*?[A-Za-z_][^.]*\.)(\d+)\./

/**
 * The groups of a model's tensors: every `granularity` blocks in the order of depth, and last what is in no block
 * (embeddings, final norm, head). With a granularity of 0 all is one group. Every tensor is in exactly one.
 */
export const layerGroups = (names: readonly string[], granularity: number): LayerGroup[] => {
  const rest: LayerGroup = { name: 'rest', filters: [] }
  if (granularity === 0) return [{ ...rest, name: 'all' }]
  const stacks = new Map<string, number>()
  for (const name of names) {
    const [, stack, number] = layered.exec(name) ?? []
    if (stack !== undefined) stacks.set(stack, Math.max(stacks.get(stack) ?? 0, Number(number) + 1))
  }
  const groups = [...stacks].sort().flatMap(([stack, count]) =>
    Array.from({ length: Math.ceil(count / granularity) }, (_, g): LayerGroup => {
      const first = g * granularity
      const last = Math.min(count, first + granularity) - 1
      const filters = Array.from({ length: last - first + 1 }, (_, i) => `${stack}${first + i}.`)
      return { name: `${stack}${first === last ? first : `${first}-${last}`}`, filters }
    }),
  )
  return [...groups, rest]
}

/** What a genome is about. */
export interface GenomeLayout {
  readonly operator: Operator
  readonly groups: readonly LayerGroup[]
  /** Names of the models beside the base, as the recipe has them. */
  readonly models: readonly string[]
  readonly base?: string
  /** Whether weights may be negative; else their magnitudes count. */
  readonly negative: boolean
  /** Of ties: what the merged update is multiplied with. */
  readonly lambda: number
}

/** What one model has in one group. */
export interface Coefficients {
  readonly weight: number
  readonly density: number
}

/** How many numbers a genome has. */
export const genomeLength = ({ operator, groups, models }: GenomeLayout): number =>
  groups.length * models.length * genesOf[operator].length

/** The genome that gives each model in each group these coefficients. */
export const encodeGenome = (
  { operator, groups, models }: GenomeLayout,
  of: (group: number, model: number) => Coefficients,
): number[] =>
  groups.flatMap((_, g) => models.flatMap((_, m) => genesOf[operator].map((gene) => of(g, m)[gene])))

/** [groups][models]: weights by magnitude (or as they are), densities held within [0, 1]. */
export const decodeGenome = (layout: GenomeLayout, genome: ArrayLike<number>): Coefficients[][] => {
  const { operator, groups, models, negative } = layout
  const genes = genesOf[operator]
  if (genome.length !== genomeLength(layout))
    throw new UsageError(
      'BadGenome',
      `a genome of ${genome.length} numbers; ${groups.length} groups of ${models.length} models need ${genomeLength(layout)}`,
    )
  const sized = (x: number): number => (negative ? x : Math.abs(x))
  return groups.map((_, g) =>
    models.map((_, m) => {
      const at = (g * models.length + m) * genes.length
      const density = genes.length > 1 ? Math.min(1, Math.abs(genome[at + 1])) : 1
      return { weight: sized(genome[at]), density }
    }),
  )
}

/** One value a group as a recipe writes it. The most specific names come first, since the first that fits counts. */
const byGroup = (groups: readonly LayerGroup[], value: (group: number) => number): Conditional[] => {
  const named = groups.flatMap(({ filters }, g) => filters.map((filter) => ({ filter, value: value(g) })))
  named.sort((a, b) => b.filter.length - a.filter.length)
  return [...named, { value: value(groups.length - 1) }]
}

/** The recipe that `genome` stands for: an ordinary one, that `weft merge` takes. */
export const recipeOf = (layout: GenomeLayout, genome: ArrayLike<number>): Recipe => {
  const { operator, groups, models, base, lambda } = layout
  const coefficients = decodeGenome(layout, genome)
  return {
    merge_method: operator,
    ...(base === undefined || operator === 'linear' ? {} : { base_model: base }),
    models: models.map((model, m) => ({
      model,
      parameters: Object.fromEntries(
        genesOf[operator].map((gene) => [gene, byGroup(groups, (g) => coefficients[g][m][gene])]),
      ),
    })),
    ...(operator === 'ties' ? { parameters: { lambda } } : {}),
  }
}

/** Genomes that a search looks at before any other: uniform, each model alone, and common coefficients from a grid. */
export const firstGenomes = (
  layout: GenomeLayout,
): { uniform: number[]; alone: number[][]; grid: number[][] } => {
  const { operator, models } = layout
  const all = (weight: number, density = 1): number[] => encodeGenome(layout, () => ({ weight, density }))
  const steps = Array.from({ length: 15 }, (_, i) => i + 1)
  const scaled = operator === 'task_arithmetic' || operator === 'dare_linear'
  return {
    uniform: all(1 / models.length),
    alone: models.map((_, own) =>
      encodeGenome(layout, (_, m) => ({ weight: Number(m === own), density: 1 })),
    ),
    // Where weights are normalised only densities are left to try.
    grid: scaled
      ? steps.map((k) => all(k / 10))
      : operator === 'ties'
        ? steps.map((k) => all(1 / models.length, k / 15))
        : [],
  }
}
