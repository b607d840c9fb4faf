/**
 * @file One tokenizer out of several: tokens left out that a model has no rows for, tokens added, vocabularies united.
 *
 * A union keeps the base's numbers. The others' own tokens follow, model by model, in the order of their numbers; then
 * all added tokens that the base lacks. Byte pairs: the others' merges are appended after the base's, so that text is
 * first split as the base does and then joined further where only another model has the longer token. (mergekit makes
 * the others' own tokens added ones, which are searched in the text before anything else; the vocabulary is the same.)
 */
import { isJsonObject, type Json, type JsonObject } from '../../../../checkpoint/index.js'
import { CheckpointError } from '../../../../errors.js'
import { numbersOf, type Vocabulary, vocabularyFrom } from '../vocabulary.js'

const modelOf = ({ json }: Vocabulary): JsonObject => (isJsonObject(json.model) ? json.model : {})

/** Old files leave the type out; the fields tell. */
const typeOf = (vocabulary: Vocabulary): string => {
  const { type, merges, vocab } = modelOf(vocabulary)
  return typeof type === 'string' ? type : merges ? 'BPE' : Array.isArray(vocab) ? 'Unigram' : 'WordPiece'
}

/** The two parts of a merge, written 'a b' or ['a', 'b']. */
const pairOf = (merge: Json): string[] =>
  Array.isArray(merge) ? merge.map(String) : String(merge).split(' ')

const mergesOf = (vocabulary: Vocabulary): Json[] => {
  const { merges } = modelOf(vocabulary)
  return Array.isArray(merges) ? merges : []
}

/** What a tokenizer.json is written from. */
interface Parts {
  readonly own: ReadonlyMap<string, number>
  readonly added: ReadonlyMap<string, JsonObject>
  readonly merges: readonly Json[]
  /** Of a unigram model, by token. */
  readonly scores: ReadonlyMap<string, number>
}

const scoresOf = (vocabulary: Vocabulary): Map<string, number> => {
  const { vocab } = modelOf(vocabulary)
  const entries = Array.isArray(vocab) ? vocab.filter((entry) => Array.isArray(entry)) : []
  return new Map(entries.map(([token, score]) => [String(token), Number(score)]))
}

const partsOf = (vocabulary: Vocabulary): Parts => ({
  own: vocabulary.own,
  added: vocabulary.added,
  merges: mergesOf(vocabulary),
  scores: scoresOf(vocabulary),
})

/** Merges in one spelling: that of the first, unless a part has a space in it. */
const writtenMerges = (merges: readonly Json[]): Json[] => {
  const pairs = merges.map(pairOf)
  const spaced = pairs.some((pair) => pair.some((part) => part.includes(' ')))
  return typeof merges[0] === 'string' && !spaced ? pairs.map((pair) => pair.join(' ')) : pairs
}

/**
 * Added tokens get their numbers anew when a tokenizer.json is loaded, from the size of the model's vocabulary on; unless
 * that has them, with their numbers. It must have them where they would get others.
 */
const vocabularyWithNumbers = ({ own, added }: Parts, stored: ReadonlySet<string>): Map<string, number> => {
  const all = new Map(own)
  for (const [token, { id }] of added) if (stored.has(token)) all.set(token, Number(id))
  const loose = [...added].filter(([token]) => !all.has(token))
  if (loose.every(([, { id }], i) => Number(id) === all.size + i)) return all
  for (const [token, { id }] of loose) all.set(token, Number(id))
  return all
}

/** `from` with other parts. */
const rewritten = (from: Vocabulary, parts: Parts): Vocabulary => {
  const added = [...parts.added.values()].sort((a, b) => Number(a.id) - Number(b.id))
  const model = modelOf(from)
  const before = model.vocab
  const stored = new Set(
    Array.isArray(before) ? scoresOf(from).keys() : Object.keys(isJsonObject(before) ? before : {}),
  )
  const numbers = vocabularyWithNumbers(
    { ...parts, added: new Map(added.map((e) => [String(e.content), e])) },
    stored,
  )
  const sorted = [...numbers].sort(([, a], [, b]) => a - b)
  const vocab: Json = Array.isArray(before)
    ? listed(sorted, parts.scores)
    : (Object.fromEntries(sorted) as JsonObject)
  const merges: JsonObject = 'merges' in model ? { merges: writtenMerges(parts.merges) } : {}
  const json = { ...from.json, added_tokens: added, model: { ...model, vocab, ...merges } }
  return vocabularyFrom(from.model, from.file, json)
}

/** A unigram model's list, whose places are the numbers: one that no token has is filled. */
const listed = (
  sorted: readonly (readonly [string, number])[],
  scores: ReadonlyMap<string, number>,
): Json[] => {
  const list: Json[] = []
  for (const [token, id] of sorted) {
    while (list.length < id) list.push([`<unused${list.length}>`, -1e9])
    list.push([token, scores.get(token) ?? 0])
  }
  return list
}

