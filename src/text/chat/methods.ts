/** @file Methods of strings, lists and dictionaries, as templates call them. */
import {
  type Callable,
  type Dict,
  isEqual,
  itemsOf,
  lengthOf,
  TemplateFault,
  textOf,
  Tuple,
  typeName,
  type Value,
} from './values.js'

/** What is white space to Python's str: Unicode's and the separators U+001C to U+001F. */
export const space = '[\\p{White_Space}\\u001c-\\u001f]'

/** The argument in this place or of this name, which must be a string where it is given. */
const text = (value: Value, what: string): string => {
  if (typeof value === 'string') return value
  throw new TemplateFault(`${what} must be str, not ${typeName(value)}`)
}

const whole = (value: Value, what: string): number => {
  if (typeof value === 'number') return value
  throw new TemplateFault(`${what} must be int, not ${typeName(value)}`)
}

const escaped = (characters: string): string => characters.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')

/** `value` without the characters at its ends; `sides` says which. */
export const stripped = (value: string, characters: Value, sides: 'left' | 'right' | 'both'): string => {
  const set = characters == null ? space : `[${escaped(text(characters, 'strip arg'))}]`
  if (set === '[]') return value
  const from = sides === 'right' ? 0 : (new RegExp(`^${set}+`, 'u').exec(value)?.[0].length ?? 0)
  let to = value.length
  if (sides !== 'left') {
    const one = new RegExp(`^${set}$`, 'u')
    const units = Array.from(value)
    while (to > from && one.test(units[units.length - 1])) to -= units.pop()?.length ?? 0
  }
  return value.slice(from, to)
}

const bySpace = (value: string, most: number): string[] => {
  const parts: string[] = []
  let rest = stripped(value, null, 'left')
  while (rest !== '') {
    const gap = parts.length === most ? null : new RegExp(`${space}+`, 'u').exec(rest)
    if (!gap) break
    parts.push(rest.slice(0, gap.index))
    rest = rest.slice(gap.index + gap[0].length)
  }
  return rest === '' ? parts : [...parts, rest]
}

const split = (value: string, separator: Value, most: number): string[] => {
  const limit = most < 0 ? Infinity : most
  if (separator == null) return bySpace(value, limit)
  const by = text(separator, 'sep')
  if (by === '') throw new TemplateFault('empty separator')
  const parts = value.split(by)
  if (parts.length - 1 <= limit) return parts
  return [...parts.slice(0, limit), parts.slice(limit).join(by)]
}

const splitFromRight = (value: string, separator: Value, most: number): string[] => {
  if (most < 0) return split(value, separator, -1)
  const mirrored = (s: string): string => Array.from(s).reverse().join('')
  const by = separator == null ? null : mirrored(text(separator, 'sep'))
  return split(mirrored(value), by, most).map(mirrored).reverse()
}

/** Python's replace, which puts `to` between all characters where `from` is empty. */
export const replaced = (value: string, from: string, to: string, count: number): string => {
  const parts = from === '' ? ['', ...Array.from(value), ''] : value.split(from)
  const most = count < 0 ? parts.length - 1 : Math.min(count, parts.length - 1)
  return (
    parts.slice(0, most + 1).join(to) +
    parts
      .slice(most + 1)
      .map((part) => from + part)
      .join('')
  )
}

/** Every word's first letter in capitals, the others small; a word is a run of letters. */
export const titled = (value: string): string =>
  value.replace(/[\p{L}\p{M}]+/gu, (word) => {
    const [first, ...rest] = Array.from(word)
    return first.toUpperCase() + rest.join('').toLowerCase()
  })

/** The first letter in capitals, all others small. */
export const capitalized = (value: string): string => {
  const [first = '', ...rest] = Array.from(value)
  return first.toUpperCase() + rest.join('').toLowerCase()
}

const affixed = (affix: Value, has: (affix: string) => boolean, what: string): boolean =>
  affix instanceof Tuple ? affix.some((a) => has(text(a, what))) : has(text(affix, what))

const partitioned = (value: string, by: string, place: number, whenNone: readonly string[]): Value =>
  Tuple.from(place < 0 ? whenNone : [value.slice(0, place), by, value.slice(place + by.length)])

const all = (value: string, pattern: RegExp): boolean => value !== '' && pattern.test(value)
const cased = (value: string, form: string): boolean =>
  value === form && value.toLowerCase() !== value.toUpperCase()
const padded = (value: string, width: number, fill: string): string =>
  fill.repeat(Math.max(0, width - Array.from(value).length))

type Method<T> = (self: T, args: readonly Value[], named: ReadonlyMap<string, Value>) => Value

