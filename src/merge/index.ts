/**
 * @file Merging: several checkpoints into one, by mergekit's recipes. A method is a function of aligned tensors; a new
 * one is a declaration in a file, and a line in `methods`.
 */
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
  type ProcedureDefinition,
} from './core/procedure.js'
export { procedures } from './procedures.js'
export { type AnatomyOptions, anatomyOf } from './core/anatomy.js'
export { formatRecipe } from './core/recipe/model-card.js'
export {
  extract,
  type ExtractedTensor,
  type Extraction,
  type ExtractOptions,
  planExtraction,
} from './extract/extract.js'
export {
  type Conditional,
  type Gradient,
  type Recipe,
  type RecipeDType,
  type RecipeModel,
  type RecipeModule,
  recipeSchema,
  type RecipeSlice,
  type RecipeSource,
  type RecipeToken,
  type RecipeTokenizer,
  type Setting,
  type Settings,
  type TokenSource,
} from './core/recipe/recipe.js'
export {
  explainMerge,
  type Explanation,
  type ExplainOptions,
  type MergeOptions,
  mergeRecipe,
  type MergeReport,
} from './core/recipe/run.js'
export { isInterrupted } from '../stream/staging.js'
export { CmaEs, type CmaEsOptions } from '../solve/cma-es.js'
export { unconstrainedMerging, type UnconstrainedOptions } from './unconstrained/unconstrained.js'
export { fuse, type Fused, type FuseOptions } from './unconstrained/fusion.js'
export { searchMerge, type SearchOptions, type SearchResult } from './unconstrained/search.js'
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
export { type EnsembleGap, ensembleGap } from './soups/ensemble.js'
export { learnedSoup, type LearnedSoupOptions, soupModel, type SoupModel } from './soups/learned.js'
export type { ScoreOptions } from './core/averaging/pot.js'
export { recalibrated } from '../observe/statistics.js'
export { greedySoup, type GreedySoupOptions, uniformSoup } from './soups/soups.js'
export { fusionX, type FusionXOptions } from './fusion-x/fusion-x.js'
export { type FusionXSettings, trainFusionX } from './fusion-x/train.js'
export { rowsOf, type TaughtExample, type Teaching, teachings, teachingsFor } from '../distil/teachings.js'
export { type CheckpointMetrics, readCheckpointMetrics } from './mwa/history.js'
export { effectiveNumber, metricWeights, type MetricScore, type WeightOptions } from './mwa/weights.js'
export { mwa, type MwaOptions } from './mwa/mwa.js'
export { pleas, pleasMerge, type PleasResult } from './pleas/pleas.js'
export type { PleasOptions } from './pleas/options.js'
export {
  deepweightflow,
  type DeepWeightFlowOptions,
  learnWeightFlow,
  type WeightFlow,
} from './deepweightflow/deepweightflow.js'
export {
  matchWeights,
  type MatchOptions,
  permutationGroups,
  type PermutationGroup,
} from '../units/permutation/index.js'
export {
  cfgDistillation,
  type CfgDistillationOptions,
  interpolation,
} from './cfg-distillation/cfg-distillation.js'
export { type Guidance, type Sampler, sampler, type SamplerOptions } from '../distil/sampler.js'
export { type Distilled, distilGuidance, type DistilOptions } from './cfg-distillation/train.js'
export {
  type BreadcrumbOptions,
  breadcrumbsOf,
  composeBreadcrumbs,
  type ComposeOptions,
  writeBreadcrumbs,
} from './breadcrumbs/breadcrumbs.js'
