/** @file The classes of characters and the bytes of text, as Rust's standard library and regular expressions see them. */

/** Rust's char::is_whitespace. JavaScript's \s has U+FEFF, which is none here, and lacks U+0085. */
export const whiteSpace: RegExp = /\p{White_Space}/gu

/** What the regex crate calls \w. */
const word = '[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]'

const wordAtStart = new RegExp(`^${word}`, 'u')
const wordAtEnd = new RegExp(`${word}$`, 'u')

/** Runs of word characters, and runs of what is neither of a word nor white space. */
export const words: RegExp = new RegExp(`${word}+|[^\\p{White_Space}${word.slice(1, -1)}]+`, 'gu')

/** Punctuation as BERT's tokenizers have it: the category P and every ASCII character that is no letter or digit. */
export const punctuation: RegExp = /[\p{P}!-/:-@[-`{-~]/gu

/** Rust's char::is_numeric. */
export const numeric: RegExp = /\p{N}/gu

/** Whether a word goes on at the start of `text`. */
export const startsWithWord = (text: string): boolean => wordAtStart.test(text)

/** Whether a word ends at the end of `text`. */
export const endsWithWord = (text: string): boolean => wordAtEnd.test(text)

/** Whether `text` is printable ASCII, which no normalisation but that of case changes. */
export const isPlain = (text: string): boolean => /^[ -~]*$/.test(text)

/** How many UTF-16 units of white space `text` begins with. */
export const spaceAtStart = (text: string): number => /^\p{White_Space}*/u.exec(text)?.[0].length ?? 0

/** How many UTF-16 units of white space `text` ends with. */
export const spaceAtEnd = (text: string): number => {
  let n = 0
  while (n < text.length && /\p{White_Space}/u.test(text[text.length - 1 - n])) n++
  return n
}

const prints = (byte: number): boolean =>
  (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174

/** The printable character that stands for each byte in GPT-2's alphabet: itself where Latin-1 prints it, else the next from U+0100 on. */
export const byteCharacters: readonly string[] = (() => {
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(prints(byte) ? byte : next++))
})()

const byteOfCharacter = new Map(byteCharacters.map((character, byte) => [character, byte]))
const utf8 = new TextEncoder()

/** The UTF-8 bytes of `text`. */
export const bytesOf = (text: string): Uint8Array => utf8.encode(text)

/** `text` in GPT-2's alphabet, a character a byte. */
export const toByteCharacters = (text: string): string => {
  // Most words: a space at most, and letters that stand for themselves.
  if (/^ ?[!-~]*$/.test(text)) return text.startsWith(' ') ? byteCharacters[32] + text.slice(1) : text
  let out = ''
  for (const byte of utf8.encode(text)) out += byteCharacters[byte]
  return out
}

/** The bytes that `token` spells in GPT-2's alphabet; its own where a character is not of it. */
export const fromByteCharacters = (token: string): ArrayLike<number> => {
  const bytes: number[] = []
  for (const character of token) {
    const byte = byteOfCharacter.get(character)
    if (byte === undefined) return utf8.encode(token)
    bytes.push(byte)
  }
  return bytes
}

const lossy = new TextDecoder('utf-8', { ignoreBOM: true })
const strict = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true })

/** The text of UTF-8 bytes, U+FFFD where they are broken. */
export const textOf = (bytes: ArrayLike<number>): string => lossy.decode(Uint8Array.from(bytes))

/** The text of UTF-8 bytes, or undefined where they are broken. */
export const validTextOf = (bytes: ArrayLike<number>): string | undefined => {
  try {
    return strict.decode(Uint8Array.from(bytes))
  } catch {
    return undefined
  }
}

/** `text` without halves of surrogate pairs, which no UTF-8 has. */
export const wellFormed = (text: string): string => text.replace(/\p{Surrogate}/gu, '\uFFFD')
