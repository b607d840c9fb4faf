/** @file What passes through a model: activations, their moments and gradients, in passes within memory. */
export * from './accumulate.js'
export * from './gradients.js'
export * from './observe.js'
export * from './passages.js'
export * from './statistics.js'
