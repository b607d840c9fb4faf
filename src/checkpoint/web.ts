/** @file The part of this folder that runs in a browser: everything but disk and hub. */
export {
  Checkpoint,
  type CheckpointParts,
  type FloatCopies,
  type FloatPlace,
  type RandomAccess,
  type RowBlock,
} from './checkpoint.js'
export { checkNames } from './check.js'
export { normaliseConfig } from './config.js'
export {
  convertValue,
  decode,
  decoder,
  encode,
  float32ToBfloat16,
  float32ToFloat16,
  valueDType,
} from './convert.js'
export {
  type Files,
  type FolderOptions,
  openBytes,
  openFile,
  openFolder,
  readHeader,
  readJson,
} from './folder.js'
export {
  decodeText,
  formatJson,
  type FormatOptions,
  isJsonObject,
  type Json,
  type JsonObject,
  parseJson,
  parseJsonObject,
  parseReadOnly,
} from './json.js'
export { adapterPrefix, hubIdOf } from './names.js'
export { withFloats } from './numerals.js'
export {
  headerLength,
  layOut,
  parseHeader,
  type SafetensorsDType,
  safetensorsDTypes,
  type SafetensorsHeader,
  tensorBytes,
  type TensorInfo,
  type TensorPlan,
} from './safetensors.js'
