/** @file Whether the models mean the same tokens: rows of embeddings are merged by number, whatever token they stand for. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Checkpoint, diskFiles, isJsonObject, type Json, readJson } from '../checkpoint/index.js'
import { CheckpointError } from '../errors.js'
import { type Recipe, tokenizerSource } from './recipe.js'

interface Vocabulary {
  readonly folder: string
  /** Token to number. */
  readonly own: ReadonlyMap<string, number>
  /** Tokens that were added to the tokenizer, which fine-tunings often name anew. */
  readonly added: ReadonlyMap<string, number>
}

const ownTokens = (vocabulary: Json | undefined): Map<string, number> => {
  if (Array.isArray(vocabulary))
    return new Map(vocabulary.map((entry, i) => [String(Array.isArray(entry) ? entry[0] : entry), i]))
  return new Map(Object.entries(isJsonObject(vocabulary) ? vocabulary : {}).map(([t, id]) => [t, Number(id)]))
}

/** The vocabulary in tokenizer.json; undefined where a checkpoint is no folder or has none. */
const vocabularyOf = async ({ folder }: Checkpoint): Promise<Vocabulary | undefined> => {
  if (!(await stat(join(folder, 'tokenizer.json')).catch(() => undefined))?.isFile()) return undefined
  const { model, added_tokens: added } = await readJson(diskFiles(folder), 'tokenizer.json')
  const tokens = (Array.isArray(added) ? added : []).filter(isJsonObject)
  const extra = new Map(tokens.map(({ content, id }) => [String(content), Number(id)]))
  const own = ownTokens(isJsonObject(model) ? model.vocab : undefined)
  for (const token of extra.keys()) own.delete(token)
  return { folder, own, added: extra }
}

/** A token that is not the same number in both; undefined where all are. */
const difference = (a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): string | undefined =>
  [...a.keys()].find((token) => a.get(token) !== b.get(token)) ?? [...b.keys()].find((token) => !a.has(token))

/**
 * Throws CheckpointError where two models number their tokens differently (also added ones, where the recipe names a
 * `tokenizer_source`), unless `allowCrimes`. Returns a note for every model whose added tokens differ.
 */
export const checkVocabularies = async (
  recipe: Recipe,
  opened: ReadonlyMap<string, Checkpoint>,
  { allowCrimes = false }: { readonly allowCrimes?: boolean },
): Promise<string[]> => {
  const found = await Promise.all([...opened.values()].map(vocabularyOf))
  const [first, ...rest] = found.filter((vocabulary) => vocabulary !== undefined)
  const notes: string[] = []
  for (const other of rest) {
    const own = difference(first.own, other.own)
    const token = own ?? difference(first.added, other.added)
    if (token === undefined) continue
    const message = `${first.folder} and ${other.folder} do not have the same number for the token ${JSON.stringify(token)}`
    if (!allowCrimes && (own !== undefined || tokenizerSource(recipe) !== undefined))
      throw new CheckpointError('VocabularyMismatch', `${message}.`, {
        hint: 'Embeddings are merged row by row, so these would be mixed up. Weft does not reorder vocabularies; to merge all the same: --allow-crimes.',
      })
    notes.push(message)
  }
  return notes
}
