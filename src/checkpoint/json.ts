/**
 * @file JSON as Hugging Face's libraries write it, in files that may be broken or hostile. Numbers keep their text, NaN and
 * infinities are read and written as Python does; duplicate keys, `__proto__` and deep nesting are caught.
 */
import { CheckpointError } from '../errors.js'
import { keepNumeral, numeralOf } from './numerals.js'

/** A value of JSON; NaN and infinities are numbers. */
export type Json = null | boolean | number | string | Json[] | JsonObject

/** An object of JSON. */
export interface JsonObject {
  [key: string]: Json
}

/** Deeper nesting than any checkpoint has; keeps hostile input from exhausting the stack. */
const maximumDepth = 128

/** Whether `json` is an object, and no list. */
export const isJsonObject = (json: Json | undefined): json is JsonObject =>
  typeof json === 'object' && json !== null && !Array.isArray(json)

class Parser {
  private at = 0
  /** The text of the number that was read last. */
  private numeral = ''
  constructor(
    private readonly text: string,
    private readonly fail: (message: string) => CheckpointError,
  ) {}

  document(): Json {
    const json = this.value(0)
    if (this.peek() !== '') throw this.error(`${this.here()} after the end of the document`)
    return json
  }

  private error(message: string): CheckpointError {
    return this.fail(`${message} at character ${this.at}`)
  }

  private here(): string {
    return this.at < this.text.length ? JSON.stringify(this.text[this.at]) : 'the text ends'
  }

  /** The next character that is no white space; '' at the end. */
  private peek(): string {
    const space = /[ \t\n\r]*/y
    space.lastIndex = this.at
    space.test(this.text)
    this.at = space.lastIndex
    return this.text.charAt(this.at)
  }

  private expect(character: string): void {
    if (this.peek() !== character)
      throw this.error(`expected ${JSON.stringify(character)}, but ${this.here()}`)
    this.at++
  }

  private value(depth: number): Json {
    if (depth > maximumDepth) throw this.error(`nested more than ${maximumDepth} deep`)
    const first = this.peek()
    if (first === '{') return this.object(depth)
    if (first === '[') return this.array(depth)
    if (first === '"') return this.string()
    return this.literal()
  }

  private object(depth: number): JsonObject {
    const object: JsonObject = {}
    this.expect('{')
    if (this.peek() !== '}')
      for (;;) {
        if (this.peek() !== '"') throw this.error(`expected a key in quotes, but ${this.here()}`)
        const key = this.string()
        if (Object.hasOwn(object, key)) throw this.error(`duplicate key ${JSON.stringify(key)}`)
        this.expect(':')
        const value = this.value(depth + 1)
        // A plain assignment of "__proto__" would change the prototype instead of adding a key.
        if (key === '__proto__')
          Object.defineProperty(object, key, { value, enumerable: true, writable: true, configurable: true })
        else object[key] = value
        if (typeof value === 'number') keepNumeral(object, key, value, this.numeral)
        if (this.peek() === '}') break
        this.expect(',')
      }
    this.expect('}')
    return object
  }

  private array(depth: number): Json[] {
    const array: Json[] = []
    this.expect('[')
    if (this.peek() !== ']')
      for (;;) {
        const value = this.value(depth + 1)
        if (typeof value === 'number') keepNumeral(array, String(array.length), value, this.numeral)
        array.push(value)
        if (this.peek() === ']') break
        this.expect(',')
      }
    this.expect(']')
    return array
  }

  private string(): string {
    let end = this.at + 1
    while (end < this.text.length && this.text[end] !== '"') end += this.text[end] === '\\' ? 2 : 1
    const quoted = this.text.slice(this.at, end + 1)
    try {
      const string = JSON.parse(quoted) as string
      this.at = end + 1
      return string
    } catch {
      throw this.error('a string with no end, a bad escape or a control character')
    }
  }

  private literal(): Json {
    const token = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|NaN|-?Infinity/y
    token.lastIndex = this.at
    const text = token.exec(this.text)?.[0]
    if (text === undefined) throw this.error(`expected a value, but ${this.here()}`)
    this.at = token.lastIndex
    if (Object.hasOwn(words, text)) return words[text]
    this.numeral = text
    return Number(text)
  }
}

