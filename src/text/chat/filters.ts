/** @file Filters and tests of Jinja, with the changes that Transformers makes to them. */
import { capitalized, itemOf, methodOf, replaced, stripped } from './methods.js'
import {
  compare,
  Float,
  isEqual,
  isTrue,
  itemsOf,
  jsonOf,
  lengthOf,
  Namespace,
  numberOf,
  TemplateFault,
  textOf,
  Tuple,
  typeName,
  type Value,
} from './values.js'

type Named = ReadonlyMap<string, Value>

/** A filter: what stands before the bar, then the arguments in their order or by name. */
type Filter = (value: Value, args: readonly Value[], named: Named) => Value

/** A test. */
type Test = (value: Value, args: readonly Value[]) => boolean

/** Python's name of a value's attribute: a key of it, a field or a method. */
export const attributeOf = (value: Value, name: string): Value => {
  if (value === undefined) throw new TemplateFault(`an undefined value has no '${name}'`)
  if (value instanceof Namespace) return value.fields.get(name)
  return methodOf(value, name) ?? itemOf(value, name)
}

/** The value at a path such as `a.b` or `0`. */
const atPath = (value: Value, path: Value): Value =>
  textOf(path)
    .split('.')
    .reduce<Value>((v, part) => (/^\d+$/.test(part) ? itemOf(v, Number(part)) : itemOf(v, part)), value)

const argument = (args: readonly Value[], named: Named, place: number, name: string): Value =>
  place < args.length ? args[place] : named.get(name)

const folded = (value: Value): Value => (typeof value === 'string' ? value.toLowerCase() : value)

const keyed =
  (path: Value, sensitive: boolean) =>
  (value: Value): Value => {
    const key = path == null ? value : atPath(value, path)
    return sensitive ? key : folded(key)
  }

const sorted = (list: readonly Value[], key: (value: Value) => Value, reverse: boolean): Value[] => {
  const order = [...list].sort((a, b) => compare(key(a), key(b)))
  if (!reverse) return order
  // Equal ones keep their order, as in Python.
  return [...list]
    .reverse()
    .sort((a, b) => compare(key(a), key(b)))
    .reverse()
}

const extreme =
  (sign: 1 | -1): Filter =>
  (value, args, named) => {
    const key = keyed(
      argument(args, named, 1, 'attribute'),
      isTrue(argument(args, named, 0, 'case_sensitive')),
    )
    const items = itemsOf(value)
    return items.length === 0
      ? undefined
      : items.reduce((best, item) => (sign * compare(key(item), key(best)) > 0 ? item : best))
  }

const unique: Filter = (value, args, named) => {
  const key = keyed(argument(args, named, 1, 'attribute'), isTrue(argument(args, named, 0, 'case_sensitive')))
  const seen: Value[] = []
  return itemsOf(value).filter((item) => {
    if (seen.some((other) => isEqual(other, key(item)))) return false
    seen.push(key(item))
    return true
  })
}

/** Half to even, as Python rounds. */
const rounded: Filter = (value, args, named) => {
  const x = numberOf(value)
  const digits = numberOf(argument(args, named, 0, 'precision') ?? 0) ?? 0
  const method = argument(args, named, 1, 'method') ?? 'common'
  if (x === undefined) throw new TemplateFault(`a ${typeName(value)} cannot be rounded`)
  const scale = 10 ** digits
  if (method === 'ceil') return new Float(Math.ceil(x * scale) / scale)
  if (method === 'floor') return new Float(Math.floor(x * scale) / scale)
  const near = Math.round(x * scale)
  const tie = Math.abs(x * scale - Math.trunc(x * scale)) === 0.5
  return new Float((tie && near % 2 !== 0 ? near - 1 : near) / scale)
}

const integer: Filter = (value, args, named) => {
  const otherwise = argument(args, named, 0, 'default') ?? 0
  const base = numberOf(argument(args, named, 1, 'base') ?? 10) ?? 10
  const x = numberOf(value)
  if (x !== undefined) return Number.isFinite(x) ? Math.trunc(x) : otherwise
  if (typeof value !== 'string') return otherwise
  const text = stripped(value, null, 'both').replace(/_/g, '')
  if (base === 10 && /^[+-]?\d+$/.test(text)) return Number(text)
  if (base !== 10 && /^[+-]?\w+$/.test(text) && !Number.isNaN(parseInt(text, base)))
    return parseInt(text, base)
  const float = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Math.trunc(Number(text)) : undefined
  return float ?? otherwise
}

const float: Filter = (value, args, named) => {
  const x = numberOf(value)
  if (x !== undefined) return new Float(x)
  const text = typeof value === 'string' ? stripped(value, null, 'both') : ''
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return new Float(Number(text))
  return argument(args, named, 0, 'default') ?? new Float(0)
}

