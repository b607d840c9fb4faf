/** @file Normalizers: what is done to a text before it is cut into pieces. */
import { z } from 'zod'
import { charsmap, type Charsmap } from './charsmap.js'
import { broken, choose, chooseAll, kind, type Kind } from './part.js'
import { compilePattern, patternSchema } from './pattern.js'
import { bytesOf, isPlain, spaceAtEnd, spaceAtStart, toByteCharacters } from './unicode.js'

/** The normalised form of a text. */
export type Normalizer = (text: string) => string

/** A plain normalizer: its type is all it says. */
const plain = (normalize: Normalizer): Kind<Normalizer> => kind({}, () => normalize)

/** Character by character, as Rust does it: a sigma at a word's end is none of its own. */
const lowercase: Normalizer = (text) =>
  text.includes('\u03A3') ? Array.from(text, (c) => c.toLowerCase()).join('') : text.toLowerCase()

/** SentencePiece's rules for machine translation: control characters go, other white space becomes a space. */
const nmt: Normalizer = (text) =>
  text
    .replace(/[\u0001-\u0008\u000B\u000E-\u001F\u007F\u008F\u009F]/g, '')
    .replace(/[\u0009\u000A\u000C\u000D\u1680\u200B-\u200F\u2028\u2029\u2581\uFEFF\uFFFD]/g, ' ')

const chinese =
  /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]/gu

const cleanText: Normalizer = (text) =>
  text.replace(/(?![\t\n\r])[\0\uFFFD\p{Cc}\p{Cf}\p{Co}]/gu, '').replace(/\p{White_Space}/gu, ' ')

interface BertOptions {
  clean_text: boolean
  handle_chinese_chars: boolean
  strip_accents?: boolean | null
  lowercase: boolean
}

const bert = (o: BertOptions): Normalizer => {
  const accents = o.strip_accents ?? o.lowercase
  return (text) => {
    if (isPlain(text)) return o.lowercase ? text.toLowerCase() : text
    let out = o.clean_text ? cleanText(text) : text
    if (o.handle_chinese_chars) out = out.replace(chinese, ' $& ')
    if (accents) out = out.normalize('NFD').replace(/\p{Mn}/gu, '')
    return o.lowercase ? lowercase(out) : out
  }
}

const strip =
  (left: boolean, right: boolean): Normalizer =>
  (text) => {
    const from = left ? spaceAtStart(text) : 0
    return text.slice(from, right ? Math.max(from, text.length - spaceAtEnd(text)) : undefined)
  }

/** A grapheme of fewer than six bytes is looked up whole; where that finds nothing, character by character. */
const precompiled = (map: Charsmap): Normalizer => {
  const segmenter = new Intl.Segmenter(undefined, { granularity: 'grapheme' })
  const byCharacter = (text: string): string => Array.from(text, (c) => map(c) ?? c).join('')
  return (text) => {
    if (isPlain(text)) return byCharacter(text)
    let out = ''
    for (const { segment } of segmenter.segment(text))
      out += (bytesOf(segment).length < 6 ? map(segment) : undefined) ?? byCharacter(segment)
    return out
  }
}

const kinds: Readonly<Record<string, Kind<Normalizer>>> = {
  NFC: plain((text) => text.normalize('NFC')),
  NFD: plain((text) => text.normalize('NFD')),
  NFKC: plain((text) => text.normalize('NFKC')),
  NFKD: plain((text) => text.normalize('NFKD')),
  Nmt: plain(nmt),
  Lowercase: plain(lowercase),
  StripAccents: plain((text) => text.replace(/\p{M}/gu, '')),
  ByteLevel: plain(toByteCharacters),
  Strip: kind({ strip_left: z.boolean(), strip_right: z.boolean() }, (o) =>
    strip(o.strip_left, o.strip_right),
  ),
  Prepend: kind(
    { prepend: z.string() },
    ({ prepend }) =>
      (text) =>
        text === '' ? text : prepend + text,
  ),
  Replace: kind({ pattern: patternSchema, content: z.string() }, ({ pattern, content }, where) => {
    const compiled = compilePattern(pattern, where)
    return (text) => text.replace(compiled, () => content)
  }),
  BertNormalizer: kind(
    {
      clean_text: z.boolean(),
      handle_chinese_chars: z.boolean(),
      strip_accents: z.boolean().nullish(),
      lowercase: z.boolean(),
    },
    bert,
  ),
  Precompiled: kind({ precompiled_charsmap: z.string() }, ({ precompiled_charsmap }, where) => {
    try {
      return precompiled(charsmap(precompiled_charsmap))
    } catch (cause) {
      throw broken(where, (cause as Error).message, { cause })
    }
  }),
  Sequence: kind({ normalizers: z.array(z.unknown()) }, ({ normalizers }, where) => {
    const all = chooseAll(normalizer, normalizers, `${where}.normalizers`)
    return (text) => all.reduce((t, normalize) => normalize(t), text)
  }),
}

/** The types of normalizers, and the keys of each. */
export const normalizerKinds: Readonly<Record<string, Kind<unknown>>> = kinds

/** The normalizer that `json` describes. Throws CheckpointError for one that is not known. */
export const normalizer = (json: unknown, where: string): Normalizer => choose(kinds, json, where)
