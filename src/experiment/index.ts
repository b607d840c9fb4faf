/** @file What experiments share: batches of generated data, a teacher to adapt to, and the frontiers measured on it. */
export * from './batches.js'
export * from './teacher-frontier.js'
export * from './teacher-task.js'
export * from './tiny.js'
export * from './training.js'