const indent: Filter = (value, args, named) => {
  const width = argument(args, named, 0, 'width') ?? 4
  const first = isTrue(argument(args, named, 1, 'first'))
  const blank = isTrue(argument(args, named, 2, 'blank'))
  const by = typeof width === 'string' ? width : ' '.repeat(numberOf(width) ?? 4)
  const lines = textOf(value).split('\n')
  return lines
    .map((line, i) => (i === 0 ? (first ? by + line : line) : line !== '' || blank ? by + line : line))
    .join('\n')
}

const toJson: Filter = (value, args, named) => {
  const width = argument(args, named, 1, 'indent')
  const separators = argument(args, named, 2, 'separators')
  const indented =
    width == null ? undefined : typeof width === 'string' ? width : ' '.repeat(numberOf(width) ?? 0)
  const [item = ', ', key = ': '] = separators == null ? [] : itemsOf(separators).map(textOf)
  return jsonOf(value, {
    indent: indented,
    separators: separators == null && indented !== undefined ? [',', ': '] : [item, key],
    ensureAscii: isTrue(argument(args, named, 0, 'ensure_ascii')),
    sortKeys: isTrue(argument(args, named, 3, 'sort_keys')),
  })
}

const sum: Filter = (value, args, named) => {
  const path = argument(args, named, 0, 'attribute')
  const items = itemsOf(value).map((item) => (path == null ? item : atPath(item, path)))
  const all = [argument(args, named, 1, 'start') ?? 0, ...items]
  const total = all.reduce<number>((t, item) => {
    const x = numberOf(item)
    if (x === undefined) throw new TemplateFault(`a ${typeName(item)} cannot be summed`)
    return t + x
  }, 0)
  return all.some((item) => item instanceof Float) ? new Float(total) : total
}

const map: Filter = (value, args, named) => {
  const path = named.get('attribute')
  if (path !== undefined) return itemsOf(value).map((item) => atPath(item, path) ?? named.get('default'))
  const [name, ...rest] = args
  return itemsOf(value).map((item) => filtered(textOf(name), item, rest, named))
}

/** The items for which a test holds, or does not; `byAttribute`: of a value of theirs. */
const selecting =
  (wanted: boolean, byAttribute: boolean): Filter =>
  (value, args) => {
    const [path, name, ...rest] = byAttribute ? args : [undefined, ...args]
    return itemsOf(value).filter((item) => {
      const tested = byAttribute ? atPath(item, path) : item
      return (name === undefined ? isTrue(tested) : tests(textOf(name))(tested, rest)) === wanted
    })
  }

const batch: Filter = (value, args, named) => {
  const size = numberOf(argument(args, named, 0, 'linecount')) ?? 1
  const fill = argument(args, named, 1, 'fill_with')
  const items = itemsOf(value)
  const rows = Array.from({ length: Math.ceil(items.length / size) }, (_, i) =>
    items.slice(i * size, (i + 1) * size),
  )
  const last = rows.at(-1)
  while (last && fill != null && last.length < size) last.push(fill)
  return rows
}

const htmlEscapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&#34;',
  "'": '&#39;',
}

const otherwise: Filter = (value, args, named) => {
  const falsy = isTrue(argument(args, named, 1, 'boolean')) && !isTrue(value)
  return value === undefined || falsy ? (argument(args, named, 0, 'default_value') ?? '') : value
}

