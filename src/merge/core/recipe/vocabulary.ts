/**
 * @file Vocabularies: which number each model has for a token, and which tensors have a row for each. Rows are merged by
 * number, whatever token they stand for, so the numbers must be the same or be made so.
 */
import { join } from 'node:path'
import {
  type Checkpoint,
  isJsonObject,
  type Json,
  type JsonObject,
  type TensorInfo,
} from '../../../checkpoint/index.js'
import { CheckpointError } from '../../../errors.js'
import { companionJson, type Companions } from './companions.js'

/** The tokens of one model. */
export interface Vocabulary {
  /** The model as the recipe names it. */
  readonly model: string
  /** Where its tokenizer.json is, for messages. */
  readonly file: string
  /** tokenizer.json. */
  readonly json: JsonObject
  /** Token to number, of the tokenizer's model. */
  readonly own: ReadonlyMap<string, number>
  /** The entries of `added_tokens` by their text: special tokens, and what fine-tunings add. They are not in `own`. */
  readonly added: ReadonlyMap<string, JsonObject>
}

/** A list's places are its tokens' numbers. */
const ownTokens = (vocabulary: Json | undefined): Map<string, number> => {
  if (Array.isArray(vocabulary))
    return new Map(vocabulary.map((entry, i) => [String(Array.isArray(entry) ? entry[0] : entry), i]))
  return new Map(Object.entries(isJsonObject(vocabulary) ? vocabulary : {}).map(([t, id]) => [t, Number(id)]))
}

/** The vocabulary of a parsed tokenizer.json. */
export const vocabularyFrom = (model: string, file: string, json: JsonObject): Vocabulary => {
  const { model: tokens, added_tokens: list } = json
  const entries = (Array.isArray(list) ? list : []).filter(isJsonObject)
  const added = new Map(entries.map((entry) => [String(entry.content), entry]))
  const vocabulary = ownTokens(isJsonObject(tokens) ? tokens.vocab : undefined)
  for (const token of added.keys()) vocabulary.delete(token)
  return { model, file, json, own: vocabulary, added }
}

/** The vocabulary in tokenizer.json; undefined where a model has none. */
export const readVocabulary = async (model: string, from: Companions): Promise<Vocabulary | undefined> => {
  const json = await companionJson(from, 'tokenizer.json')
  return json && vocabularyFrom(model, join(from.folder ?? model, 'tokenizer.json'), json)
}

/** The number of every token, own and added. */
export const numbersOf = ({ own, added }: Vocabulary): Map<string, number> =>
  new Map([...own, ...[...added].map(([token, { id }]) => [token, Number(id)] as const)])

const byVocabulary =
  /(^|\.)((embed_tokens\w*|wte|shared|word_embeddings|embed_in|tok_embeddings|lm_head(\.decoder)?|embed_out)\.(weight|bias)|cls\.predictions\.(decoder\.weight|decoder\.bias|bias))$/

/** Whether the tensor of this name has a row for every token: embeddings and output heads. */
export const isByVocabulary = (tensor: string): boolean => byVocabulary.test(tensor)

/** 'folder/file: name [rows, columns]'. */
export const tensorInWords = (
  { folder }: Pick<Checkpoint, 'folder'>,
  { file, name, shape }: Pick<TensorInfo, 'file' | 'name' | 'shape'>,
): string => `${folder}/${file}: ${name} [${shape.join(', ')}]`

const declaredRows = ({ config }: Checkpoint): number | undefined => {
  const { vocab_size: size, text_config: text } = config
  const vocabularySize = size ?? (isJsonObject(text) ? text.vocab_size : undefined)
  return typeof vocabularySize === 'number' ? vocabularySize : undefined
}

/**
 * How many tokens the embeddings of `checkpoint` have rows for; undefined where it has none. Throws CheckpointError where
 * its tensors, or they and config.json, do not agree about it.
 */
export const embeddedRows = (checkpoint: Checkpoint): number | undefined => {
  const [first, ...rest] = checkpoint
    .names()
    .filter(isByVocabulary)
    .map((name) => checkpoint.info(name))
  if (!first) return undefined
  const other = rest.find(({ shape }) => shape[0] !== first.shape[0])
  const wrong = (what: string): CheckpointError =>
    new CheckpointError(
      'EmbeddingMismatch',
      `${tensorInWords(checkpoint, first)} does not have a row for each token: ${what}.`,
    )
  if (other) throw wrong(`${other.name} is [${other.shape.join(', ')}]`)
  const declared = declaredRows(checkpoint)
  if (declared !== undefined && declared !== first.shape[0])
    throw wrong(`config.json says vocab_size ${declared}`)
  return first.shape[0]
}

/** A token that is not the same number in both; undefined where all are. */
const difference = (a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): string | undefined =>
  [...a.keys()].find((token) => a.get(token) !== b.get(token)) ?? [...b.keys()].find((token) => !a.has(token))

const addedNumbers = ({ added }: Vocabulary): Map<string, number> =>
  new Map([...added].map(([token, { id }]) => [token, Number(id)]))

/**
 * Throws CheckpointError where two models, whose rows are to be merged as they are, number their own tokens differently,
 * unless `allowCrimes`. Returns a note for every model whose added tokens differ, as fine-tunings often rename them.
 */
export const checkSameVocabulary = (
  [first, ...rest]: readonly Vocabulary[],
  { allowCrimes = false }: { readonly allowCrimes?: boolean },
): string[] => {
  const notes: string[] = []
  for (const other of rest) {
    const own = difference(first.own, other.own)
    const token = own ?? difference(addedNumbers(first), addedNumbers(other))
    if (token === undefined) continue
    const [a, b] = [first, other].map((v) => `${v.file} (${v.own.size + v.added.size} tokens)`)
    const message = `${a} and ${b} do not have the same number for the token ${JSON.stringify(token)}`
    if (own !== undefined && !allowCrimes)
      throw new CheckpointError('VocabularyMismatch', `${message}.`, {
        hint: 'Embeddings would be merged row by row, and mixed up. Say which vocabulary the result has: tokenizer_source: union (or base, or a model). To merge all the same: --allow-crimes.',
      })
    notes.push(message)
  }
  return notes
}