const strings: Readonly<Record<string, Method<string>>> = {
  upper: (s) => s.toUpperCase(),
  lower: (s) => s.toLowerCase(),
  casefold: (s) => s.toLowerCase(),
  title: titled,
  capitalize: capitalized,
  swapcase: (s) => Array.from(s, (c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase())).join(''),
  strip: (s, [characters]) => stripped(s, characters, 'both'),
  lstrip: (s, [characters]) => stripped(s, characters, 'left'),
  rstrip: (s, [characters]) => stripped(s, characters, 'right'),
  startswith: (s, [affix]) => affixed(affix, (a) => s.startsWith(a), 'startswith first arg'),
  endswith: (s, [affix]) => affixed(affix, (a) => s.endsWith(a), 'endswith first arg'),
  removeprefix: (s, [affix]) => (s.startsWith(text(affix, 'prefix')) ? s.slice(String(affix).length) : s),
  removesuffix: (s, [affix]) =>
    affix !== '' && s.endsWith(text(affix, 'suffix')) ? s.slice(0, -String(affix).length) : s,
  split: (s, [sep, most], named) =>
    split(s, sep ?? named.get('sep'), whole(most ?? named.get('maxsplit') ?? -1, 'maxsplit')),
  rsplit: (s, [sep, most], named) =>
    splitFromRight(s, sep ?? named.get('sep'), whole(most ?? named.get('maxsplit') ?? -1, 'maxsplit')),
  splitlines: (s) =>
    s
      .replace(/(\r\n|[\n\r\v\f\u001c-\u001e\u0085\u2028\u2029])$/, '')
      .split(/\r\n|[\n\r\v\f\u001c-\u001e\u0085\u2028\u2029]/)
      .filter((_, _i, lines) => s !== '' || lines.length > 1),
  replace: (s, [from, to, count], named) =>
    replaced(s, text(from, 'old'), text(to, 'new'), whole(count ?? named.get('count') ?? -1, 'count')),
  join: (s, [list]) =>
    itemsOf(list)
      .map((item) => text(item, 'sequence item'))
      .join(s),
  find: (s, [part]) =>
    Array.from(s.slice(0, Math.max(0, s.indexOf(text(part, 'sub'))))).length -
    Number(!s.includes(String(part))),
  rfind: (s, [part]) =>
    Array.from(s.slice(0, Math.max(0, s.lastIndexOf(text(part, 'sub'))))).length -
    Number(!s.includes(String(part))),
  count: (s, [part]) => (part === '' ? Array.from(s).length + 1 : s.split(text(part, 'sub')).length - 1),
  partition: (s, [by]) => partitioned(s, text(by, 'sep'), s.indexOf(String(by)), [s, '', '']),
  rpartition: (s, [by]) => partitioned(s, text(by, 'sep'), s.lastIndexOf(String(by)), ['', '', s]),
  isdigit: (s) => all(s, /^[\p{Nd}²³¹]+$/u),
  isdecimal: (s) => all(s, /^\p{Nd}+$/u),
  isnumeric: (s) => all(s, /^\p{N}+$/u),
  isalpha: (s) => all(s, /^\p{L}+$/u),
  isalnum: (s) => all(s, /^[\p{L}\p{N}]+$/u),
  isspace: (s) => all(s, new RegExp(`^${space}+$`, 'u')),
  isupper: (s) => cased(s, s.toUpperCase()),
  islower: (s) => cased(s, s.toLowerCase()),
  ljust: (s, [width, fill = ' ']) => s + padded(s, whole(width, 'width'), text(fill, 'fill')),
  rjust: (s, [width, fill = ' ']) => padded(s, whole(width, 'width'), text(fill, 'fill')) + s,
  zfill: (s, [width]) => {
    const sign = /^[+-]/.exec(s)?.[0] ?? ''
    return sign + padded(s, whole(width, 'width'), '0') + s.slice(sign.length)
  },
}

const lists: Readonly<Record<string, Method<Value[]>>> = {
  count: (list, [item]) => list.filter((x) => isEqual(x, item)).length,
  index: (list, [item]) => {
    const place = list.findIndex((x) => isEqual(x, item))
    if (place >= 0) return place
    throw new TemplateFault(`${textOf(item)} is not in list`)
  },
  copy: (list) => [...list],
}

const dicts: Readonly<Record<string, Method<Dict>>> = {
  get: (dict, [key, otherwise], named) =>
    dict.has(key) ? dict.get(key) : (otherwise ?? named.get('default') ?? null),
  items: (dict) => [...dict].map(([k, v]) => Tuple.from([k, v] as Value[])),
  keys: (dict) => [...dict.keys()],
  values: (dict) => [...dict.values()],
  copy: (dict) => new Map(dict),
}

/** Methods that would change a value: a template's sandbox forbids them. */
const changing = [
  'append',
  'extend',
  'insert',
  'pop',
  'remove',
  'clear',
  'sort',
  'reverse',
  'update',
  'setdefault',
  'popitem',
]

const bound = <T>(
  methods: Readonly<Record<string, Method<T>>>,
  self: T,
  name: string,
): Callable | undefined => {
  if (Object.hasOwn(methods, name)) return (args, named) => methods[name](self, args, named)
  if (typeof self === 'string' || !changing.includes(name)) return undefined
  return () => {
    throw new TemplateFault(`${name}() would change a value, which templates may not`)
  }
}

/** The method `name` of a value, or undefined. */
export const methodOf = (value: Value, name: string): Callable | undefined => {
  if (typeof value === 'string') return bound(strings, value, name)
  if (Array.isArray(value)) return bound(lists, value, name)
  return value instanceof Map ? bound(dicts, value, name) : undefined
}

/** The item of a value by its place or key, or undefined. */
export const itemOf = (value: Value, key: Value): Value => {
  if (value instanceof Map) {
    if (value.has(key)) return value.get(key)
    return [...value].find(([k]) => isEqual(k, key))?.[1]
  }
  if (typeof key !== 'number' && typeof key !== 'boolean') return undefined
  if (typeof value !== 'string' && !Array.isArray(value)) return undefined
  const place = Number(key) < 0 ? lengthOf(value) + Number(key) : Number(key)
  return typeof value === 'string' ? Array.from(value)[place] : value[place]
}
