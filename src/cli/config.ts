/**
 * @file Config files: YAML 1.2 (JSON is YAML), checked against a schema. Every error says where: file, line, column
 * and path. Nothing in a file is executed and no variable in it is expanded.
 */
import { readFileSync } from 'node:fs'
import { LineCounter, isMap, isNode, isScalar, isSeq, parseDocument, stringify } from 'yaml'
import type { core, infer as Infer, ZodObject, ZodType } from 'zod'
import { UsageError, nearest } from '../errors.js'
import { unknownKeys } from './schema.js'
import type { Path } from './schema.js'

/** Parsed YAML that remembers where each value stood. */
export interface ConfigFile {
  file: string
  data: unknown
  /** `file:line:column: path` of the value at `path` (or of its key), or of the nearest thing around it that exists. */
  place: Place
}

/** Says where the value (or the key) at a path was written. */
export type Place = (path: Path, part?: 'key' | 'value') => string

/** Reads a config file; `-` is standard input. Throws UsageError `BadConfig` with line and column. */
export const readConfig = (file: string): ConfigFile => {
  try {
    return parseConfig(readFileSync(file === '-' ? 0 : file, 'utf8'), file === '-' ? '<stdin>' : file)
  } catch (error) {
    if (error instanceof UsageError) throw error
    throw new UsageError('NoConfig', `cannot read the config file ${file}: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

/**
 * Parses the text of a config file; `file` is only named in errors. Merge keys (`<<: *name`) are resolved. `version`: of
 * YAML; in 1.1, as Python reads it, yes and no are booleans too. Default 1.2. Throws UsageError `BadConfig`.
 */
export const parseConfig = (
  text: string,
  file: string,
  { version = '1.2' }: { readonly version?: '1.1' | '1.2' } = {},
): ConfigFile => {
  const lineCounter = new LineCounter()
  const document = parseDocument(text, {
    version,
    ...(version === '1.2' ? { schema: 'core', merge: true } : {}),
    lineCounter,
    prettyErrors: false,
    logLevel: 'error',
  })
  const at = (offset: number): string => {
    const { line, col } = lineCounter.linePos(offset)
    return `${file}:${line}:${col}`
  }
  const [problem] = [...document.errors, ...document.warnings]
  if (problem) throw new UsageError('BadConfig', `${at(problem.pos[0])}: ${problem.message}`)
  try {
    const data: unknown = document.toJS()
    const place: Place = (path, part) =>
      [at(offsetOf(document.contents, path, part)), pathText(path)].filter(Boolean).join(': ')
    return { file, data, place }
  } catch (error) {
    throw new UsageError('BadConfig', `${file}: ${(error as Error).message}`, { cause: error })
  }
}

const offsetOf = (top: unknown, path: Path, part: 'key' | 'value' = 'value'): number => {
  let node = top
  let offset = isNode(node) ? (node.range?.[0] ?? 0) : 0
  path.forEach((step, depth) => {
    const pair = isMap(node)
      ? node.items.find(({ key }) => String(isScalar(key) ? key.value : key) === String(step))
      : undefined
    const wanted =
      pair && (pair.value === null || (part === 'key' && depth === path.length - 1)) ? pair.key : pair?.value
    const child: unknown = isSeq(node) ? node.items[Number(step)] : wanted
    if (isNode(child)) offset = child.range?.[0] ?? offset
    node = child
  })
  return offset
}

/** `a.b[2].c` */
export const pathText = (path: Path): string =>
  path.map((step, i) => (typeof step === 'number' ? `[${step}]` : i ? `.${step}` : step)).join('')

/** The value at `path` in `data`. */
const valueAt = (data: unknown, path: Path): unknown =>
  path.reduce<unknown>(
    (v, step) => (v === null || v === undefined ? undefined : (v as Record<string, unknown>)[step]),
    data,
  )

const described = (value: unknown): string => {
  if (value === undefined) return 'nothing'
  const text = JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

const expectations = (issue: core.$ZodIssue): string => {
  if (issue.code === 'invalid_union' && issue.errors.length)
    return [...new Set(issue.errors.flatMap((branch) => branch.slice(0, 1).map(expectations)))].join(' or ')
  if (issue.code === 'invalid_value') return `one of ${issue.values.map(String).join(', ')}`
  const text = issue.message.replace(
    /^(Invalid (input|option|string|discriminator value)[:.]? *|Too (small|big): *)/i,
    '',
  )
  return text.replace(/^expected /i, '').replace(/, received .*$/, '')
}

/** Words that name the nearest of many values, where one of them was expected. */
const nearestOf = (issue: core.$ZodIssue, value: unknown): string =>
  issue.code === 'invalid_value' && issue.values.length > 3 && typeof value === 'string'
    ? `. Nearest: ${nearest(value, issue.values.map(String), 2).join(', ')}`
    : ''

/** Checks `data` and gives it back typed, defaults filled in. `place` says where the value at a path was written. */
export const check = <T extends ZodType>(schema: T, data: unknown, place: Place): Infer<T> => {
  const [stranger] = unknownKeys(schema, data)
  if (stranger) {
    const name = String(stranger.path.at(-1))
    throw new UsageError('UnknownKey', `${place(stranger.path, 'key')}: unknown key`, {
      hint: `Nearest: ${nearest(name, stranger.known).join(', ')}`,
    })
  }
  const outcome = schema.safeParse(data)
  if (outcome.success) return outcome.data as Infer<T>
  const lines = outcome.error.issues.map((issue) => {
    const path = issue.path as Path
    const value = valueAt(data, path)
    return `${place(path)}: expected ${expectations(issue)}, found ${described(value)}${nearestOf(issue, value)}`
  })
  throw new UsageError('BadValue', lines.join('\n  '))
}

/** Reads `file` and checks it against `schema`: `loadConfig('train.yaml', schema)`. */
export const loadConfig = <T extends ZodObject>(file: string, schema: T): Infer<T> => {
  const config = readConfig(file)
  return check(schema, config.data ?? {}, config.place)
}

/** Options as a config file, to be saved beside what they produced. */
export const formatConfig = (options: object): string => stringify(options)
