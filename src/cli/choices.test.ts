/**
 * @file Every flag of every verb, method and procedure: what was chosen takes it, and then the verb reads it; or it does
 * not, and then it is refused by name. The lists are the program's own.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import type { ZodObject, ZodType } from 'zod'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { weft } from '../../test/weft.js'
import { methods, procedures } from '../merge/index.js'
import { append } from '../tensor/numbers.js'
import { isTaken, type Values } from './choice.js'
import { flagsOf, kebab } from './options.js'
import { run } from './program.js'
import { definition, shapeOf, styleOf, unwrap } from './schema.js'
import type { Action, Verb } from './verb.js'
import { verbs } from './verbs.js'

// There before the tests are listed, since what they choose lies in it.
const scratch = await scratchFolder()
const at = (...names: string[]): string => join(scratch.path, ...names)

beforeAll(async () => {
  await writeTinyLlama(at('model'))
  await writeTinyLlama(at('tuned'))
  await writeFile(at('data.jsonl'), sentences.map((text) => JSON.stringify({ text, label: 'so' })).join('\n'))
  await writeFile(
    at('recipe.yaml'),
    `merge_method: linear\nmodels:\n  - { model: ${at('model')}, parameters: { weight: 1 } }\n`,
  )
  const few = ['--steps', '1', '--batch', '2', '--length', '8']
  await weft('adapt', 'lora', at('model'), '--data', at('data.jsonl'), '--out', at('adapter'), ...few)
  await weft('adapt', 'mhr', at('model'), '--data', at('data.jsonl'), '--out', at('inventory'), ...few)
})
afterAll(() => scratch.remove())

/** An action with the words that name it. */
interface Named {
  readonly words: readonly string[]
  readonly action: Action
  readonly verb: Verb
  readonly schema: ZodObject
}

const actions: Named[] = (
  await Promise.all(
    verbs.map(async (verb): Promise<Named[]> => {
      const members = 'members' in verb ? await verb.members() : [verb]
      return Promise.all(
        members.map(async (action) => ({
          words: action === verb ? [verb.name] : [verb.name, action.name],
          action,
          verb,
          schema: (await action.options?.()) ?? z.object({}),
        })),
      )
    }),
  )
).flat()

/** Something that the call has chosen, all else being left at its default. */
interface Made {
  readonly key?: string
  readonly value?: unknown
}

const valuesOf = (schema: ZodType, key: string): unknown[] => {
  const { inner } = unwrap(schema)
  const { type, entries } = definition(inner)
  if (type === 'enum') return Object.values(entries!)
  return type === 'boolean' ? [true, false] : [sampleOf(schema, key)]
}

/** Everything that can be chosen of what any option of the action depends on. */
const choicesOf = ({ schema }: Named): Made[] => {
  const conditions = Object.values(shapeOf(schema)).flatMap((option) => styleOf(option).when ?? [])
  const keys = [...new Set(conditions.flatMap(Object.keys))]
  const words = conditions.flatMap((choice) =>
    Object.entries(choice).flatMap(([key, chosen]) =>
      key in schema.shape || typeof chosen === 'string' ? [] : 'not' in chosen ? chosen.not : chosen,
    ),
  )
  const named = keys.flatMap((key) =>
    (key in schema.shape ? valuesOf(shapeOf(schema)[key], key) : [...new Set(words), 'something'])
      .filter((value) => value !== undefined)
      .map((value) => ({ key, value })),
  )
  const isPossible = (made: Made): boolean =>
    !(made.key! in schema.shape) || isTaken(schema, made.key!, valuesFor({ schema }, made))
  return [{}, ...named.filter(isPossible)]
}

const samples: readonly unknown[] = [
  ...[1, 2, 0.5, 300],
  ...[['1'], ['cs.LG'], ['finished'], ['x'], [1]],
  ...['1', 'x', 'http://127.0.0.1:9/', '1%', '5GB'],
  ...[{ x: 'y' }, { x: 1 }],
]

/** Values of options for which not any word will do. */
const meaningful: Readonly<Record<string, () => unknown>> = {
  model: () => at('model'),
  adapter: () => at('adapter'),
  tokenizer: () => at('model'),
  inventory: () => at('inventory'),
  architecture: () => 'llama',
  modelConfig: () => ({
    hidden_size: 8,
    num_hidden_layers: 1,
    num_attention_heads: 1,
    intermediate_size: 8,
  }),
  methods: () => ['lora'],
  budget: () => '50%',
  betas: () => [0.8, 0.9],
  task: () => 'causal',
  textColumn: () => 'text',
  labelColumn: () => 'label',
  map: () => ({ text: 'text' }),
  databaseUrl: () => 'postgres://127.0.0.1:9/none',
}

