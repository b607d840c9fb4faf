/** @file Checkpoints: safetensors, Hugging Face folders, PEFT adapter folders, the hub's cache. */
export * from './web.js'
export { open, type OpenOptions, resolveModel } from './open.js'
export { findCached, hubCacheFolder } from './hub-cache.js'
