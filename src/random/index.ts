/** @file Random numbers that are a function of a seed and a place: the same bits in Node, in browsers, in any order. */
export { fillBytes, fillWords, normal, rademacher, type Sampler, uniform, type UniformRange } from './bulk.js'
export { keyOf, type Seed, SeedError } from './key.js'
export { type Block, type Key, philox } from './philox.js'
export { type Place, PlaceError } from './place.js'
export { Stream } from './stream.js'
