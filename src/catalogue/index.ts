/** @file The catalogue of papers: what Weft has of each, their experiments run and recorded, search, and what is new. */
export {
  catalogue,
  catalogueOf,
  type CatalogueOptions,
  type CataloguedPaper,
  findPaper,
  type KnownPaper,
  knownPapers,
  type PaperState,
  stateWords,
} from './catalogue.js'
export { families, type MethodFamily } from './families.js'
export type { Outcome } from './outcome.js'
export { planned } from './planned/index.js'
export { reproduce, type ReproduceOptions } from './reproduce.js'
export {
  experimentOf,
  findExperiments,
  type RecordOptions,
  recordReproduction,
  type RecordedReproduction,
} from './record.js'
export { readReference, type Reference, referenceFolder, writeReference } from './reference.js'
export type { BertEmbedder } from './search/embedder.js'
export {
  type Embedder,
  type Found,
  openEmbedder,
  PaperIndex,
  type SearchLimit,
  searchPapers,
} from './search/index.js'
export { type ListedPaper, readListed } from './sync/listed.js'
export { syncPapers, type SyncOptions, type SyncResult } from './sync/index.js'
