/** @file Operators of a template's expressions, by Python's rules. */
import { isIn } from './filters.js'
import {
  compare,
  Float,
  isEqual,
  numberOf,
  TemplateFault,
  textOf,
  Tuple,
  typeName,
  type Value,
} from './values.js'

/** Python's remainder has the sign of the divisor. */
const remainder = (a: number, b: number): number => a - b * Math.floor(a / b)

const arithmetic: Readonly<Record<string, (a: number, b: number) => number>> = {
  '+': (a, b) => a + b,
  '-': (a, b) => a - b,
  '*': (a, b) => a * b,
  '/': (a, b) => a / b,
  '//': (a, b) => Math.floor(a / b),
  '%': remainder,
  '**': (a, b) => a ** b,
}

const calculated = (operator: string, left: Value, right: Value, x: number, y: number): Value => {
  const divides = operator === '/' || operator === '//' || operator === '%'
  if ((divides || (operator === '**' && y < 0)) && (divides ? y : x) === 0)
    throw new TemplateFault('division by zero')
  const result = arithmetic[operator](x, y)
  const isFloat = left instanceof Float || right instanceof Float || operator === '/'
  return isFloat || (operator === '**' && y < 0) ? new Float(result) : result
}

const repeated = (value: Value, times: number): Value | undefined => {
  if (typeof value === 'string') return value.repeat(Math.max(0, times))
  if (!Array.isArray(value)) return undefined
  const items = Array.from({ length: Math.max(0, times) }, () => value).flat()
  return value instanceof Tuple ? Tuple.from(items) : items
}

const joined = (left: Value, right: Value): Value | undefined => {
  if (typeof left === 'string' && typeof right === 'string') return left + right
  if (!Array.isArray(left) || !Array.isArray(right)) return undefined
  if (left instanceof Tuple !== right instanceof Tuple) return undefined
  const items = [...left, ...right]
  return left instanceof Tuple ? Tuple.from(items) : items
}

const formatted = (format: string, value: Value): string => {
  const values = value instanceof Tuple ? [...value] : [value]
  return format.replace(/%(.)/gs, (whole, kind: string) => {
    if (kind === '%') return '%'
    if (kind !== 's' && kind !== 'd') throw new TemplateFault(`the format ${whole} is not known`)
    if (values.length === 0) throw new TemplateFault('not enough arguments for format string')
    const next = values.shift()
    return kind === 's' ? textOf(next) : textOf(Math.trunc(numberOf(next) ?? NaN))
  })
}

const comparisons: Readonly<Record<string, (a: Value, b: Value) => boolean>> = {
  '==': isEqual,
  '!=': (a, b) => !isEqual(a, b),
  '<': (a, b) => compare(a, b) < 0,
  '>': (a, b) => compare(a, b) > 0,
  '<=': (a, b) => compare(a, b) <= 0,
  '>=': (a, b) => compare(a, b) >= 0,
  in: isIn,
  'not in': (a, b) => !isIn(a, b),
}

/** Whether an operator compares: such operators may stand in a chain. */
export const isComparison = (operator: string): boolean => Object.hasOwn(comparisons, operator)

/** `left operator right`. Throws TemplateFault for values that have no such operation. */
export const operated = (operator: string, left: Value, right: Value): Value => {
  if (operator === '~') return textOf(left) + textOf(right)
  if (isComparison(operator)) return comparisons[operator](left, right)
  const x = numberOf(left)
  const y = numberOf(right)
  if (x !== undefined && y !== undefined) return calculated(operator, left, right, x, y)
  if (operator === '%' && typeof left === 'string') return formatted(left, right)
  const other =
    operator === '+'
      ? joined(left, right)
      : operator === '*'
        ? ((y === undefined ? undefined : repeated(left, y)) ??
          (x === undefined ? undefined : repeated(right, x)))
        : undefined
  if (other !== undefined) return other
  throw new TemplateFault(
    `unsupported operand type(s) for ${operator}: '${typeName(left)}' and '${typeName(right)}'`,
  )
}

/** `+value` or `-value`. */
export const signed = (operator: string, value: Value): Value => {
  const x = numberOf(value)
  if (x === undefined) throw new TemplateFault(`bad operand type for unary ${operator}: '${typeName(value)}'`)
  const result = operator === '-' ? -x : x
  return value instanceof Float ? new Float(result) : result + 0
}

/** `value[start:stop:step]` of a string, list or tuple. */
export const sliced = (value: Value, [start, stop, step]: readonly Value[]): Value => {
  if (typeof value !== 'string' && !Array.isArray(value))
    throw new TemplateFault(`'${typeName(value)}' object cannot be sliced`)
  const items: Value[] = typeof value === 'string' ? Array.from(value) : value
  const by = numberOf(step ?? 1) ?? 1
  if (by === 0) throw new TemplateFault('slice step cannot be zero')
  const [low, high] = by > 0 ? [0, items.length] : [-1, items.length - 1]
  const bound = (place: Value, missing: number): number => {
    const at = place == null ? undefined : numberOf(place)
    if (at === undefined) return missing
    return Math.max(low, Math.min(high, at < 0 ? at + items.length : at))
  }
  const end = bound(stop, by > 0 ? high : low)
  const out: Value[] = []
  for (let i = bound(start, by > 0 ? low : high); by > 0 ? i < end : i > end; i += by) out.push(items[i])
  if (typeof value === 'string') return out.join('')
  return value instanceof Tuple ? Tuple.from(out) : out
}
