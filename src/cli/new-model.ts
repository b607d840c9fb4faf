/** @file What `weft train` starts from: a model that exists, or a new one with a tokenizer. */
import { copyCompanions, type JsonObject, open, type OpenOptions, resolveModel } from '../checkpoint/index.js'
import { CheckpointError, MemoryError, UsageError } from '../errors.js'
import { createModel, type Model, openModel } from '../models/index.js'
import {
  type BytePairJson,
  type DataRecord,
  type Dataset,
  openTokenizer,
  saveTokenizer,
  type Tokenizer,
  tokenizerFromJson,
  tokenizerFiles,
  trainBytePairs,
} from '../text/index.js'

/** A model to train, its tokenizer, and how both are written. */
export interface Beginning {
  model: Model
  tokenizer: Tokenizer
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

/** The model in `folder` (or of a hub id in the cache), all of it trainable. */
export const existingModel = async (folder: string, options: OpenOptions): Promise<Beginning> => {
  const model = await openModel(await open(folder, options), { trainable: true })
  const tokenizer = await openTokenizer(model.checkpoint.folder)
  return { model, tokenizer, save: (trained, out) => trained.save(out) }
}

/** A new model with random weights. Throws UsageError for a configuration that makes none. */
export const newModel = async (options: NewModelOptions, data: Dataset): Promise<Beginning> => {
  const { tokenizer, write } = await tokenizerFor(options, data)
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
  { tokenizer: given, vocabulary }: NewModelOptions,
  data: Dataset,
): Promise<MadeTokenizer> => {
  if (given !== undefined) {
    const folder = await resolveModel(given)
    return { tokenizer: await openTokenizer(folder), write: (out) => copyCompanions(folder, out) }
  }
  const end = '<|end|>'
  const json = trainBytePairs(await textsOf(data), { vocabularySize: vocabulary, specialTokens: [end] })
  const roles = { bos: end, eos: end, pad: end }
  const files = tokenizerFiles(json, roles)
  const config = JSON.parse(files['tokenizer_config.json']) as Record<string, unknown>
  return {
    tokenizer: tokenizerFromJson(json satisfies BytePairJson, config),
    write: (out) => saveTokenizer(out, json, roles),
  }
}

const textsOf = async (data: Dataset): Promise<string[]> => {
  const texts: string[] = []
  for await (const record of data) texts.push(textOf(record))
  return texts
}

const textOf = (record: DataRecord): string => {
  if ('text' in record) return record.text
  if ('completion' in record) return record.prompt + record.completion
  if ('choices' in record) return [record.prompt, ...record.choices].join('\n')
  return record.messages.map(({ content }) => (typeof content === 'string' ? content : '')).join('\n')
}
