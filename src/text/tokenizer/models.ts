/** @file Models: from a piece of a text to ids. */
import { z } from 'zod'
import { BytePairModel } from './byte-pairs.js'
import { broken, choose, kind, type Kind } from './part.js'
import { UnigramModel } from './unigram.js'
import { isId, Vocabulary, vocabularyFault } from './vocabulary.js'
import { WordLevelModel, WordPieceModel } from './words.js'

/** A vocabulary, and how a piece of text is told in its ids. */
export interface TokenModel {
  readonly vocabulary: Vocabulary
  /** The ids of a piece of text that is not empty. */
  tokenize(piece: string): readonly number[]
}

// Vocabularies are checked by hand: a schema would take seconds over a quarter of a million entries.
const unchecked = z.unknown().optional()

const entriesOf = (vocab: unknown, where: string): [string, number][] => {
  const fault = Array.isArray(vocab)
    ? 'its "model.vocab" is a list; expected an object of ids'
    : vocabularyFault(vocab)
  if (fault !== undefined) throw broken(where, fault)
  return Object.entries(vocab as Record<string, number>)
}

/** Merges as pairs: old files write `a b`. */
const pairsOf = (merges: unknown, where: string): [string, string][] => {
  if (!Array.isArray(merges)) throw broken(where, 'its "model.merges" is not a list')
  const written = merges.filter((merge) => !(typeof merge === 'string' && merge.startsWith('#version')))
  return written.map((merge: unknown, i) => {
    const pair: unknown = typeof merge === 'string' ? merge.split(' ') : merge
    if (Array.isArray(pair) && pair.length === 2 && pair.every((part) => typeof part === 'string'))
      return pair as [string, string]
    throw broken(where, `its "model.merges[${i}]" is no pair of tokens`)
  })
}

/** What the models find wrong with what they are told. */
const guarded = (where: string, make: () => TokenModel): TokenModel => {
  try {
    return make()
  } catch (cause) {
    throw broken(where, (cause as Error).message, { cause })
  }
}

const flag = z.boolean().nullish()
const text = z.string().nullish()

const kinds: Readonly<Record<string, Kind<TokenModel>>> = {
  BPE: kind(
    {
      vocab: unchecked,
      merges: unchecked,
      dropout: z.number().nullish(),
      unk_token: text,
      continuing_subword_prefix: text,
      end_of_word_suffix: text,
      fuse_unk: flag,
      byte_fallback: flag,
      ignore_merges: flag,
    },
    ({ vocab, merges, dropout, ...options }, where) => {
      if (dropout)
        throw broken(
          where,
          `its "model.dropout" is ${dropout}: merges left out by chance, which no run could repeat`,
        )
      const vocabulary = new Vocabulary(entriesOf(vocab, where))
      return guarded(
        where,
        () => new BytePairModel(vocabulary, { ...options, merges: pairsOf(merges, where) }),
      )
    },
  ),
  WordPiece: kind(
    {
      vocab: unchecked,
      unk_token: z.string().default('[UNK]'),
      continuing_subword_prefix: z.string().default('##'),
      max_input_chars_per_word: z.number().int().nonnegative().default(100),
    },
    ({ vocab, ...options }, where) => new WordPieceModel(new Vocabulary(entriesOf(vocab, where)), options),
  ),
  WordLevel: kind(
    { vocab: unchecked, unk_token: z.string().default('<unk>') },
    ({ vocab, unk_token }, where) => new WordLevelModel(new Vocabulary(entriesOf(vocab, where)), unk_token),
  ),
  Unigram: kind({ vocab: unchecked, unk_id: unchecked, byte_fallback: flag }, (o, where) => {
    const { vocab, unk_id, byte_fallback } = o
    const fault = Array.isArray(vocab) ? vocabularyFault(vocab) : 'its "model.vocab" is no list'
    if (fault !== undefined) throw broken(where, fault)
    if (unk_id != null && !isId(unk_id)) throw broken(where, 'its "model.unk_id" is no token id')
    return guarded(
      where,
      () => new UnigramModel({ vocab: vocab as [string, number][], unk_id, byte_fallback }),
    )
  }),
}

/** The types of models, and the keys of each. */
export const modelKinds: Readonly<Record<string, Kind<unknown>>> = kinds

/** The type of a model of an old file, which left it out: the fields tell. */
const typeOf = (json: Record<string, unknown>): unknown => {
  if (json.type !== undefined && json.type !== null) return json.type
  if ('merges' in json) return 'BPE'
  if (Array.isArray(json.vocab)) return 'Unigram'
  return 'continuing_subword_prefix' in json ? 'WordPiece' : 'WordLevel'
}

/** The model that `json` describes. Throws CheckpointError for one that is not known or does not hold together. */
export const tokenModel = (json: Record<string, unknown>, where: string): TokenModel =>
  choose(kinds, { ...json, type: typeOf(json) }, where)
