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
} from './method.js'
export { methods } from './methods.js'
export {
  type Merged,
  type Procedure,
  procedure,
  type ProcedureContext,
  type ProcedureDefinition,
} from './procedure.js'
export { procedures } from './procedures.js'
export { type AnatomyOptions, anatomyOf } from './anatomy.js'
export { formatRecipe } from './card.js'
export {
  extract,
  type ExtractedTensor,
  type Extraction,
  type ExtractOptions,
  planExtraction,
} from './extract.js'
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
} from './recipe.js'
export {
  explainMerge,
  type Explanation,
  type ExplainOptions,
  type MergeOptions,
  mergeRecipe,
  type MergeReport,
} from './run.js'
export { isInterrupted } from './staging.js'
export { CmaEs, type CmaEsOptions } from './cma-es.js'
export { unconstrainedMerging, type UnconstrainedOptions } from './unconstrained.js'
export { fuse, type Fused, type FuseOptions } from './unconstrained-fusion.js'
export { searchMerge, type SearchOptions, type SearchResult } from './unconstrained-search.js'
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
} from './loss-landscape.js'
export { type EnsembleGap, ensembleGap } from './soups-ensemble.js'
export { learnedSoup, type LearnedSoupOptions, soupModel, type SoupModel } from './soups-learned.js'
export type { ScoreOptions } from './soups-score.js'
export { recalibrated } from './soups-statistics.js'
export { greedySoup, type GreedySoupOptions, uniformSoup } from './soups.js'
export { fusionX, type FusionXOptions } from './fusion-x.js'
export { type FusionXSettings, trainFusionX } from './fusion-x-train.js'
export { rowsOf, type TaughtExample, type Teaching, teachings, teachingsFor } from './fusion.js'
export { type CheckpointMetrics, readCheckpointMetrics } from './mwa-history.js'
export { effectiveNumber, metricWeights, type MetricScore, type WeightOptions } from './mwa-weights.js'
export { mwa, type MwaOptions } from './mwa.js'
export { pleas, pleasMerge, type PleasResult } from './pleas.js'
export type { PleasOptions } from './pleas-options.js'
export {
  deepweightflow,
  type DeepWeightFlowOptions,
  learnWeightFlow,
  type WeightFlow,
} from './deepweightflow.js'
export {
  matchWeights,
  type MatchOptions,
  permutationGroups,
  type PermutationGroup,
} from './permutation/index.js'
export { cfgDistillation, type CfgDistillationOptions, interpolation } from './cfg-distillation.js'
export { type Guidance, type Sampler, sampler, type SamplerOptions } from './cfg-distillation-sample.js'
export { type Distilled, distilGuidance, type DistilOptions } from './cfg-distillation-train.js'
export {
  type BreadcrumbOptions,
  breadcrumbsOf,
  composeBreadcrumbs,
  type ComposeOptions,
  writeBreadcrumbs,
} from './breadcrumbs.js'
