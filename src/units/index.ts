/** @file Heads, key heads and hidden channels as units: what goes together, and models with fewer, more or other orders of them. */
export { cutBytes, cutConfig, cutShape, type Kept } from './cut.js'
export { entriesOf, type UnitAxis, type UnitGroup, unitsAlong, unitsByEntry, unitsInto } from './units.js'
export { requireShapes, resizedConfig, sizesForWeftAlone, stepsOf } from './widths.js'
export * from './permutation/index.js'
