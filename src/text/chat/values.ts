/** @file Values of a template as Python has them: how they print, compare and count as true. */

/** A float of Python's: an int is a plain number here. */
export class Float {
  constructor(readonly value: number) {}
}

/** A tuple of Python's: a list is a plain array. */
export class Tuple extends Array<Value> {}

/** What `namespace()` gives: its attributes can be set. */
export class Namespace {
  constructor(readonly fields: Map<string, Value>) {}
}

/** A function, a method or a macro. */
export type Callable = (args: readonly Value[], named: ReadonlyMap<string, Value>) => Value

/** A dictionary. */
export type Dict = Map<Value, Value>

/** A value of a template; `undefined` is a name without a value. */
export type Value =
  undefined | null | boolean | number | string | Float | Value[] | Dict | Namespace | Callable

/** What a template does wrong, by Python's rules. */
export class TemplateFault extends Error {}

const typeNames: readonly (readonly [is: (value: Value) => boolean, name: string])[] = [
  [(v) => v === undefined, 'Undefined'],
  [(v) => v === null, 'NoneType'],
  [(v) => typeof v === 'boolean', 'bool'],
  [(v) => typeof v === 'number', 'int'],
  [(v) => v instanceof Float, 'float'],
  [(v) => typeof v === 'string', 'str'],
  [(v) => v instanceof Tuple, 'tuple'],
  [(v) => Array.isArray(v), 'list'],
  [(v) => v instanceof Map, 'dict'],
  [(v) => v instanceof Namespace, 'Namespace'],
]

/** The name of a value's type. */
export const typeName = (value: Value): string => typeNames.find(([is]) => is(value))?.[1] ?? 'function'

/** A value of JavaScript's as Python would have read it from JSON. */
export const fromJavaScript = (value: unknown): Value => {
  if (value === null || value === undefined) return value
  if (typeof value === 'number') return Number.isInteger(value) ? value : new Float(value)
  if (typeof value === 'string' || typeof value === 'boolean') return value
  if (Array.isArray(value)) return value.map(fromJavaScript)
  if (typeof value === 'object') return new Map(Object.entries(value).map(([k, v]) => [k, fromJavaScript(v)]))
  throw new TemplateFault(`a ${typeof value} is no value of a template`)
}

/** The number that a value is in arithmetic, or undefined. */
export const numberOf = (value: Value): number | undefined => {
  if (typeof value === 'number') return value
  if (typeof value === 'boolean') return Number(value)
  return value instanceof Float ? value.value : undefined
}

/** Whether a condition holds. */
export const isTrue = (value: Value): boolean => {
  if (value instanceof Float) return value.value !== 0
  if (Array.isArray(value)) return value.length > 0
  return value instanceof Map ? value.size > 0 : Boolean(value)
}

/** Python's ==. */
export const isEqual = (a: Value, b: Value): boolean => {
  const x = numberOf(a)
  const y = numberOf(b)
  if (x !== undefined && y !== undefined) return x === y
  if (Array.isArray(a) && Array.isArray(b))
    return (
      a instanceof Tuple === b instanceof Tuple &&
      a.length === b.length &&
      a.every((v, i) => isEqual(v, b[i]))
    )
  if (a instanceof Map && b instanceof Map)
    return a.size === b.size && [...a].every(([key, v]) => b.has(key) && isEqual(v, b.get(key)))
  return a === b
}

/** By code points, as Python compares strings. */
const compareText = (a: string, b: string): number => {
  const x = Array.from(a, (c) => c.codePointAt(0) ?? 0)
  const y = Array.from(b, (c) => c.codePointAt(0) ?? 0)
  for (let i = 0; i < Math.min(x.length, y.length); i++) if (x[i] !== y[i]) return x[i] - y[i]
  return x.length - y.length
}

/** Below 0 where `a` comes before `b`. Throws TemplateFault for values that have no order. */
export const compare = (a: Value, b: Value): number => {
  const x = numberOf(a)
  const y = numberOf(b)
  if (x !== undefined && y !== undefined) return x - y
  if (typeof a === 'string' && typeof b === 'string') return compareText(a, b)
  if (Array.isArray(a) && Array.isArray(b) && a instanceof Tuple === b instanceof Tuple) {
    for (let i = 0; i < Math.min(a.length, b.length); i++)
      if (!isEqual(a[i], b[i])) return compare(a[i], b[i])
    return a.length - b.length
  }
  throw new TemplateFault(`'${typeName(a)}' and '${typeName(b)}' have no order`)
}

/** The items that a loop goes through. Throws TemplateFault for what has none. */
export const itemsOf = (value: Value): Value[] => {
  if (value === undefined) return []
  if (typeof value === 'string') return Array.from(value)
  if (Array.isArray(value)) return [...value]
  if (value instanceof Map) return [...value.keys()]
  throw new TemplateFault(`'${typeName(value)}' object is not iterable`)
}

/** How many items a value has. Throws TemplateFault for what has none. */
export const lengthOf = (value: Value): number => itemsOf(value).length

