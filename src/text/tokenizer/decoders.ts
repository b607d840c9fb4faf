/** @file Decoders: from the tokens of a sequence to its text. */
import { z } from 'zod'
import { choose, chooseAll, kind, type Kind } from './part.js'
import { compilePattern, patternSchema } from './pattern.js'
import { fromByteCharacters, textOf, validTextOf } from './unicode.js'

/** Tokens to the pieces of a text; joined, these are the text. */
export type Decoder = (tokens: readonly string[]) => string[]

/** English as people write it, from tokens with spaces between them: the reference's replacements, in its order. */
export const cleanUp = (text: string): string =>
  text
    .replaceAll(' .', '.')
    .replaceAll(' ?', '?')
    .replaceAll(' !', '!')
    .replaceAll(' ,', ',')
    .replaceAll(" ' ", "'")
    .replaceAll(" n't", "n't")
    .replaceAll(" 'm", "'m")
    .replaceAll(" 's", "'s")
    .replaceAll(" 've", "'ve")
    .replaceAll(" 're", "'re")

/** The same within a token, where Rust's list has one line more. */
const cleanUpToken = (token: string): string => cleanUp(token.replaceAll(' do not', " don't"))

const byteLevel: Decoder = (tokens) => {
  const bytes: number[] = []
  for (const token of tokens) {
    const characters = fromByteCharacters(token)
    for (let i = 0; i < characters.length; i++) bytes.push(characters[i])
  }
  return [textOf(bytes)]
}

const byteOf = (token: string): number | undefined => {
  const hex = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)
  return hex ? parseInt(hex[1], 16) : undefined
}

/** A run of byte tokens is the text of its bytes; one that is no UTF-8 is U+FFFD a byte. */
const byteFallback: Decoder = (tokens) => {
  const out: string[] = []
  let run: number[] = []
  const endRun = (): void => {
    if (run.length > 0) out.push(validTextOf(run) ?? '\uFFFD'.repeat(run.length))
    run = []
  }
  for (const token of tokens) {
    const byte = byteOf(token)
    if (byte !== undefined) run.push(byte)
    else {
      endRun()
      out.push(token)
    }
  }
  endRun()
  return out
}

const wordPiece =
  (prefix: string, clean: boolean): Decoder =>
  (tokens) =>
    tokens.map((token, i) => {
      const spaced = i === 0 ? token : token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`
      return clean ? cleanUpToken(spaced) : spaced
    })

const metaspace =
  (replacement: string, prepends: boolean): Decoder =>
  (tokens) =>
    tokens.map((token, i) => token.replaceAll(replacement, i === 0 && prepends ? '' : ' '))

const ctc =
  (pad: string, delimiter: string, clean: boolean): Decoder =>
  (tokens) =>
    tokens
      .filter((token, i) => token !== tokens[i - 1])
      .map((token) => {
        const kept = token.replaceAll(pad, '')
        return clean ? cleanUpToken(kept).replaceAll(delimiter, ' ') : kept
      })
      .filter((text) => text !== '')

/** Up to `start` times `content` off the front of every token, up to `stop` times off its end. */
const strip =
  (content: string, start: number, stop: number): Decoder =>
  (tokens) =>
    tokens.map((token) => {
      const characters = Array.from(token)
      let from = 0
      while (from < Math.min(start, characters.length) && characters[from] === content) from++
      let to = characters.length
      while (to > from && to > characters.length - stop && characters[to - 1] === content) to--
      return characters.slice(from, to).join('')
    })

const count = z.number().int().nonnegative()

const kinds: Readonly<Record<string, Kind<Decoder>>> = {
  ByteLevel: kind(
    {
      add_prefix_space: z.boolean().optional(),
      trim_offsets: z.boolean().optional(),
      use_regex: z.boolean().optional(),
    },
    () => byteLevel,
  ),
  ByteFallback: kind({}, () => byteFallback),
  Fuse: kind({}, () => (tokens) => [tokens.join('')]),
  WordPiece: kind({ prefix: z.string(), cleanup: z.boolean() }, (o) => wordPiece(o.prefix, o.cleanup)),
  Metaspace: kind(
    {
      replacement: z.string(),
      prepend_scheme: z.enum(['first', 'never', 'always']).optional(),
      split: z.boolean().nullish(),
      add_prefix_space: z.boolean().nullish(),
      str_rep: z.string().nullish(),
    },
    (o) => metaspace(o.replacement, o.prepend_scheme !== 'never'),
  ),
  BPEDecoder: kind(
    { suffix: z.string() },
    ({ suffix }) =>
      (tokens) =>
        tokens.map((token, i) => token.replaceAll(suffix, i === tokens.length - 1 ? '' : ' ')),
  ),
  CTC: kind({ pad_token: z.string(), word_delimiter_token: z.string(), cleanup: z.boolean() }, (o) =>
    ctc(o.pad_token, o.word_delimiter_token, o.cleanup),
  ),
  Replace: kind({ pattern: patternSchema, content: z.string() }, ({ pattern, content }, where) => {
    const compiled = compilePattern(pattern, where)
    return (tokens) => tokens.map((token) => token.replace(compiled, () => content))
  }),
  Strip: kind({ content: z.string().regex(/^.$/su), start: count, stop: count }, (o) =>
    strip(o.content, o.start, o.stop),
  ),
  Sequence: kind({ decoders: z.array(z.unknown()) }, ({ decoders }, where) => {
    const all = chooseAll(decoder, decoders, `${where}.decoders`)
    return (tokens) => all.reduce((t: string[], decode) => decode(t), [...tokens])
  }),
}

/** The types of decoders, and the keys of each. */
export const decoderKinds: Readonly<Record<string, Kind<unknown>>> = kinds

/** The decoder that `json` describes. Throws CheckpointError for one that is not known. */
export const decoder = (json: unknown, where: string): Decoder => choose(kinds, json, where)
