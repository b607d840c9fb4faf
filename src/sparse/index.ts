/** @file Some entries of matrices: which, as masks, bitmaps and packed parameters. */
export { bitmapLength, packBits, unpackBits } from './bitmap.js'
export {
  type Entries,
  entryParameters,
  type EntrySettings,
  exportedEntries,
  gathered,
  migrated,
  moveEntries,
  placed,
  readEntries,
  tuned,
  tunedLinear,
} from './entries.js'
export {
  byGradient,
  largestOfPool,
  type MaskKind,
  maskKinds,
  maskOf,
  type MaskOptions,
  rankReduced,
  type RankedMatrix,
} from './mask.js'
