/** @file The run store: every run is a folder, readable with nothing but a text editor. */
export { createRun, recordRun, type Run, type RunStart } from './create.js'
export { diffRuns, type MetricDifference, type RunDifference, type SettingDifference } from './diff.js'
export { finalMetrics, type MetricsPage, readMetrics } from './metrics.js'
export { prunable, type PruneRules, removeRun } from './prune.js'
export { type ArtifactFile, artifactsOf, findRun, readRun, readRuns, type StoredRun } from './read.js'
export {
  type FinalStatus,
  files as runFiles,
  type Json,
  type Machine,
  type Metrics,
  type MetricsRow,
  type RunProcess,
  type RunRecord,
  type RunStatus,
} from './run.js'