/** A value that the option accepts, other than its default. */
const sampleOf = (schema: ZodType, key = ''): unknown => {
  const { names, value } = styleOf(schema)
  if (names === 'input' || names === 'data') return at('data.jsonl')
  const { inner, fallback } = unwrap(schema)
  const { type, entries } = definition(inner)
  const meant = meaningful[key]?.()
  if (meant !== undefined && schema.safeParse(meant).success) return meant
  if (value?.startsWith('DIR') && schema.safeParse('folder').success) return at('out', String(made++))
  const candidates = type === 'enum' ? Object.values(entries!) : [!fallback, ...samples]
  const fitting = candidates.find((value) => value !== fallback && inner.safeParse(value).success)
  return fitting
}
let made = 0

/** The flag as a user types it. */
const flagOf = (key: string, value: unknown): string[] => {
  const name = kebab(key)
  if (typeof value === 'boolean') return [`--${value ? '' : 'no-'}${name}`]
  if (Array.isArray(value)) return [`--${name}`, value.join(',')]
  if (value !== null && typeof value === 'object')
    return Object.entries(value).flatMap(([k, v]) => [`--${name}`, `${k}=${String(v)}`])
  return [`--${name}`, String(value)]
}

/** As many models as the method takes, two at most. */
const modelsFor = (method: unknown): string[] => {
  const { counts } = [...methods, ...procedures].find(({ name }) => name === method)!
  return [at('model'), at('tuned')].slice(0, counts[1])
}

/** Positional arguments by their name; of a merge they depend on whether a method was chosen. */
const argumentsFor = ({ action, schema }: Named, choice: Made): string[] =>
  action.arguments.flatMap(({ name, optional }) => {
    if (choice.key === name) return [String(choice.value)]
    if (optional) return []
    if (name === 'adapter') return [at('adapter')]
    if (name === 'inputs') return choice.key === 'method' ? modelsFor(choice.value) : [at('recipe.yaml')]
    return schema && name === 'tuned'
      ? [at('tuned')]
      : name === 'id' || name === 'papers'
        ? ['a/b']
        : [at('model')]
  })

/** Required options, without which nothing is looked at. */
const requiredOf = ({ schema, words }: Named, choice: Made, keys: readonly string[]): string[] => {
  const given = [...keys, choice.key ?? '']
  const required = Object.entries(shapeOf(schema)).flatMap(([key, option]) => {
    // A method may need data; a merge always needs a folder.
    const isUseful =
      key === 'data' && choice.key === 'method' && isTaken(schema, key, valuesFor({ schema }, choice))
    const isNeeded = !option.safeParse(undefined).success || key === 'out' || isUseful
    return isNeeded && !given.includes(key) ? flagOf(key, sampleOf(option, key)) : []
  })
  const chosen = choice.key === 'method' && procedures.find(({ name }) => name === choice.value)
  if (chosen && chosen.base === 'required' && !given.includes('base'))
    append(required, flagOf('base', at('model')))
  // Of these a call needs one or the other.
  const one = { extract: ['rank', 'energy'], train: ['model', 'architecture'] }[words[0]]
  const isNew = given.includes('architecture') && !given.includes('modelConfig')
  if (isNew) append(required, flagOf('modelConfig', meaningful.modelConfig()))
  const samples = keys.map((key) => [key, sampleOf(shapeOf(schema)[key], key)])
  const values = { ...valuesFor({ schema }, choice), ...Object.fromEntries(samples) }
  const isOpen = one?.some((key) => isTaken(schema, key, values))
  if (!one || !isOpen || one.some((key) => given.includes(key))) return required
  return [...required, ...flagOf(one[0], one[0] === 'model' ? at('model') : 2)]
}

/** Options read one by one; those of a copy (spread, rest, entries) do not count, for nobody knows what becomes of it. */
const watched = (options: object): { readonly options: object; readonly read: Set<string> } => {
  const read = new Set<string>()
  let copied: string | symbol | undefined
  const proxy = new Proxy(options, {
    getOwnPropertyDescriptor: (target, key) => {
      copied = key
      return Reflect.getOwnPropertyDescriptor(target, key)
    },
    get: (target, key) => {
      if (key !== copied && typeof key === 'string') read.add(key)
      copied = undefined
      return Reflect.get(target, key) as unknown
    },
  })
  return { options: proxy, read }
}

interface Outcome {
  readonly code: number
  readonly err: string
  /** Options that the verb read; undefined where it was never run. */
  readonly read?: ReadonlySet<string>
}

/** Stops every verb as soon as it has begun its work, which is when it has read what it was told. */
const controller = new AbortController()
controller.abort('SIGINT')

/** Runs the action as the program does, with its options watched. */
const ran = async ({ action, verb }: Named, argv: readonly string[], really: boolean): Promise<Outcome> => {
  let read: ReadonlySet<string> | undefined
  let err = ''
  const spy: Action = {
    ...action,
    run: async (call, context) => {
      const seen = watched(call.options)
      read = seen.read
      if (really) await action.run({ ...call, options: seen.options }, context)
    },
  }
  const own: Verb = 'members' in verb ? { ...verb, members: async () => [spy] } : { ...verb, ...spy }
  const env = { WEFT_HOME: at('home'), HF_ENDPOINT: 'http://127.0.0.1:9', HF_HUB_OFFLINE: '1' }
  const silent = { write: () => true }
  const stderr = { write: (text: string) => (err += text) }
  const code = await run(argv, { stdout: silent, stderr, env, signal: controller.signal }, [own])
  return { code, err, read }
}

