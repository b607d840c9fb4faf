/** @file Chat templates: Jinja as Transformers runs it (its functions and filters, blocks trimmed). */
import { parse } from '@huggingface/jinja'
import { runBlock, Scope } from './interpreter.js'
import type { Node } from './nodes.js'
import { strftime } from './strftime.js'
import { tokensOf } from './tokens.js'
import {
  type Callable,
  fromJavaScript,
  Namespace,
  numberOf,
  TemplateFault,
  textOf,
  type Value,
} from './values.js'

const namespace: Callable = ([source], named) => {
  const entries = source instanceof Map ? [...source].map(([k, v]) => [textOf(k), v] as const) : []
  return new Namespace(new Map([...entries, ...named]))
}

const range: Callable = (args) => {
  const numbers = args.map((x) => numberOf(x) ?? NaN)
  const [start, stop, step] =
    numbers.length > 1 ? [numbers[0], numbers[1], numbers[2] ?? 1] : [0, numbers[0], 1]
  const count = Math.max(0, Math.ceil((stop - start) / step))
  if (!(count <= 100_000)) throw new TemplateFault('range: too many numbers, or none that make one')
  return Array.from({ length: count }, (_, i) => start + i * step)
}

const globals: readonly (readonly [string, Value])[] = [
  ...(['true', 'True'] as const).map((name) => [name, true] as const),
  ...(['false', 'False'] as const).map((name) => [name, false] as const),
  ...(['none', 'None'] as const).map((name) => [name, null] as const),
  ['namespace', namespace],
  ['range', range],
  ['dict', (_args, named) => new Map<Value, Value>(named)],
  ['strftime_now', ([format]) => strftime(new Date(), textOf(format))],
  [
    'raise_exception',
    ([message]) => {
      throw new TemplateFault(textOf(message))
    },
  ],
]

const parsed = new Map<string, readonly Node[]>()

/** The nodes of a template; the last few are kept. */
const nodesOf = (source: string): readonly Node[] => {
  const known = parsed.get(source)
  if (known) return known
  const body = parse(tokensOf(source)).body as unknown as readonly Node[]
  if (parsed.size >= 8) parsed.clear()
  parsed.set(source, body)
  return body
}

/**
 * The text that the template `source` makes of `variables` (JSON values; a name that is undefined has no value). Throws
 * TemplateFault where Python would raise an exception, and a SyntaxError for a template that cannot be read.
 */
export const renderChat = (source: string, variables: Readonly<Record<string, unknown>>): string => {
  const scope = new Scope()
  for (const [name, value] of globals) scope.names.set(name, value)
  for (const [name, value] of Object.entries(variables)) scope.names.set(name, fromJavaScript(value))
  const out: string[] = []
  runBlock(nodesOf(source), scope, out)
  return out.join('')
}
