/** @file Text for models: tokenizers, chat templates, records and batches of them. */
export * from './batches.js'
export { type BytePairJson, type BytePairOptions, trainBytePairs, WordCounts } from './bpe.js'
export { epochOrder, split, subset } from '../data/dataset.js'
export * from './dataset.js'
export * from './examples.js'
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
export type { JoinedTokens } from './tokenizer/post-processors.js'
