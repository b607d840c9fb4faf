/**
 * @file Options of a method around another that `--adapter` chooses: those of every method that may be wrapped, each taken
 * where its method is chosen. The schemas are the methods' own.
 */
import { z } from 'zod'
import type { ZodObject, ZodType } from 'zod'
import type { AdapterMethod } from '../adapt/index.js'
import type { Values } from './choice.js'
import { flag, isCodes } from './options.js'
import { type Choice, shapeOf, styleOf, unwrap } from './schema.js'

/** The option that chooses. */
export const adapterKey = 'adapter'

type Method = AdapterMethod<never>

/** What an option is in one method. */
interface Meaning {
  readonly id: string
  readonly schema: ZodType
}

/** Methods of the list that `wrapper` may stand around, its usual one first. */
export const wrappable = (wrapper: Method, methods: readonly Method[]): Method[] => {
  const isUsual = ({ peftType }: Method): boolean => peftType === wrapper.peftType
  const all = methods.filter(({ additive, around }) => additive && !around)
  return [...all.filter(isUsual), ...all.filter((method) => !isUsual(method))]
}

const described = (schema: ZodType): string => {
  const { fallback } = unwrap(schema)
  const { description = '' } = styleOf(schema)
  const isSaid = fallback === undefined || typeof fallback === 'boolean' || /\([^)]*\)$/.test(description)
  return isSaid ? description : `${description} (default ${JSON.stringify(fallback)})`
}

/** True for schemas that accept the same and begin with the same. */
const isAlike = (a: ZodType, b: ZodType): boolean =>
  a === b || JSON.stringify([jsonOf(a), described(a)]) === JSON.stringify([jsonOf(b), described(b)])

const jsonOf = (schema: ZodType): unknown => {
  const { description: _, when: __, ...json } = z.toJSONSchema(schema, { unrepresentable: 'any' })
  return json
}

/** The choices of an option's methods: each with what the method itself asks of it. */
const choicesOf = (meanings: readonly Meaning[]): Choice[] => {
  const plain = meanings.filter(({ schema }) => !styleOf(schema).when).map(({ id }) => id)
  const conditional = meanings.flatMap(({ id, schema }) =>
    (styleOf(schema).when ?? []).map((choice) => ({ [adapterKey]: [id], ...choice })),
  )
  return [...(plain.length ? [{ [adapterKey]: plain }] : []), ...conditional]
}

/** One option for all of its meanings: with a default where they share it, else each method's own holds. */
const combined = (meanings: readonly Meaning[]): ZodType => {
  const [{ schema: first }, ...rest] = meanings
  const { description: _, ...style } = styleOf(first)
  if (rest.every(({ schema }) => isAlike(first, schema)))
    return first.meta({ ...styleOf(first), when: choicesOf(meanings) })
  const inner = meanings.map(({ schema }) => unwrap(schema).inner)
  const distinct = inner.filter((a, i) => inner.findIndex((b) => isAlike(a, b)) === i)
  const schema: ZodType = distinct.length > 1 ? z.union(distinct as [ZodType, ZodType]) : distinct[0]
  const words = new Map(meanings.map(({ id, schema }) => [id, described(schema)]))
  return flag(schema.optional(), [...new Set(words.values())].join('; or '), {
    ...style,
    when: choicesOf(meanings),
    about: (chosen: Values) => words.get(String(chosen[adapterKey])),
  })
}

const schemas = new WeakMap<readonly Method[], Map<Method, ZodObject>>()

/** The schema of `wrapper` around whichever of `methods` is chosen; made once for the list. */
export const wrappedOptions = (wrapper: Method, methods: readonly Method[]): ZodObject => {
  const known = schemas.get(methods) ?? new Map<Method, ZodObject>()
  schemas.set(methods, known)
  const schema = known.get(wrapper) ?? mergedOptions(wrapper, methods)
  known.set(wrapper, schema)
  return schema
}

const mergedOptions = (wrapper: Method, methods: readonly Method[]): ZodObject => {
  const inner = wrappable(wrapper, methods)
  const ids = inner.map(({ paper }) => paper.id) as [string, ...string[]]
  const meanings = new Map<string, Meaning[]>()
  for (const { paper, options } of inner)
    for (const [key, schema] of Object.entries(shapeOf(options)))
      if (!isCodes(schema)) meanings.set(key, [...(meanings.get(key) ?? []), { id: paper.id, schema }])
  const ownShape = shapeOf(wrapper.options)
  const usual = shapeOf(inner[0].options)
  const further = Object.entries(ownShape).filter(([key]) => !(key in usual))
  return z.strictObject({
    [adapterKey]: flag(
      z.enum(ids).default(ids[0]),
      `the method that it stands around, whose options follow: ${ids.join(', ')}`,
      { value: 'NAME', decides: true },
    ),
    ...Object.fromEntries([...meanings].map(([key, all]) => [key, combined(all)])),
    ...Object.fromEntries(further),
  })
}

/** `wrapper` around the method of that id. */
export const wrappedAs = (wrapper: Method, methods: readonly Method[], id: unknown): Method =>
  wrapper.around!(wrappable(wrapper, methods).find(({ paper }) => paper.id === id)!)
