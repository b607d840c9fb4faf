/** @file Tasks: what people's data are for a model, as batches with their measures. */
export { type TaskName, taskNames } from './formats.js'
export { type OpenedTask, openRecords, openTask, type OpenTaskOptions, taskOf } from './open.js'
export { taskOptions, type TaskOptions } from './options.js'
