/**
 * @file Merging: several checkpoints into one, by mergekit's recipes. A method is a function of aligned tensors; a new
 * one is a declaration in a file of tensor-methods/, and a line in its list; a procedure is a folder, and a line in `entries`.
 */
import { type Entry, methodsOf } from '../papers/entry.js'
import type { Procedure } from './core/procedure.js'
import { entry as breadcrumbs } from './breadcrumbs/index.js'
import { entries as modelSoups } from './model-soups/index.js'
import { entry as mwa } from './mwa/index.js'
import { entry as unconstrainedMerging } from './unconstrained-merging/index.js'
import { entry as fusionX } from './fusion-x/index.js'
import { entry as cfgDistillation } from './cfg-distillation/index.js'
import { entry as pleas } from './pleas/index.js'
import { entry as deepweightflow } from './deepweightflow/index.js'

export {
  type AlignedTensor,
  type Block,
  merge,
  type MergeDefinition,
  type MergeMethod,
  type ParametersOf,
} from './core/method.js'
export { methods } from './tensor-methods/index.js'
export {
  type Merged,
  type Procedure,
  procedure,
  type ProcedureContext,
  checkGiven,
  type ProcedureDefinition,
} from './core/procedure.js'
export { type AnatomyOptions, anatomyOf } from './core/anatomy.js'
export { formatRecipe } from './core/recipe/model-card.js'
export { extract, type Extraction, type ExtractOptions, planExtraction } from './extract/extract.js'
export type { ExtractedTensor } from './extract/report.js'
export {
  type Conditional,
  type Gradient,
  type Recipe,
  type RecipeDType,
  type RecipeModel,
  type RecipeModule,
  type RecipeSlice,
  type RecipeSource,
  type RecipeToken,
  type RecipeTokenizer,
  type Setting,
  type Settings,
  type TokenSource,
} from './core/recipe/recipe.js'
export { type Explanation, isInterrupted, type MergeReport } from './core/recipe/run.js'
export {
  explainMerge,
  type ExplainOptions,
  type MergeOptions,
  mergeRecipe,
  recipeSchema,
} from './tensor-methods/recipes.js'
export { CmaEs, type CmaEsOptions } from '../solve/cma-es.js'
export {
  barrierOf,
  type LinePoint,
  linePlot,
  lossAlong,
  lossPlane,
  type LossPlane,
  planePlot,
  planeSvg,
  type Score,
  type TaskAngles,
  taskAngles,
} from './core/averaging/landscape.js'
export { closeAll, namedModels, openSource, openSources } from './core/recipe/sources.js'
export type { ScoreOptions } from './core/averaging/pot.js'
export { recalibrated } from '../observe/index.js'
export { exampleRows, type TaughtExample, type Teaching, teachings, teachingsFor } from '../distil/index.js'
export {
  matchWeights,
  type MatchOptions,
  permutationGroups,
  type PermutationGroup,
} from '../units/permutation/index.js'
export { type Guidance, type Sampler, sampler, type SamplerOptions } from '../distil/sampler.js'
export { type BreadcrumbOptions, breadcrumbsOf, maskOptions } from './breadcrumbs/index.js'
export { breadcrumbFiles, type BreadcrumbFilesOptions } from './breadcrumbs/index.js'
export { composeBreadcrumbs, type ComposeOptions, writeBreadcrumbs } from './breadcrumbs/index.js'
export { type EnsembleGap, ensembleGap } from './model-soups/index.js'
export { learnedSoup, type LearnedSoupOptions, soupModel, type SoupModel } from './model-soups/index.js'
export { greedySoup, type GreedySoupOptions, uniformSoup } from './model-soups/index.js'
export { type CheckpointMetrics, readCheckpointMetrics } from './mwa/index.js'
export { effectiveNumber, metricWeights, type MetricScore, type WeightOptions } from './mwa/index.js'
export { mwa, type MwaOptions } from './mwa/index.js'
export { unconstrainedMerging, type UnconstrainedOptions } from './unconstrained-merging/index.js'
export { fuse, type Fused, type FuseOptions } from './unconstrained-merging/index.js'
export { searchMerge, type SearchOptions, type SearchResult } from './unconstrained-merging/index.js'
export { fusionX, type FusionXOptions } from './fusion-x/index.js'
export { type FusionXSettings, trainFusionX } from './fusion-x/index.js'
export { cfgDistillation, type CfgDistillationOptions, interpolation } from './cfg-distillation/index.js'
export { type Distilled, distilGuidance, type DistilOptions } from './cfg-distillation/index.js'
export { pleas, pleasMerge, type PleasResult } from './pleas/index.js'
export type { PleasOptions } from './pleas/index.js'
export {
  deepweightflow,
  type DeepWeightFlowOptions,
  learnWeightFlow,
  type WeightFlow,
} from './deepweightflow/index.js'

/** Entries of the family's papers, one a procedure; the methods that recipes name are in `methods`. */
export const entries = [
  breadcrumbs,
  ...modelSoups,
  mwa,
  unconstrainedMerging,
  fusionX,
  cfgDistillation,
  pleas,
  deepweightflow,
] as readonly Entry<Procedure<never>>[]

/** Merges that look at data, search, align or train. */
export const procedures: readonly Procedure<never>[] = methodsOf(entries)