const words: Readonly<Record<string, null | boolean>> = { true: true, false: false, null: null }

/**
 * `text` as JSON, strictly: no duplicate keys, no nesting beyond 128 levels; `__proto__` is an ordinary key. NaN, Infinity
 * and -Infinity are numbers, as for Python; `formatJson` writes every number as it was. Throws CheckpointError that names
 * `file` and says where in the text the fault is.
 */
export const parseJson = (text: string, file: string): Json =>
  new Parser(
    text,
    (message) => new CheckpointError('InvalidJson', `${file}: invalid JSON: ${message}.`),
  ).document()

/** Object whose text is `text`, read as `parseJson` does. Throws CheckpointError where it is none. */
export const parseJsonObject = (text: string, file: string): JsonObject => {
  const json = parseJson(text, file)
  if (!isJsonObject(json))
    throw new CheckpointError(
      'InvalidJson',
      `${file}: expected a JSON object, found ${JSON.stringify(json).slice(0, 40)}.`,
    )
  return json
}

/** The UTF-8 `bytes` as text. Throws CheckpointError that names `file` when they are not UTF-8. */
export const decodeText = (bytes: Uint8Array, file: string): string => {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw new CheckpointError('InvalidText', `${file}: the text is not valid UTF-8.`, { cause })
  }
}

/**
 * `text` as JSON that is read and never written again: what JSON.parse takes, at its speed, and NaN and infinities
 * besides. Throws CheckpointError `code` that names `file`.
 */
export const parseReadOnly = (text: string, file: string, code = 'InvalidJson'): Json => {
  try {
    return JSON.parse(text) as Json
  } catch {
    const fail = (message: string): CheckpointError =>
      new CheckpointError(code, `${file}: not valid JSON: ${message}.`)
    return new Parser(text, fail).document()
  }
}

const wholeNumber = /^(?:0|[1-9]\d*)$/

/** Whole numbers by size before other keys, as Python sorts those of id2label. */
const byKey = (a: string, b: string): number => {
  if (wholeNumber.test(a) && wholeNumber.test(b)) return Number(a) - Number(b)
  if (wholeNumber.test(a) || wholeNumber.test(b)) return wholeNumber.test(a) ? -1 : 1
  return a < b ? -1 : 1
}

/** Options of `formatJson`. */
export interface FormatOptions {
  /** Whether the keys of objects are sorted. Default true. */
  readonly sorted?: boolean
}

class Writer {
  private readonly pieces: string[] = []
  constructor(private readonly sorted: boolean) {}

  document(json: Json): string {
    this.value(json, { 0: json }, '0', '\n')
    return this.pieces.join('')
  }

  /** `line`: the line break before what follows it, with its indentation. */
  private value(json: Json, holder: object, key: string, line: string): void {
    if (typeof json === 'number') this.pieces.push(numeralOf(holder, key, json))
    else if (Array.isArray(json)) this.list('[', json, line, ']')
    else if (isJsonObject(json)) this.list('{', json, line, '}')
    else this.pieces.push(JSON.stringify(json))
  }

  private list(open: string, holder: Json[] | JsonObject, line: string, close: string): void {
    const inner = `${line}  `
    let before = open
    for (const key of this.keys(holder)) {
      this.pieces.push(before, inner, Array.isArray(holder) ? '' : `${JSON.stringify(key)}: `)
      this.value((holder as JsonObject)[key], holder, key, inner)
      before = ','
    }
    this.pieces.push(before === open ? open : line, close)
  }

  private keys(holder: Json[] | JsonObject): string[] {
    const keys = Object.keys(holder)
    if (Array.isArray(holder)) return keys
    const there = keys.filter((key) => (holder as Record<string, unknown>)[key] !== undefined)
    return this.sorted ? there.sort(byKey) : there
  }
}

/**
 * `json` as Transformers and PEFT write it: keys sorted (unless `sorted` is false), two spaces a level, no newline at the
 * end. Numbers that `parseJson` has read, and that are the same still, have the text they had.
 */
export const formatJson = (json: Json, { sorted = true }: FormatOptions = {}): string =>
  new Writer(sorted).document(json)
