/** @file The vocabulary of experiments: a paper's card, measurements as samples, claims about them, plots of them. */
export type { Claim, Guide, Paper } from './card.js'
export { bars, curve, type DrawnPlot, pareto, type Plot, type PlotSeries } from './plot.js'
export {
  type MeasureContext,
  type ClaimWords,
  type MeasuredBy,
  type Sizes,
  full,
  type Reproduction,
  reproduction,
  type ReproductionClaim,
  type ReproductionSpec,
  type Verdict,
} from './reproduction.js'
export { type Finding, Sample } from './sample.js'
export { inWords, measuredWords, verdictWords } from './words.js'
export { type Entry, methodsOf } from './entry.js'
export type { ClaimResult, MetricResult, ReproductionResult } from './result.js'
