/** @file The methods that `weft merge --method` names: which flags and parameters each takes, and the help on them. */
import { z } from 'zod'
import { nearest, UsageError } from '../errors.js'
import { type MergeMethod, methods, type Procedure, procedures } from '../merge/index.js'
import { maxOf } from '../tensor/numbers.js'
import { unwrap } from './schema.js'

/** Names of what `--method` may be, by what they take. */
export const methodNames = {
  all: [...methods, ...procedures].map(({ name }) => name),
  /** Functions of aligned tensors: what recipes name too. */
  tensor: methods.map(({ name }) => name),
  weighted: methods.flatMap(({ name, perModel }) => ('weight' in perModel ? [name] : [])),
  based: [...methods, ...procedures].flatMap(({ name, base }) => (base === 'none' ? [] : [name])),
  withData: procedures.flatMap(({ name, data }) => (data === 'none' ? [] : [name])),
  evaluated: procedures.flatMap(({ name, evaluation }) => (evaluation === 'optional' ? [name] : [])),
} as const

/** Value of a `-p KEY=VALUE`. */
export type Parameter = number | boolean | string

export const procedureNamed = (name: string | undefined): Procedure<never> | undefined =>
  procedures.find((procedure) => procedure.name === name)

const tensorMethodNamed = (name: string): MergeMethod | undefined =>
  methods.find((method) => method.name === name)

/** Schemas of the parameters that `-p` may give to the method, by key. */
export const parametersOf = (name: string): Readonly<Record<string, z.ZodType>> => {
  const method = tensorMethodNamed(name)
  if (method) return { ...method.perModel, ...method.global }
  return (procedureNamed(name)?.options.shape ?? {}) as Record<string, z.ZodType>
}

/** Throws UsageError for a `-p KEY` that the method has not, naming the nearest, and for a value that it does not take. */
export const checkParameters = (name: string, parameters: Readonly<Record<string, Parameter>> = {}): void => {
  const known = parametersOf(name)
  for (const [key, value] of Object.entries(parameters)) {
    if (!Object.hasOwn(known, key))
      throw new UsageError('UnwantedParameter', `-p ${key}: --method ${name} has no such parameter`, {
        hint: `${nearestIn(key, known)} See: weft merge --method ${name} --help`,
      })
    const result = known[key].safeParse(value)
    if (!result.success)
      throw new UsageError(
        'BadValue',
        `-p ${key}=${String(value)}: --method ${name}: ${result.error.issues[0].message}`,
      )
  }
}

const nearestIn = (key: string, known: object): string => {
  const names = Object.keys(known)
  return names.length ? `Nearest: ${nearest(key, names, 2).join(', ')}.` : 'It has none.'
}

/** A parameter of a method: its key, what it says, and its default, if it has one. */
export interface ParameterRow {
  readonly key: string
  readonly description: string
  readonly fallback: unknown
}

/** Parameters of the method of this name, in their order. */
export const parameterRows = (name: string): ParameterRow[] => {
  const standards: Readonly<Record<string, unknown>> = tensorMethodNamed(name)?.unlessGiven ?? {}
  return Object.entries(parametersOf(name)).map(([key, schema]) => ({
    key,
    description: schema.description ?? unwrap(schema).inner.description ?? '',
    fallback: standards[key] ?? unwrap(schema).fallback,
  }))
}

const parameterLines = (name: string): string[] => {
  const rows = parameterRows(name)
  const width = maxOf(rows.map(({ key }) => key.length))
  return rows.map(({ key, description, fallback }) => {
    const standard = fallback === undefined ? '' : ` (${JSON.stringify(fallback)})`
    return `  -p ${key.padEnd(width)}  ${description}${standard}`
  })
}

const listLines = (): string[] => [
  'Methods (more on one: weft merge --method NAME --help):',
  `  ${methodNames.tensor.join(', ')}`,
  ...procedures.map(({ name, summary }) => `  ${name}: ${summary}`),
]

/** Lines of the help page: the parameters of the method that is named, or the list of methods. */
export const aboutMethod = (name: unknown): string => {
  if (typeof name !== 'string') return listLines().join('\n')
  const lines = parameterLines(name)
  const title = lines.length ? `Parameters of ${name}:` : `${name} has no parameters.`
  const summary = procedureNamed(name)?.summary ?? tensorMethodNamed(name)?.summary
  return [...(summary === undefined ? [] : [`${name}: ${summary}`, '']), title, ...lines].join('\n')
}
