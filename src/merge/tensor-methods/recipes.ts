/** @file Recipes that may name every method of this folder, and methods of one's own beside them. */
import type { ZodType } from 'zod'
import type { Checkpoint } from '../../checkpoint/index.js'
import type { MergeMethod } from '../core/method.js'
import * as inMemory from '../core/recipe/in-memory.js'
import { type Recipe, recipeSchemaOf } from '../core/recipe/recipe.js'
import * as run from '../core/recipe/run.js'
import { methods } from './index.js'

/** A document of a recipe file. */
export const recipeSchema: ZodType<Recipe> = recipeSchemaOf(methods)

/** Methods that a recipe may name. */
interface OwnMethods {
  /** Default: those of mergekit. */
  readonly methods?: readonly MergeMethod[]
}

/** Options of `explainMerge`. */
export type ExplainOptions = run.ExplainOptions & OwnMethods
/** Options of `mergeRecipe`. */
export type MergeOptions = run.MergeOptions & OwnMethods

/**
 * Writes the model that `recipe` describes to the folder `out`: weights, config, tokenizer, model card, recipe. Of
 * several documents, each may name earlier ones as models, and the last one's model is written. Memory does not grow
 * with the model; arithmetic is float32. Nothing stands under a final name before all of it is written; what was
 * killed goes on from its finished shards with `resume`, and gives the same bytes.
 * Throws UsageError for a recipe that does not fit its method, and CheckpointError for models that do not fit together.
 */
export const mergeRecipe = (
  recipe: Recipe | readonly Recipe[],
  out: string,
  options: MergeOptions = {},
): Promise<run.MergeReport> => run.mergeRecipe(recipe, out, { methods, ...options })

/**
 * Explanation of what `mergeRecipe` would do to every tensor; it refuses what that would refuse: every input is read once, for numbers
 * that are not finite. Writes nothing (an adapter is folded into its base in a temporary folder). Throws as `mergeRecipe`.
 */
export const explainMerge = (
  recipe: Recipe | readonly Recipe[],
  options: ExplainOptions = {},
): Promise<run.Explanation[]> => run.explainMerge(recipe, { methods, ...options })

/** What `recipe` gives of opened models, as a checkpoint in memory, in float32. Throws as `mergeRecipe`. */
export const mergedInMemory = (
  recipe: Recipe,
  opened: inMemory.Opened,
  options: OwnMethods = {},
): Promise<Checkpoint> => inMemory.mergedInMemory(recipe, opened, { methods, ...options })