const chosenArgv = (named: Named, choice: Made): string[] => [
  ...named.words,
  ...argumentsFor(named, choice),
  ...(choice.key !== undefined && choice.key in named.schema.shape ? flagOf(choice.key, choice.value) : []),
]

const valuesFor = ({ schema }: Pick<Named, 'schema'>, choice: Made): Values => {
  const fallbacks = Object.entries(shapeOf(schema)).map(([key, option]) => [key, unwrap(option).fallback])
  return { ...Object.fromEntries(fallbacks), ...(choice.key ? { [choice.key]: choice.value } : {}) }
}

/** The choice in a test's name. */
const said = ({ key, value }: Made): string =>
  key === undefined ? 'the default' : `${key} ${JSON.stringify(value).replaceAll(scratch.path, '...')}`

describe.each(actions.map((named) => [named.words.join(' '), named] as const))('weft %s', (_, named) => {
  const flags = flagsOf(named.schema).map(({ long }) => long)
  const keys = Object.keys(shapeOf(named.schema)).filter((key) => flags.includes(`--${kebab(key)}`))

  const choices = choicesOf(named).map((choice) => [said(choice), choice] as const)

  it.each(choices)('refuses by name every flag that %s does not take', async (_, choice) => {
    for (const key of keys) {
      if (key === choice.key || isTaken(named.schema, key, valuesFor(named, choice))) continue
      const flag = flagOf(key, sampleOf(shapeOf(named.schema)[key], key))
      const required = requiredOf(named, choice, [key])
      const { code, err, read } = await ran(
        named,
        [...chosenArgv(named, choice), ...required, ...flag],
        false,
      )
      const told = `${key} with ${JSON.stringify(choice)}: ${err}`
      expect(err, told).toMatch(/^UnwantedOption: --/)
      expect(err, told).toContain(`--${kebab(key)}: not taken`)
      expect(err, told).toMatch(
        /Taken (with|without|by) .*(Nearest that is taken here: --|Nothing is taken here)/,
      )
      expect({ code, read }, told).toEqual({ code: 2, read: undefined })
    }
  })

  it.each(choices)('reads every flag that %s takes', async (_, choice) => {
    const taken = keys.filter(
      (key) =>
        key !== choice.key &&
        !isProgrammes(named, key) &&
        isTaken(named.schema, key, valuesFor(named, choice)) &&
        !excludes(named, key, choice),
    )
    // What only says what it would do reads little else.
    const dry = taken.filter((key) => key === 'dryRun')
    const rest = taken.filter((key) => key !== 'dryRun')
    expect([...(await unread(named, choice, rest)), ...(await unread(named, choice, dry))]).toEqual([])
  })
})

/** True when the choice is not taken beside the flag, which is then refused from the other side. */
const excludes = (named: Named, key: string, choice: Made): boolean =>
  choice.key !== undefined &&
  choice.key in named.schema.shape &&
  !isTaken(named.schema, choice.key, {
    ...valuesFor(named, choice),
    [key]: sampleOf(shapeOf(named.schema)[key], key),
  })

/** Flags that code which several actions share has been seen to read. */
const known = new Set<string>()

/** Options that the program reads for every verb: see preflight.ts. */
const isProgrammes = ({ schema }: Named, key: string): boolean =>
  ['device', 'threads'].includes(key) ||
  (['force', 'resume'].includes(key) &&
    Object.values(shapeOf(schema)).some((option) => styleOf(option).names === 'output'))

/** Those of the flags that the action does not read: all given at once, then those left in halves, down to one alone. */
const unread = async (named: Named, choice: Made, keys: readonly string[]): Promise<string[]> => {
  const code = named.action.run.toString()
  const asked = keys.filter((key) => !known.has(`${code} ${key} ${JSON.stringify(choice)}`))
  if (!asked.length) return []
  const flags = asked.flatMap((key) => flagOf(key, sampleOf(shapeOf(named.schema)[key], key)))
  const required = requiredOf(named, choice, asked)
  const { err, read } = await ran(named, [...chosenArgv(named, choice), ...required, ...flags], true)
  for (const key of asked) if (read?.has(key)) known.add(`${code} ${key} ${JSON.stringify(choice)}`)
  const left = asked.filter((key) => !read?.has(key))
  if (!left.length) return []
  if (asked.length === 1) return [`${asked[0]} with ${JSON.stringify(choice)}: ${err}`]
  // Neighbours exclude each other more often than others.
  const halves = [0, 1].map((half) => left.filter((_, i) => i % 2 === half))
  return (
    await Promise.all([await unread(named, choice, halves[0]), await unread(named, choice, halves[1])])
  ).flat()
}
