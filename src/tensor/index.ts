/** @file The engine's public surface. */
export * from './create.js'
export { type ChunkOptions, mapRows, sumRows } from './chunks.js'
export * from './compile.js'
export * from './control.js'
export type { Device } from './device.js'
export * from './dtype.js'
export * from './grad.js'
export { reachable, substitute } from './graph.js'
export { interpret } from './interpreter.js'
export type { ConvAttributes, CustomGradient, Node, Spec } from './primitives.js'
export * from './random-source.js'
export {
  engineBytes,
  mappedBytes,
  type ProgramNeeds,
  rehearsal,
  type Rehearsal,
  type RehearsedRun,
  valueBytes,
} from './rehearsal.js'
export { addWork, type Footprint, type Work } from './liveness.js'
export { broadcastShapes, sameShape, type Shape, ShapeError, sizeOf } from './shape.js'
export type { FileSource, MemorySource, Source } from './source.js'
export * from './operations/index.js'
export { type AxisOptions, type Operand, Tensor } from './tensor.js'
export { leaves, mapTree, refill, type Replace, type Tree } from './tree.js'
export * from './value.js'
export { vmap, type VmapOptions } from './vmap.js'
