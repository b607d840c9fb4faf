/** @file Weighted means of checkpoints, written tensor by tensor: what soups and averages over a run's checkpoints end in. */
import { z } from 'zod'
import {
  type Checkpoint,
  CheckpointWriter,
  convertValue,
  copyCompanions,
  encode,
  isFolder,
  valueDType,
} from '../../../checkpoint/index.js'
import { CheckpointError } from '../../../errors.js'
import { value, type Value } from '../../../tensor/index.js'
import { formatRecipe, modelCard } from '../recipe/model-card.js'
import { combine } from '../gram.js'
import { merge, type MergeMethod } from '../method.js'
import { mergedBytes } from '../planned.js'
import { planMerge } from '../recipe/plan.js'
import type { Recipe, Settings } from '../recipe/recipe.js'
import { underTableNames } from '../recipe/table-names.js'

/** A weight for each model; or such a list for each tensor, by its name. They need not add up to 1. */
export type ModelWeights = readonly number[] | ReadonlyMap<string, readonly number[]>

/**
 * The weighted mean, added up in float64 and rounded once: equal models give that model back bit for bit, whatever the
 * weights. Recipes know it as `linear`, which rounds each sum.
 */
const mean: MergeMethod = merge({
  name: 'linear',
  base: 'none',
  perModel: { weight: z.number() },
  tensor: (out, { models }, { weight }) => {
    const total = weight.reduce((sum, w) => sum + w, 0)
    const shares = weight.map((w) => w / total)
    combine(out, models, shares)
  },
})

/** What the models are called: as given, or by their folders; numbered where two are the same. */
export const namesOf = (
  models: readonly Checkpoint[],
  shownNames: readonly string[] = models.map(({ folder }) => folder),
): string[] => shownNames.map((name, i) => (shownNames.indexOf(name) === i ? name : `${name} (${i + 1})`))

/** One model's weight for every tensor. Filters are parts of names, and the first that fits holds: the longest first. */
const settingsOf = (weights: ModelWeights, m: number): Settings => {
  if (!(weights instanceof Map)) return { weight: (weights as readonly number[])[m] }
  const entries = [...(weights as ReadonlyMap<string, readonly number[]>)]
  const longest = entries.sort(([a], [b]) => b.length - a.length || (a < b ? -1 : 1))
  return { weight: longest.map(([filter, perModel]) => ({ filter, value: perModel[m] })) }
}

/** The recipe that says the same, up to the rounding of its sums. */
export const weightedRecipe = (names: readonly string[], weights: ModelWeights): Recipe => ({
  merge_method: 'linear',
  models: names.map((model, m) => ({ model, parameters: settingsOf(weights, m) })),
})

/** What two models differ in: the first three differences, and how many more there are. */
const differences = (a: Checkpoint, b: Checkpoint): string[] => {
  const shown = (c: Checkpoint, name: string): string =>
    c.has(name) ? `${c.info(name).dtype} [${c.info(name).shape.join(', ')}]` : 'absent'
  const names = [...new Set([...a.names(), ...b.names()])].sort()
  const unlike = names.flatMap((name) => {
    const here = shown(a, name)
    const there = shown(b, name)
    return here === there ? [] : [`${name} is ${here} and ${there}`]
  })
  const labels = [a, b].map(({ config }) => JSON.stringify(config.id2label))
  if (labels[0] !== labels[1]) unlike.unshift(`id2label of config.json is ${labels[0]} and ${labels[1]}`)
  return unlike.length > 3 ? [...unlike.slice(0, 3), `and ${unlike.length - 3} more`] : unlike
}

/** Throws CheckpointError unless all models have the same tensors (names, shapes, dtypes) and labels. */
export const checkAlike = (models: readonly Checkpoint[]): void => {
  const named = new Map(models.map((model, i) => [String(i), model]))
  const [first, ...others] = underTableNames(named).views.values()
  for (const other of others) {
    const unlike = differences(first, other)
    if (unlike.length)
      throw new CheckpointError(
        'NotAlike',
        `${first.folder} and ${other.folder} differ: ${unlike.join('; ')}.`,
        { hint: 'Only models of one shape can be averaged.' },
      )
  }
}

export interface WriteOptions {
  /** What made it: the title of its card. */
  readonly title: string
  /** What the models are called in the recipe. Default: their folders. */
  readonly names?: readonly string[]
  /** Tensors that are written as they are given here: statistics that were computed anew. */
  readonly replaced?: ReadonlyMap<string, Value>
}

/**
 * Writes the weighted mean of `models` to `folder`, a tensor at a time in float32, with the first model's config and
 * tokenizer, and the recipe that makes it. Integer tensors are the first model's. Throws CheckpointError for models that
 * do not fit together and numbers that are not finite.
 */
export const writeWeighted = async (
  models: readonly Checkpoint[],
  weights: ModelWeights,
  folder: string,
  { title, names = namesOf(models), replaced = new Map() }: WriteOptions,
): Promise<void> => {
  const recipe = weightedRecipe(names, weights)
  const opened = new Map(names.map((name, i) => [name, models[i]]))
  const plan = await planMerge(recipe, opened, { methods: [mean] })
  await using writer = await CheckpointWriter.create(
    folder,
    plan.tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
  )
  for (const tensor of plan.tensors) {
    const changed = replaced.get(tensor.name)
    const bytes = changed
      ? encode(
          convertValue(value(await changed.read(), changed.shape, changed.dtype), valueDType[tensor.dtype]),
        ).data
      : mergedBytes(tensor, mean)
    await writer.write(tensor.name, bytes)
  }
  const source = formatRecipe(recipe)
  const card = modelCard(title, recipe, source)
  await writer.finish({ 'config.json': plan.config, 'mergekit_config.yml': source, 'README.md': card })
  if (await isFolder(models[0].folder)) await copyCompanions(models[0].folder, folder)
}
