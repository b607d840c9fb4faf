/** @file JSON as found in files that may be broken or hostile: duplicate keys, `__proto__` and deep nesting are caught. */
import { CheckpointError } from '../errors.js'

export type Json = null | boolean | number | string | Json[] | JsonObject
export interface JsonObject {
  [key: string]: Json
}

/** Deeper nesting than any checkpoint has; keeps hostile input from exhausting the stack. */
const maximumDepth = 128

export const isJsonObject = (json: Json | undefined): json is JsonObject =>
  typeof json === 'object' && json !== null && !Array.isArray(json)

class Parser {
  private at = 0
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
    if (this.peek() === '}') this.at++
    else
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
        if (this.peek() === '}') return (this.at++, object)
        this.expect(',')
      }
    return object
  }

  private array(depth: number): Json[] {
    const array: Json[] = []
    this.expect('[')
    if (this.peek() === ']') this.at++
    else
      for (;;) {
        array.push(this.value(depth + 1))
        if (this.peek() === ']') return (this.at++, array)
        this.expect(',')
      }
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
    const token = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y
    token.lastIndex = this.at
    const match = token.exec(this.text)
    if (!match) throw this.error(`expected a value, but ${this.here()}`)
    this.at = token.lastIndex
    return JSON.parse(match[0]) as Json
  }
}

/**
 * `text` as JSON, strictly: no duplicate keys, no nesting beyond 128 levels; `__proto__` is an ordinary key.
 * Throws CheckpointError that names `file` and says where in the text the fault is.
 */
export const parseJson = (text: string, file: string): Json =>
  new Parser(
    text,
    (message) => new CheckpointError('InvalidJson', `${file}: invalid JSON: ${message}.`),
  ).document()

/** As `parseJson`; the document must be an object. */
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

const sortKeys = (json: Json): Json => {
  if (Array.isArray(json)) return json.map(sortKeys)
  if (!isJsonObject(json)) return json
  return Object.fromEntries(
    Object.keys(json)
      .sort()
      .map((key) => [key, sortKeys(json[key])]),
  )
}

/** `json` as Transformers and PEFT write it: keys sorted, two spaces a level, no newline at the end. */
export const formatJson = (json: Json): string => JSON.stringify(sortKeys(json), null, 2)
