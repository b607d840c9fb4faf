/** @file Pre-tokenizers: how a normalised text is cut into the pieces that the model tokenises one by one. */
import { z } from 'zod'
import { broken, choose, chooseAll, kind, type Kind } from './part.js'
import { type Behavior, behaviors, compilePattern, cut, patternSchema, type Range } from './pattern.js'
import { numeric, punctuation, toByteCharacters, whiteSpace, words } from './unicode.js'

/** A part of a text. */
export interface Piece {
  text: string
  /** Whether it begins where the whole text begins. */
  first: boolean
}

/** Cuts a piece further; a piece may also be changed. */
export type PreTokenizer = (piece: Piece) => Piece[]

const slices = ({ text, first }: Piece, ranges: readonly Range[]): Piece[] =>
  ranges.map(({ from, to }) => ({ text: text.slice(from, to), first: first && from === 0 }))

const cutting =
  (pattern: RegExp, behavior: Behavior, invert = false): PreTokenizer =>
  (piece) =>
    slices(piece, cut(piece.text, pattern, behavior, invert))

/** One after the other, each on the pieces of the one before. */
const inOrder =
  (all: readonly PreTokenizer[]): PreTokenizer =>
  (piece) =>
    all.reduce((pieces, preTokenize) => pieces.flatMap(preTokenize), [piece])

const plain = (preTokenize: PreTokenizer): Kind<PreTokenizer> => kind({}, () => preTokenize)

/** GPT-2's words. */
const gpt2 = compilePattern(
  { Regex: "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+" },
  'ByteLevel',
)

const prefixed = ({ text, first }: Piece, prefix: string): Piece =>
  text.startsWith(prefix) ? { text, first } : { text: prefix + text, first }

const byteLevel = (addPrefixSpace: boolean, useRegex: boolean): PreTokenizer => {
  const byWord = cutting(gpt2, 'Isolated')
  return (piece) => {
    const spaced = addPrefixSpace ? prefixed(piece, ' ') : piece
    const pieces = useRegex ? byWord(spaced) : [spaced]
    return pieces.map(({ text, first }) => ({ text: toByteCharacters(text), first }))
  }
}

const schemes = ['first', 'never', 'always'] as const

interface MetaspaceOptions {
  replacement: string
  prepend_scheme?: (typeof schemes)[number]
  split?: boolean | null
}

const metaspace = ({
  replacement,
  prepend_scheme: scheme = 'always',
  split,
}: MetaspaceOptions): PreTokenizer => {
  const pattern = compilePattern({ String: replacement }, 'Metaspace')
  return ({ text, first }) => {
    const replaced = { text: text.replaceAll(' ', () => replacement), first }
    const prepends = scheme === 'always' || (scheme === 'first' && first)
    const piece = prepends ? prefixed(replaced, replacement) : replaced
    return split === false ? [piece] : slices(piece, cut(piece.text, pattern, 'MergedWithNext'))
  }
}

const fixedLength =
  (length: number): PreTokenizer =>
  ({ text, first }) => {
    const characters = Array.from(text)
    return Array.from({ length: Math.ceil(characters.length / length) }, (_, i) => ({
      text: characters.slice(i * length, (i + 1) * length).join(''),
      first: first && i === 0,
    }))
  }

const behavior = z.enum(behaviors)
const oneCharacter = z.string().regex(/^.$/su, 'expected one character')

const kinds: Readonly<Record<string, Kind<PreTokenizer>>> = {
  BertPreTokenizer: plain(inOrder([cutting(whiteSpace, 'Removed'), cutting(punctuation, 'Isolated')])),
  Whitespace: plain(cutting(words, 'Removed', true)),
  WhitespaceSplit: plain(cutting(whiteSpace, 'Removed')),
  ByteLevel: kind(
    { add_prefix_space: z.boolean(), trim_offsets: z.boolean(), use_regex: z.boolean().default(true) },
    (o) => byteLevel(o.add_prefix_space, o.use_regex),
  ),
  Metaspace: kind(
    {
      replacement: oneCharacter,
      prepend_scheme: z.enum(schemes).optional(),
      split: z.boolean().nullish(),
      add_prefix_space: z.boolean().nullish(),
      str_rep: z.string().nullish(),
    },
    (o, where) => {
      if (o.add_prefix_space === false && o.prepend_scheme !== 'never')
        throw broken(where, 'its "add_prefix_space" is false and its "prepend_scheme" is not "never"')
      return metaspace(o)
    },
  ),
  Split: kind({ pattern: patternSchema, behavior, invert: z.boolean() }, (o, where) =>
    cutting(compilePattern(o.pattern, where), o.behavior, o.invert),
  ),
  Punctuation: kind({ behavior: behavior.default('Isolated') }, (o) => cutting(punctuation, o.behavior)),
  Digits: kind({ individual_digits: z.boolean() }, (o) =>
    cutting(numeric, o.individual_digits ? 'Isolated' : 'Contiguous'),
  ),
  CharDelimiterSplit: kind({ delimiter: oneCharacter }, ({ delimiter }, where) =>
    cutting(compilePattern({ String: delimiter }, where), 'Removed'),
  ),
  FixedLength: kind({ length: z.number().int().positive().default(5) }, ({ length }) => fixedLength(length)),
  Sequence: kind({ pretokenizers: z.array(z.unknown()) }, ({ pretokenizers }, where) =>
    inOrder(chooseAll(preTokenizer, pretokenizers, `${where}.pretokenizers`)),
  ),
}

/** The types of pre-tokenizers, and the keys of each. */
export const preTokenizerKinds: Readonly<Record<string, Kind<unknown>>> = kinds

/** The pre-tokenizer that `json` describes. Throws CheckpointError for one that is not known. */
export const preTokenizer = (json: unknown, where: string): PreTokenizer => choose(kinds, json, where)