/**
 * The vocabulary without added tokens for whose numbers there are no `rows` in the embeddings, and their names. Throws
 * CheckpointError where a token of the tokenizer's model itself has no row: it is another model's tokenizer.
 */
export const withinRows = (
  vocabulary: Vocabulary,
  rows: number,
  place: string,
): { vocabulary: Vocabulary; left: string[] } => {
  const beyond = [...vocabulary.own].find(([, id]) => id >= rows)
  if (beyond)
    throw new CheckpointError(
      'EmbeddingMismatch',
      `${vocabulary.file}: the token ${JSON.stringify(beyond[0])} has the number ${beyond[1]}, but ${place} has no such row.`,
      { hint: 'The tokenizer is not that of this model.' },
    )
  const left = [...vocabulary.added].filter(([, { id }]) => Number(id) >= rows).map(([token]) => token)
  if (left.length === 0) return { vocabulary, left }
  const parts = partsOf(vocabulary)
  const added = new Map([...parts.added].filter(([token]) => !left.includes(token)))
  return { vocabulary: rewritten(vocabulary, { ...parts, added }), left }
}

const plain = { single_word: false, lstrip: false, rstrip: false, normalized: true, special: false }

/** The vocabulary with `tokens`, those that it lacks as added ones at its end. */
export const withTokens = (vocabulary: Vocabulary, tokens: readonly string[]): Vocabulary => {
  const numbers = numbersOf(vocabulary)
  const fresh = tokens.filter((token) => !numbers.has(token))
  if (fresh.length === 0) return vocabulary
  const parts = partsOf(vocabulary)
  const next = sizeOf(vocabulary)
  const entries = fresh.map((content, i) => [content, { id: next + i, content, ...plain }] as const)
  return rewritten(vocabulary, { ...parts, added: new Map([...parts.added, ...entries]) })
}

/** One more than the highest number. */
export const sizeOf = (vocabulary: Vocabulary): number => {
  let highest = -1
  for (const id of numbersOf(vocabulary).values()) if (id > highest) highest = id
  return highest + 1
}

/** The others' merges that `merges` lacks, after it, if they are of tokens of the model's own vocabulary. */
const unitedMerges = (
  merges: readonly Json[],
  others: readonly Vocabulary[],
  ids: ReadonlyMap<string, number>,
): Json[] => {
  const all = [...merges]
  const known = new Set(merges.map((merge) => pairOf(merge).join(' ')))
  for (const pair of others.flatMap(mergesOf).map(pairOf)) {
    const key = pair.join(' ')
    if (!known.has(key) && [...pair, pair.join('')].every((token) => ids.has(token))) all.push(pair)
    known.add(key)
  }
  return all
}

/**
 * The union of vocabularies, as this file's head says. Throws CheckpointError where own tokens would have to be united
 * that different kinds of tokenizers made.
 */
export const union = (base: Vocabulary, others: readonly Vocabulary[]): Vocabulary => {
  const parts = partsOf(base)
  const numbers = numbersOf(base)
  const ids = new Map(parts.own)
  const scores = new Map(parts.scores)
  const first = sizeOf(base)
  let next = first
  const allAdded = new Map([...parts.added, ...others.flatMap(({ added }) => [...added])])
  for (const other of others) {
    const fresh = [...other.own].filter(([token]) => !numbers.has(token) && !allAdded.has(token))
    if (fresh.length && typeOf(other) !== typeOf(base))
      throw new CheckpointError(
        'VocabularyMismatch',
        `${base.file} is of type ${typeOf(base)}, ${other.file} of type ${typeOf(other)}, and has own tokens (${JSON.stringify(fresh[0][0])}, ...): there is no tokenizer of both.`,
        { hint: 'Take one of them: tokenizer_source: base, or a model.' },
      )
    const theirs = scoresOf(other)
    for (const [token] of fresh.sort(([, a], [, b]) => a - b)) {
      numbers.set(token, next)
      ids.set(token, next++)
      scores.set(token, theirs.get(token) ?? 0)
    }
  }
  const grown = next > first
  const added = new Map(parts.added)
  for (const other of others)
    for (const [token, entry] of [...other.added].sort(([, a], [, b]) => Number(a.id) - Number(b.id)))
      if (!added.has(token)) added.set(token, { ...entry, id: numbers.get(token) ?? next++ })
  for (const token of added.keys()) ids.delete(token)
  if (!grown && added.size === parts.added.size) return base
  const merges = grown ? unitedMerges(parts.merges, others, ids) : parts.merges
  return rewritten(base, { own: ids, added, merges, scores })
}
