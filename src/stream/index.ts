/**
 * @file Streaming tensors that do not fit in memory: blocks of rows through threads and kernels, to checkpoints that stand
 * under their names only when they are whole, and that go on where they were killed.
 */
export {
  type Block,
  blockMethod,
  type BlockMethod,
  loadMethod,
  type MethodAddress,
  type StreamedTensor,
} from './method.js'
export { bytesOf, checkInputs, memoryOf, totalBytes, type WorkOptions, writeShards } from './shards.js'
export { holdsUnfinished, Shard, Staging, type StagingOptions, type Workplace } from './staging.js'
export { asIs, streamedBytes, streamedTensor } from './stream.js'
export type { StreamPlan, TensorJob, TensorSource } from './task.js'
