/** @file Text and images for models: tokenizers, chat templates, datasets, batches, image folders. */
export * from './batches.js'
export { type BytePairJson, type BytePairOptions, trainBytePairs } from './bpe.js'
export { type Dataset, epochOrder, fromRecords, split, subset } from './dataset.js'
export * from './examples.js'
export * from './image.js'
export * from './image-folder.js'
export * from './jsonl.js'
export * from './preprocess.js'
export {
  type ChatRecord,
  type ChoiceRecord,
  type CompletionRecord,
  type DataRecord,
  type RecordNotes,
  type TextRecord,
} from './records.js'
export * from './save.js'
export { streamDecoder, type StreamDecoder } from './stream.js'
export {
  type ChatOptions,
  type MaskedTokens,
  type Message,
  openTokenizer,
  type Tokenizer,
  type TokenizerConfig,
  tokenizerFromJson,
} from './tokenizer.js'
