/** @file What `weft train` starts from: a model that exists, or a new one with a tokenizer. */
import { type Checkpoint, copyCompanions, type JsonObject, resolveModel } from '../checkpoint/index.js'
import { CheckpointError, MemoryError, UsageError } from '../errors.js'
import { createModel, type Model, openModel } from '../models/index.js'
import {
  type BytePairJson,
  type DataRecord,
  openTokenizer,
  saveTokenizer,
  type Tokenizer,
  tokenizerFromJson,
  tokenizerFiles,
  trainBytePairs,
  type WordCounts,
} from '../text/index.js'

/** A model to train, its tokenizer, and how both are written. */
export interface Beginning {
  model: Model
  /** Absent where the task reads no text. */
  tokenizer?: Tokenizer
  save(model: Model, folder: string): Promise<void>
}

/** What of `weft train`'s options describes a new model. */
export interface NewModelOptions {
  architecture: string
  modelConfig?: Record<string, unknown>
  tokenizer?: string
  vocabulary: number
  seed: number
}

/** The model in `checkpoint`, all of it trainable. */
export const existingModel = async (checkpoint: Checkpoint, readsText: boolean): Promise<Beginning> => {
  const model = await openModel(checkpoint, { trainable: true, onWarning: () => undefined })
  const tokenizer = readsText ? await openTokenizer(checkpoint.folder) : undefined
  return { model, tokenizer, save: (trained, out) => trained.save(out) }
}

/** A new model with random weights, and the tokenizer given or one that is learned from `words`. Throws UsageError for a configuration that makes none. */
export const newModel = async (options: NewModelOptions, words: WordCounts): Promise<Beginning> => {
  const { tokenizer, write } = await tokenizerFor(options, words)
  const model = await create(options, tokenizer)
  return {
    model,
    tokenizer,
    async save(trained, out) {
      await trained.save(out)
      await write(out)
    },
  }
}

const create = async (
  { architecture, modelConfig = {}, seed }: NewModelOptions,
  tokenizer: Tokenizer,
): Promise<Model> => {
  const ids = Object.entries({
    bos_token_id: tokenizer.bos,
    eos_token_id: tokenizer.eos,
    pad_token_id: tokenizer.pad,
  }).filter(([, id]) => id !== undefined)
  const config = {
    architectures: [className(architecture)],
    vocab_size: tokenizer.vocabularySize,
    ...(Object.fromEntries(ids) as JsonObject),
    ...(modelConfig as JsonObject),
    model_type: architecture,
  }
  try {
    return await createModel(config, { seed })
  } catch (error) {
    if (error instanceof RangeError)
      throw new MemoryError('TooLarge', `the new model does not fit into memory: ${error.message}`, {
        cause: error,
      })
    if (!(error instanceof CheckpointError)) throw error
    throw new UsageError(error.code, `the new model: ${error.message}`, { cause: error })
  }
}

/** The class that Transformers loads it with. */
const className = (type: string): string =>
  type === 'gpt2' ? 'GPT2LMHeadModel' : `${type.slice(0, 1).toUpperCase()}${type.slice(1)}ForCausalLM`

interface MadeTokenizer {
  tokenizer: Tokenizer
  write(folder: string): Promise<unknown>
}

const tokenizerFor = async (
  { tokenizer: source, vocabulary }: NewModelOptions,
  words: WordCounts,
): Promise<MadeTokenizer> => {
  if (source !== undefined) {
    const folder = await resolveModel(source)
    return { tokenizer: await openTokenizer(folder), write: (out) => copyCompanions(folder, out) }
  }
  const end = '<|end|>'
  const json = trainBytePairs(words, { vocabularySize: vocabulary, specialTokens: [end] })
  const roles = { bos: end, eos: end, pad: end }
  const files = tokenizerFiles(json, roles)
  const config = JSON.parse(files['tokenizer_config.json']) as Record<string, unknown>
  return {
    tokenizer: tokenizerFromJson(json satisfies BytePairJson, config),
    write: (out) => saveTokenizer(out, json, roles),
  }
}

/** All text of a record. */
export const textOf = (record: DataRecord): string => {
  if ('text' in record) return record.text
  if ('completion' in record) return record.prompt + record.completion
  if ('choices' in record) return [record.prompt, ...record.choices].join('\n')
  return record.messages.map(({ content }) => (typeof content === 'string' ? content : '')).join('\n')
}
