/** @file Operations composed of the primitives. */
export * from './activation.js'
export * from './attention.js'
export * from './conv.js'
export * from './loss.js'
export * from './norm.js'
