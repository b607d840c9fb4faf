/** @file The help page of a call that has chosen something: the flags that its choice takes, and what the verb says of it. */
import { Command, Option } from 'commander'
import { z, type ZodObject } from 'zod'
import { isTaken, type Values } from './choice.js'
import { kebab, resolveOptions } from './options.js'
import { shapeOf, styleOf, unwrap } from './schema.js'
import type { Action, Environment } from './verb.js'

const isHelp = (word: string): boolean => word === '-h' || word === '--help'

/** Options by whose values others are taken or not. */
const choiceKeys = (schema: ZodObject): string[] => {
  const keys = Object.values(shapeOf(schema)).flatMap((option) =>
    (styleOf(option).when ?? []).flatMap(Object.keys),
  )
  return [...new Set(keys)]
}

/** Flags and the first word of `argv`, whose help is asked for: nothing is required, and nothing unknown refused. */
const looked = (command: Command, argv: readonly string[]): { flags: Values; word?: string } => {
  const scratch = new Command().exitOverride().helpOption(false).allowUnknownOption().allowExcessArguments()
  scratch.configureOutput({ outputError: () => {} })
  for (const option of command.options) scratch.addOption(option)
  const words = argv.filter((word) => !isHelp(word))
  try {
    scratch.parse(words, { from: 'user' })
  } catch {
    // The help is shown all the same; a flag without its value has chosen nothing.
    return { flags: {} }
  }
  return { flags: scratch.opts(), word: scratch.args[0] }
}

/**
 * Completes the help page of `command` by what `argv` (the words behind the verb) has chosen: hides flags that the choice
 * does not take, and adds what the verb says of it. Throws UsageError for a choice that there is not.
 */
export const completeHelp = async (
  command: Command,
  action: Action,
  schema: ZodObject,
  argv: readonly string[],
  env: Environment,
): Promise<void> => {
  if (!argv.some(isHelp)) return
  const { flags, word } = looked(command, argv)
  const keys = choiceKeys(schema).filter((key) => key in schema.shape)
  const attribute = (key: string): string => new Option(`--${kebab(key)}`).attributeName()
  const asked = keys.filter((key) => flags[attribute(key)] !== undefined)
  const shape = shapeOf(schema)
  const picked = z.object(Object.fromEntries(asked.map((key) => [key, shape[key]])))
  const texts = Object.fromEntries(asked.map((key) => [key, flags[attribute(key)]]))
  const { options } = resolveOptions(picked, texts, env)
  const first = action.arguments[0]?.name
  const fallbacks = Object.fromEntries(keys.map((key) => [key, unwrap(shape[key]).fallback]))
  const decided = keys.filter((key) => styleOf(shape[key]).decides)
  const chosen: Values = {
    ...Object.fromEntries(decided.map((key) => [key, fallbacks[key]])),
    ...(first && word !== undefined ? { [first]: word } : {}),
    ...options,
  }
  for (const [key, option] of Object.entries(shape)) {
    const meant = styleOf(option).about?.(chosen)
    if (meant)
      for (const shown of command.options) if (shown.long === `--${kebab(key)}`) shown.description = meant
    const isAbout = (styleOf(option).when ?? []).some((choice) =>
      Object.keys(choice).some((k) => k in chosen),
    )
    if (!isAbout || isTaken(schema, key, { ...fallbacks, ...chosen })) continue
    const long = [`--${kebab(key)}`, `--no-${kebab(key)}`]
    for (const shown of command.options) if (long.includes(shown.long ?? '')) shown.hideHelp()
  }
  const text = await action.about?.(chosen)
  if (text) command.addHelpText('after', `\n${text}`)
}
