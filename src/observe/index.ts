/** @file What passes through a model: activations, their moments and gradients, in passes within memory. */
export * from './calibration.js'
export * from './passing.js'
export * from './statistics.js'