const length: Filter = (value) => lengthOf(value)
const escape: Filter = (value) => textOf(value).replace(/[&<>"']/g, (c) => htmlEscapes[c])
const same: Filter = (value) => value

const all: Readonly<Record<string, Filter>> = {
  abs: (value) => {
    const x = numberOf(value)
    if (x === undefined) throw new TemplateFault(`a ${typeName(value)} has no absolute value`)
    return value instanceof Float ? new Float(Math.abs(x)) : Math.abs(x)
  },
  attr: (value, [name]) =>
    value instanceof Namespace ? value.fields.get(textOf(name)) : methodOf(value, textOf(name)),
  batch,
  capitalize: (value) => capitalized(textOf(value)),
  count: length,
  d: otherwise,
  default: otherwise,
  dictsort: (value, args, named) => {
    if (!(value instanceof Map)) throw new TemplateFault(`dictsort of a ${typeName(value)}`)
    const place = (argument(args, named, 1, 'by') ?? 'key') === 'value' ? 1 : 0
    const key = keyed(place, isTrue(argument(args, named, 0, 'case_sensitive')))
    const pairs = [...value].map(([k, v]) => Tuple.from([k, v] as Value[]))
    return sorted(pairs, key, isTrue(argument(args, named, 2, 'reverse')))
  },
  e: escape,
  escape,
  first: (value) => itemsOf(value)[0],
  float,
  indent,
  int: integer,
  items: (value) =>
    value instanceof Map ? [...value].map(([k, v]) => Tuple.from([k, v] as Value[])) : itemsOf(value),
  join: (value, args, named) => {
    const path = argument(args, named, 1, 'attribute')
    const items = itemsOf(value).map((item) => (path == null ? item : atPath(item, path)))
    return items.map(textOf).join(textOf(argument(args, named, 0, 'd') ?? ''))
  },
  last: (value) => itemsOf(value).at(-1),
  length,
  list: (value) => itemsOf(value),
  lower: (value) => textOf(value).toLowerCase(),
  map,
  max: extreme(1),
  min: extreme(-1),
  reject: selecting(false, false),
  rejectattr: selecting(false, true),
  replace: (value, args, named) => {
    const [from, to] = [argument(args, named, 0, 'old'), argument(args, named, 1, 'new')].map(textOf)
    return replaced(textOf(value), from, to, numberOf(argument(args, named, 2, 'count') ?? -1) ?? -1)
  },
  reverse: (value) =>
    typeof value === 'string' ? Array.from(value).reverse().join('') : itemsOf(value).reverse(),
  round: rounded,
  safe: same,
  select: selecting(true, false),
  selectattr: selecting(true, true),
  sort: (value, args, named) =>
    sorted(
      itemsOf(value),
      keyed(argument(args, named, 2, 'attribute'), isTrue(argument(args, named, 1, 'case_sensitive'))),
      isTrue(argument(args, named, 0, 'reverse')),
    ),
  string: (value) => textOf(value),
  sum,
  title: (value) => textOf(value).replace(/[^-\s({[<]+/gu, (word) => capitalized(word)),
  tojson: toJson,
  trim: (value, args, named) => stripped(textOf(value), argument(args, named, 0, 'chars'), 'both'),
  unique,
  upper: (value) => textOf(value).toUpperCase(),
  wordcount: (value) => (textOf(value).match(/[\p{L}\p{N}_]+/gu) ?? []).length,
}

/** The value after the filter `name`. Throws TemplateFault for one that is not known. */
export const filtered = (name: string, value: Value, args: readonly Value[], named: Named): Value => {
  if (!Object.hasOwn(all, name)) throw new TemplateFault(`no filter named '${name}'`)
  return all[name](value, args, named)
}

const isInteger = (value: Value): boolean => typeof value === 'number'
const isFloat = (value: Value): boolean => value instanceof Float
const isIterable = (value: Value): boolean =>
  value === undefined || typeof value === 'string' || Array.isArray(value) || value instanceof Map
const remainder = (value: Value, by: number): number => {
  const x = numberOf(value)
  if (x === undefined) throw new TemplateFault(`a ${typeName(value)} has no remainder`)
  return ((x % by) + by) % by
}

/** Python's `in`. */
export const isIn = (item: Value, container: Value): boolean => {
  if (typeof container === 'string') {
    if (typeof item === 'string') return container.includes(item)
    throw new TemplateFault(`'in <string>' requires string as left operand, not ${typeName(item)}`)
  }
  return itemsOf(container).some((other) => isEqual(other, item))
}

const equal: Test = (value, [other]) => isEqual(value, other)
const greater: Test = (value, [other]) => compare(value, other) > 0
const less: Test = (value, [other]) => compare(value, other) < 0

const allTests: Readonly<Record<string, Test>> = {
  boolean: (value) => typeof value === 'boolean',
  callable: (value) => typeof value === 'function',
  defined: (value) => value !== undefined,
  divisibleby: (value, [by]) => remainder(value, numberOf(by) ?? NaN) === 0,
  eq: equal,
  equalto: equal,
  '==': equal,
  even: (value) => remainder(value, 2) === 0,
  false: (value) => value === false,
  float: isFloat,
  ge: (value, [other]) => compare(value, other) >= 0,
  gt: greater,
  greaterthan: greater,
  in: (value, [other]) => isIn(value, other),
  integer: isInteger,
  iterable: isIterable,
  le: (value, [other]) => compare(value, other) <= 0,
  lower: (value) => methodOf(textOf(value), 'islower')?.([], new Map()) === true,
  lt: less,
  lessthan: less,
  mapping: (value) => value instanceof Map,
  ne: (value, [other]) => !isEqual(value, other),
  none: (value) => value === null,
  number: (value) => isInteger(value) || isFloat(value) || typeof value === 'boolean',
  odd: (value) => remainder(value, 2) === 1,
  sameas: (value, [other]) => value === other,
  sequence: (value) => isIterable(value),
  string: (value) => typeof value === 'string',
  true: (value) => value === true,
  undefined: (value) => value === undefined,
  upper: (value) => methodOf(textOf(value), 'isupper')?.([], new Map()) === true,
}

/** The test `name`. Throws TemplateFault for one that is not known. */
export const tests = (name: string): Test => {
  if (!Object.hasOwn(allTests, name)) throw new TemplateFault(`no test named '${name}'`)
  return allTests[name]
}
