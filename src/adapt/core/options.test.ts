/** The options of every adapter method are said twice, as a type and as a schema: here the two are held against each other. */
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { beforeAll, describe, expect, it } from 'vitest'
import type { z } from 'zod'
import { openProject, type Project } from '../../../scripts/documented/surface.js'
import * as adapt from '../index.js'

interface Def {
  readonly type: string
  readonly innerType?: z.core.$ZodType
  readonly element?: z.core.$ZodType
  readonly valueType?: z.core.$ZodType
  readonly options?: readonly z.core.$ZodType[]
  readonly entries?: Readonly<Record<string, string>>
  readonly values?: readonly unknown[]
  readonly defaultValue?: unknown
}
const defOf = (schema: z.core.$ZodType): Def => schema._zod.def as unknown as Def

const joined = (parts: readonly string[]): string => [...new Set(parts)].sort().join(' | ')
const anything = 'anything'

/** A field's type in a few words; `anything` where the schema is a function. */
const schemaType = (schema: z.core.$ZodType): string => {
  const def = defOf(schema)
  if (def.type === 'optional' || def.type === 'default') return schemaType(def.innerType!)
  if (def.type === 'array') return `list of (${schemaType(def.element!)})`
  if (def.type === 'record') return `record of (${schemaType(def.valueType!)})`
  if (def.type === 'union') return joined(def.options!.map(schemaType))
  if (def.type === 'enum') return joined(Object.values(def.entries!).map((text) => JSON.stringify(text)))
  if (def.type === 'literal') return joined(def.values!.map((text) => JSON.stringify(text)))
  return def.type === 'custom' ? anything : def.type
}

/** A property's type in the same words. */
const declaredType = (type: ts.Type, checker: ts.TypeChecker): string => {
  if (type.flags & ts.TypeFlags.BooleanLike) return 'boolean'
  if (type.isUnion())
    return joined(
      type.types
        .filter(({ flags }) => !(flags & ts.TypeFlags.Undefined))
        .map((part) => declaredType(part, checker)),
    )
  if (type.isStringLiteral()) return JSON.stringify(type.value)
  if (type.flags & ts.TypeFlags.StringLike) return 'string'
  if (type.flags & ts.TypeFlags.NumberLike) return 'number'
  const element = checker.getIndexTypeOfType(type, ts.IndexKind.Number)
  const value = checker.getIndexTypeOfType(type, ts.IndexKind.String)
  if (checker.isArrayType(type)) return `list of (${declaredType(element!, checker)})`
  return value ? `record of (${declaredType(value, checker)})` : checker.typeToString(type)
}

let project: Project
let exported: ReadonlyMap<string, ts.Symbol>
beforeAll(() => {
  project = openProject(fileURLToPath(new URL('../../..', import.meta.url)))
  const entry = project.entries.find(({ fileName }) => fileName.endsWith('src/adapt/index.ts'))!
  const module = project.checker.getSymbolAtLocation(entry)!
  exported = new Map(project.checker.getExportsOfModule(module).map((symbol) => [symbol.name, symbol]))
})

/** The properties of a method's options. */
const declared = (name: string): ts.Symbol[] => {
  const { checker, entries } = project
  const type = checker.getTypeOfSymbolAtLocation(exported.get(name)!, entries[0])
  const [options] = type.aliasTypeArguments ?? checker.getTypeArguments(type as ts.TypeReference)
  return checker.getPropertiesOfType(options)
}

const cases = Object.entries(adapt).filter(([, value]) =>
  (adapt.methods as readonly unknown[]).includes(value),
)

it('every method of the list is exported by a name', () => {
  expect(cases).toHaveLength(adapt.methods.length)
})

describe.each(cases as [string, adapt.AdapterMethod<never>][])('%s', (name, method) => {
  const shape = method.options.shape as Readonly<Record<string, z.core.$ZodType>>

  it('has the same options in its type and its schema', () => {
    expect(
      declared(name)
        .map((property) => property.name)
        .sort(),
    ).toEqual(Object.keys(shape).sort())
  })

  it('has them of the same types, and none that must be given but has no default', () => {
    const { checker, entries } = project
    for (const property of declared(name)) {
      const field = shape[property.name]
      const type = checker.getNonNullableType(checker.getTypeOfSymbolAtLocation(property, entries[0]))
      const said = schemaType(field)
      const listed = said.startsWith('"') && declaredType(type, checker) === 'string'
      if (!said.includes(anything) && !listed)
        expect(`${property.name}: ${declaredType(type, checker)}`).toBe(`${property.name}: ${said}`)
      if (!(property.flags & ts.SymbolFlags.Optional))
        expect(defOf(field).type, property.name).not.toBe('optional')
    }
  })

  it('has the defaults that its docstrings say', () => {
    for (const property of declared(name)) {
      const text = ts.displayPartsToString(property.getDocumentationComment(project.checker))
      const [, said] = /Default (-?\d+(?:\.\d+)?|true|false|'[^']*')(?=\.(?:\s|$)|$)/.exec(text) ?? []
      if (said === undefined) continue
      const def = defOf(shape[property.name])
      expect([property.name, def.defaultValue]).toEqual([
        property.name,
        JSON.parse(said.replaceAll("'", '"')) as unknown,
      ])
    }
  })
})
