/** @file The run store: every run is a folder, readable with nothing but a text editor. */
export {
  checkRecord,
  containedPath,
  FileRefused,
  openContained,
  type OpenFile,
  parseRecord,
  readContained,
  readRecord,
} from './contained.js'
export { createRun, recordRun, type Run, type RunStart } from './create.js'
export { createExclusive } from './exclusive.js'
export { removeMade } from './folders.js'
export { diffRuns, type MetricDifference, type RunDifference, type SettingDifference } from './diff.js'
export { LineFile } from './lines.js'
export { finalMetrics, type MetricsPage, readMetrics, seriesName } from './metrics.js'
export { isAlive, processOf, stopProcess, thisProcess } from './process.js'
export { prunable, type PruneRules, removeRun } from './prune.js'
export {
  type ArtifactFile,
  artifactsOf,
  findRun,
  type LeftOut,
  loadRun,
  readRun,
  readRuns,
  runFolders,
  type StoredRun,
} from './read.js'
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
  runStatuses,
} from './run.js'
export { recordedProcess, time } from './schema.js'
