/** @file Training: losses, optimisers, schedules, the step, the loop over it, evaluation and generation. */
export * from './loss.js'
export * from './optimizer.js'
export * from './schedule.js'
export { initialState, type Objective, type TrainingState } from './objective.js'
export {
  isMoved,
  movedParameters,
  type SelfTrained,
  type TrainingCourse,
  type Taken,
  type Training,
  trainingOf,
} from './method.js'
export { makeStep, type Step, type StepInputs, type StepOptions, type StepResult } from './step.js'
export {
  batchesOf,
  type BatchSource,
  type Course,
  type Data,
  type DataOptions,
  positionLimit,
  rowLength,
} from './data.js'
export type { Measures, Tally } from './measures.js'
export { type EvaluateOptions, evaluate, type Evaluation, type Evaluator, evaluator } from './evaluate.js'
export { fit, type FitOptions, type FitResult, type Hook } from './fit.js'
export {
  generate,
  type GeneratedToken,
  type GenerateOptions,
  generateTokens,
  type TokenOptions,
} from './generate.js'
export type { SamplingOptions } from './sample.js'
export { byShape } from './by-shape.js'
export { savedBytes } from './saved-bytes.js'
export { eachRow, type OfRows, type Rows, sumOfRows } from './rows.js'
export { recomputing } from './recompute.js'
export { type Needs, rehearse } from './rehearse.js'
export { calibrate, secondsOf, type Speed } from './speed.js'