/** A float as Python prints it: the fewest digits, an exponent from 1e16 on and below 1e-4. */
const floatText = (x: number): string => {
  if (Number.isNaN(x)) return 'nan'
  if (!Number.isFinite(x)) return x > 0 ? 'inf' : '-inf'
  const [mantissa, exponent] = x
    .toExponential()
    .split('e')
    .map((part) => part.replace('+', ''))
  const power = Number(exponent)
  if (power < -4 || power >= 16)
    return `${mantissa}e${power < 0 ? '-' : '+'}${String(Math.abs(power)).padStart(2, '0')}`
  const plain = x !== 0 && Math.abs(x) < 1e-6 ? x.toFixed(20).replace(/0+$/, '') : String(x)
  const signed = Object.is(x, -0) ? '-0' : plain
  return signed.includes('.') ? signed : `${signed}.0`
}

const escapes: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t', '\\': '\\\\' }

/** A string within quotes, as Python's repr writes it. */
const quoted = (text: string): string => {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'"
  const hex = (c: string): string => {
    const code = c.codePointAt(0) ?? 0
    if (code < 0x100) return `\\x${code.toString(16).padStart(2, '0')}`
    return code < 0x10000
      ? `\\u${code.toString(16).padStart(4, '0')}`
      : `\\U${code.toString(16).padStart(8, '0')}`
  }
  const body = Array.from(text, (c) => {
    if (c === quote) return `\\${c}`
    return escapes[c] ?? (c !== ' ' && /[\p{C}\p{Z}]/u.test(c) ? hex(c) : c)
  })
  return quote + body.join('') + quote
}

/** A value as Python's repr writes it. */
const represented = (value: Value): string => {
  if (typeof value === 'string') return quoted(value)
  if (value instanceof Tuple) return `(${value.map(represented).join(', ')}${value.length === 1 ? ',' : ''})`
  if (Array.isArray(value)) return `[${value.map(represented).join(', ')}]`
  if (value instanceof Map)
    return `{${[...value].map(([k, v]) => `${represented(k)}: ${represented(v)}`).join(', ')}}`
  return value === undefined ? 'Undefined' : textOf(value)
}

/** What a template prints for a value: Python's str. */
export const textOf = (value: Value): string => {
  if (value === undefined) return ''
  if (value === null) return 'None'
  if (typeof value === 'string') return value
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  if (typeof value === 'number') return Number.isSafeInteger(value) ? String(value) : BigInt(value).toString()
  if (value instanceof Float) return floatText(value.value)
  if (Array.isArray(value) || value instanceof Map) return represented(value)
  throw new TemplateFault(`a ${typeName(value)} cannot be printed`)
}

/** How JSON is written: see Python's json.dumps. */
export interface JsonStyle {
  /** What one level is moved in by; undefined: all on one line. */
  indent?: string
  /** Between entries, and between a key and its value. */
  separators: readonly [string, string]
  ensureAscii: boolean
  sortKeys: boolean
}

const jsonText = (text: string, { ensureAscii }: JsonStyle): string => {
  const json = JSON.stringify(text)
  if (!ensureAscii) return json
  return json.replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

const jsonKey = (key: Value): string => {
  if (typeof key === 'string') return key
  if (key === null || typeof key === 'boolean') return String(key)
  if (typeof key === 'number' || key instanceof Float) return textOf(key)
  throw new TemplateFault(`keys must be str, int, float, bool or None, not ${typeName(key)}`)
}

const enclosed = (
  entries: readonly string[],
  [open, close]: string,
  style: JsonStyle,
  depth: number,
): string => {
  if (entries.length === 0) return open + close
  const { indent, separators } = style
  if (indent === undefined) return open + entries.join(separators[0]) + close
  const line = `\n${indent.repeat(depth + 1)}`
  return `${open}${line}${entries.join(separators[0] + line)}\n${indent.repeat(depth)}${close}`
}

/** A value as Python's json.dumps writes it. Throws TemplateFault for what has no JSON. */
export const jsonOf = (value: Value, style: JsonStyle, depth = 0): string => {
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'string') return jsonText(value, style)
  if (typeof value === 'number') return textOf(value)
  if (value instanceof Float) {
    const text = floatText(value.value)
    return { nan: 'NaN', inf: 'Infinity', '-inf': '-Infinity' }[text] ?? text
  }
  if (Array.isArray(value)) {
    const entries = value.map((v) => jsonOf(v, style, depth + 1))
    return enclosed(entries, '[]', style, depth)
  }
  if (value instanceof Map) {
    const entries = [...value].map(([k, v]) => [jsonKey(k), v] as const)
    if (style.sortKeys) entries.sort(([a], [b]) => compareText(a, b))
    const written = entries.map(
      ([k, v]) => jsonText(k, style) + style.separators[1] + jsonOf(v, style, depth + 1),
    )
    return enclosed(written, '{}', style, depth)
  }
  throw new TemplateFault(`Object of type ${typeName(value)} is not JSON serializable`)
}
