/** @file The catalogue of papers: cards, reproductions, search, and what is new. */
export type { Claim, Paper } from './card.js'
export {
  catalogue,
  type CatalogueOptions,
  type Entry,
  findPaper,
  type PaperState,
  stateWords,
} from '../catalogue/catalogue.js'
export { type CataloguedMethod, families, type MethodFamily } from '../catalogue/families.js'
export { planned } from '../catalogue/planned/index.js'
export { bars, curve, type DrawnPlot, pareto, type Plot, type PlotSeries } from './plot.js'
export {
  type ClaimResult,
  type MetricResult,
  reproduce,
  type ReproduceOptions,
  type ReproductionResult,
} from '../catalogue/reproduce.js'
export { experimentOf, recordReproduction, type RecordedReproduction } from '../catalogue/record.js'
export {
  holds,
  type MeasureContext,
  full,
  notShown,
  type Reproduction,
  reproduction,
  type ReproductionClaim,
  type ReproductionSpec,
  type Verdict,
} from './reproduction.js'
export { type Finding, Sample } from './sample.js'
export type { BertEmbedder } from '../catalogue/search/embedder.js'
export {
  type Embedder,
  type Found,
  openEmbedder,
  PaperIndex,
  type SearchLimit,
  searchPapers,
} from '../catalogue/search/index.js'
export { inWords, measuredWords, verdictWords } from './words.js'
export { type ListedPaper, readListed } from '../catalogue/sync/listed.js'
export { syncPapers, type SyncOptions, type SyncResult } from '../catalogue/sync/index.js'
