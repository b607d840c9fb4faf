/** @file Checkpoints: safetensors, Hugging Face folders, PEFT adapter folders, the hub's cache. */
export * from './web.js'
export { type Adapter, adapterNames, readAdapter, writeAdapter, type WriteAdapterOptions } from './adapter.js'
export { writeFileAtomic } from './atomic.js'
export { type GgufTensor, type GgufValue, writeGguf } from './formats/gguf.js'
export { copyCompanions, overlayTokenizer, tokenizerFileNames } from './companions.js'
export {
  clearFloatCopies,
  floatCopies,
  floatCopiesFolder,
  type FloatCopiesOptions,
  listFloatCopies,
  type StoredCopy,
} from './float-copies.js'
export { diskFiles } from './disk.js'
export {
  type CacheOptions,
  findCached,
  hubCacheFolder,
  parseHubId,
  type RepositoryKind,
} from './hub-cache.js'
export { type CheckpointForm, convertCheckpoint, reformat } from './reformat.js'
export { open, type OpenOptions, resolveModel } from './open.js'
export {
  type Bytes,
  CheckpointWriter,
  type CheckpointWriterOptions,
  isWeights,
  shardName,
  shardsOf,
  type TensorData,
  writeSafetensors,
} from './write.js'
export { exists, isFile, isFolder } from './paths.js'
export { push, type Pushed, pushedFiles, type PushEvent, type PushOptions } from './push.js'
export { isModelFile, pull, type PullEvent, type PullOptions } from './pull.js'
