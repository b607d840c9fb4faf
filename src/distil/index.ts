/** @file Teachers and students: what teachers say of rows, kept; losses of students; vocabularies aligned; samplers. */
export * from './align.js'
export * from './sampler.js'
export * from './students.js'
export * from './teachings.js'
