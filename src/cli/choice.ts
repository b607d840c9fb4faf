/** @file Options that only some choices take: a flag that what was chosen does not take is refused, not passed over. */
import type { ZodObject } from 'zod'
import { nearest, UsageError } from '../errors.js'
import { kebab, type Resolved } from './options.js'
import { type Choice, type Chosen, shapeOf, styleOf } from './schema.js'

/** Values by option and argument; of an argument of several words the first. */
export type Values = Readonly<Record<string, unknown>>

const isChosen = (chosen: Chosen, value: unknown): boolean => {
  if (chosen === 'given') return value !== undefined
  if (chosen === 'absent') return value === undefined
  return 'not' in chosen ? !chosen.not.includes(value) : chosen.includes(value)
}

const isMade = (choice: Choice, values: Values): boolean =>
  Object.entries(choice).every(([key, chosen]) => isChosen(chosen, values[key]))

/** True when a call with these values takes the option `key`. */
export const isTaken = (schema: ZodObject, key: string, values: Values): boolean => {
  const { when } = styleOf(shapeOf(schema)[key])
  return when === undefined || when.some((choice) => isMade(choice, values))
}

/** How a call reads: `weft merge` and the keys that are options, not arguments. */
interface Wording {
  readonly command: string
  readonly isOption: (key: string) => boolean
}

/** What was chosen, as it is typed: `--method ties`, `without --method`, `weft papers sync`. */
const said = (key: string, value: unknown, { command, isOption }: Wording): string => {
  if (!isOption(key)) return value === undefined ? `${command} alone` : `${command} ${String(value)}`
  const name = `--${kebab(key)}`
  if (value === undefined || value === false) return `without ${name}`
  return value === true ? name : `${name} ${String(value)}`
}

/** At most this many values of a choice are named. */
const namedValues = 30

const saidChosen = (key: string, chosen: Chosen, wording: Wording): string => {
  const name = wording.isOption(key) ? `--${kebab(key)}` : wording.command
  if (chosen === 'given') return name
  if (chosen === 'absent') return said(key, undefined, wording)
  if ('not' in chosen) return `any but ${chosen.not.map((value) => said(key, value, wording)).join(', ')}`
  const values = chosen.filter((value) => value !== undefined)
  if (values.length <= 1 || !wording.isOption(key))
    return chosen.map((value) => said(key, value, wording)).join(', or ')
  const shown = values.slice(0, namedValues).join('|') + (values.length > namedValues ? '|...' : '')
  return `${name} ${shown}${values.length < chosen.length ? `, or without ${name}` : ''}`
}

const saidChoice = (choice: Choice, wording: Wording): string =>
  Object.entries(choice)
    .map(([key, chosen]) => asCase(saidChosen(key, chosen, wording)))
    .join(' and ')

/**
 * Throws UsageError when an option was asked for that what was chosen does not take: it names the option, the choice,
 * the choices that take it, and the nearest options that this one takes.
 */
export const refuseUnwanted = (
  schema: ZodObject,
  { options, given }: Resolved,
  words: Values,
  command: string,
): void => {
  const values = { ...words, ...options }
  const wording = { command, isOption: (key: string) => key in schema.shape }
  for (const [key, place] of given) {
    if (isTaken(schema, key, values)) continue
    const when = styleOf(shapeOf(schema)[key]).when ?? []
    // What the choice itself leaves no room for has not been chosen.
    const names = [...new Set(when.flatMap(Object.keys))]
    const open = names.filter((name) => !(name in schema.shape) || isTaken(schema, name, values))
    const chosen = open.map((name) => said(name, values[name], wording))
    const taken = Object.keys(schema.shape).filter((name) => isTaken(schema, name, values))
    const near = nearest(
      `--${kebab(key)}`,
      taken.map((name) => `--${kebab(name)}`),
      2,
    )
    throw new UsageError('UnwantedOption', `${place}: not taken ${chosen.map(asCase).join(', ')}`, {
      hint: `Taken ${when.map((choice) => saidChoice(choice, wording)).join('; or ')}. ${near.length ? `Nearest that is taken here: ${near.join(', ')}.` : 'Nothing is taken here.'}`,
    })
  }
}

const asCase = (chosen: string): string =>
  chosen.startsWith('without ') ? chosen : chosen.startsWith('--') ? `with ${chosen}` : `by ${chosen}`
