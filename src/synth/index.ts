/** @file Generated data: the same seed gives the same data everywhere. */
export * from './arithmetic.js'
export * from './dirichlet.js'
export * from './grammar.js'
export * from './mixture.js'
export * from './sequences.js'
export * from './shapes.js'
export * from './story.js'
export * from './teacher.js'
