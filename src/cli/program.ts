/**
 * @file The command line as a function: arguments in, exit code out, all effects through the streams it is given.
 * Only commander is loaded until a verb runs.
 */
import { Argument, Command, CommanderError, Option } from 'commander'
import { readFileSync } from 'node:fs'
import { UsageError, WeftError, exitCodes, nearest } from '../errors.js'
import type { ZodObject } from 'zod'
import { contextOf } from './context.js'
import type { World } from './context.js'
import type { Resolved } from './options.js'
import type { Action, Environment, Family, Verb } from './verb.js'
import { verbs as allVerbs } from './verbs.js'

/** Runs `weft ...argv` and gives the exit code. Never throws. */
export const run = async (
  argv: readonly string[],
  world: World,
  verbs: readonly Verb[] = allVerbs,
): Promise<number> => {
  try {
    const words = argv[0] === 'help' ? [...argv.slice(1), '--help'] : [...argv]
    const program = await build(words, world, verbs)
    await program.parseAsync(words.length ? words : ['--help'], { from: 'user' })
    return world.signal.aborted ? signalCode(world.signal) : exitCodes.ok
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return exitCodes.ok
    if (world.signal.aborted && isAbort(error, world.signal)) return signalCode(world.signal)
    return complain(error, argv, world)
  }
}

const signalCode = (signal: AbortSignal): number =>
  signal.reason === 'SIGTERM' ? exitCodes.terminated : exitCodes.interrupted

const isAbort = (error: unknown, signal: AbortSignal): boolean =>
  error === signal.reason ||
  (error instanceof Error &&
    (error.name === 'AbortError' || (error.cause !== undefined && isAbort(error.cause, signal))))

const complain = (error: unknown, argv: readonly string[], { stderr, env }: World): number => {
  const known = error instanceof WeftError
  const exitCode = known ? error.exitCode : exitCodes.failure
  const [name, message] = error instanceof Error ? [error.name, error.message] : ['Error', String(error)]
  if (argv.includes('--json')) {
    stderr.write(`${JSON.stringify({ status: 'error', code: name, message, exitCode })}\n`)
    return exitCode
  }
  const verbose = env.WEFT_LOG === 'debug' || argv.some((word) => /^-v+$|^--verbose$/.test(word))
  const stack = error instanceof Error && verbose ? trace(error) : ''
  const hint = known || verbose ? '' : '\n  Run again with -v to see where this came from.'
  stderr.write(`${name}: ${message}${hint}${stack}\n`)
  return exitCode
}

/** Where an error and its causes came from, without repeating what they say. */
const trace = (error: Error): string => {
  const lines = (error.stack ?? '').split('\n').filter((line) => line.startsWith('    at '))
  const cause =
    error.cause instanceof Error
      ? `\nCaused by ${error.cause.name}: ${error.cause.message}${trace(error.cause)}`
      : ''
  return `\n${lines.join('\n')}${cause}`
}

/** The program, in which the verb that `argv` names is complete and every other one is only named. */
const build = async (argv: string[], world: World, verbs: readonly Verb[]): Promise<Command> => {
  const program = new Command('weft')
    .description(
      "The whole life of a model's weights: open, train, adapt, fold and generate, on Hugging Face folders.",
    )
    .usage('<verb> [arguments] [options]')
    .option('--version', 'print the version')
    .on('option:version', () => {
      world.stdout.write(`${version()}\n`)
      throw new CommanderError(0, 'commander.version', '')
    })
  prepare(program, world)
  addCommonFlags(program)
  program.addHelpText('after', topics)
  const end = argv.indexOf('--')
  const named = argv.slice(0, end < 0 ? undefined : end).filter((word) => !word.startsWith('-'))
  for (const verb of verbs) {
    const command = addCommand(program, verb, world)
    command.helpGroup(`${verb.group}:`)
    if (verb.name !== named[0]) continue
    if ('members' in verb && named.length === 1) argv.push('--help')
    await complete(command, verb, argv, world)
  }
  // Before commander sees it, which shows the page where --help stands beside a word that it does not know.
  if (named.length && !verbs.some(({ name }) => name === named[0])) throw unknownWord(program, named[0])
  // Set last, since commands inherit it: the first page is about verbs.
  program.configureHelp({ visibleOptions: () => [] })
  return program
}

const topics = `
Common options:
  --json   results and events as JSON     -q, --quiet     results and errors only
  --version                               -v, --verbose   say more; errors show their stack

Exit codes:
  0 ok   1 failure   2 usage or config   3 checkpoint   4 memory   5 remote   130 Ctrl-C   143 SIGTERM

Environment:
  WEFT_DEVICE, WEFT_THREADS, WEFT_SPIN=0 (threads that wait sleep: for cores that others use too),
  WEFT_LOG=error|info|debug, WEFT_HOME (where runs are kept; runs/)
  HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE, NO_COLOR, FORCE_COLOR

Begin with: weft start        More on a verb: weft VERB --help`

/** What every command has: streams, and errors that throw. */
const prepare = (command: Command, world: World): void => {
  command
    .enablePositionalOptions()
    .exitOverride(refuse(command))
    .helpCommand(false)
    .showSuggestionAfterError(false)
    .helpOption('-h, --help', 'show this page')
    .configureOutput({
      writeOut: (text) => void world.stdout.write(text),
      writeErr: (text) => void world.stderr.write(text),
      outputError: () => {},
      getOutHelpWidth: () => world.stdout.columns ?? 100,
      getOutHasColors: () => false,
    })
}

const addCommand = (parent: Command, definition: Action | Family, world: World): Command => {
  const command = parent.command(definition.name).description(definition.summary)
  prepare(command, world)
  if ('members' in definition) return command.usage(`<${definition.noun}> [arguments] [options]`)
  for (const { name, summary, optional, many } of definition.arguments) {
    const shape = many ? `${name}...` : name
    command.addArgument(new Argument(optional ? `[${shape}]` : `<${shape}>`, summary))
  }
  return command
}

/** The flags that every command has; added last, so that the help shows a verb's own before them. */
const addCommonFlags = (command: Command): void => {
  const flags = [
    new Option('--json', 'results and events as JSON'),
    new Option('-q, --quiet', 'results and errors only'),
    new Option('-v, --verbose', 'say more; errors show their stack').argParser(
      (_, count: number = 0) => count + 1,
    ),
  ]
  for (const option of flags) command.addOption(option.helpGroup('Common options:'))
}

/** Examples stand last on a help page. */
const addExamples = (command: Command, { examples }: Action | Family): void =>
  void command.addHelpText('after', `\nExamples:\n${examples.map((example) => `  ${example}`).join('\n')}`)

/** The words behind the first that is `name`. */
const behind = (argv: readonly string[], name: string): string[] => argv.slice(argv.indexOf(name) + 1)

/** Gives a command that `argv` names its members or its flags, and what it does. */
const complete = async (
  command: Command,
  verb: Action | Family,
  argv: readonly string[],
  world: World,
): Promise<void> => {
  const words = behind(argv, verb.name)
  if ('members' in verb) {
    addCommonFlags(command)
    const noun = words.find((word) => !word.startsWith('-'))
    const members = await verb.members()
    for (const member of members) {
      const child = addCommand(command, member, world)
      if (member.name === noun) await complete(child, member, words, world)
    }
    if (noun !== undefined && !members.some(({ name }) => name === noun)) throw unknownWord(command, noun)
    return addExamples(command, verb)
  }
  const schema = await verb.options?.()
  if (schema) {
    const { flagsOf } = await import('./options.js')
    for (const option of flagsOf(schema)) command.addOption(option)
    if (verb.config)
      command.addOption(
        new Option('-c, --config <FILE>', 'YAML or JSON with these options; a flag wins over it'),
      )
  }
  addCommonFlags(command)
  if (schema) {
    const { completeHelp } = await import('./help.js')
    await completeHelp(command, verb, schema, words, world.env)
  }
  addExamples(command, verb)
  command.action(() => perform(command, verb, schema, world))
}

/** Turns commander's refusals into errors that name the nearest known flag or verb. */
const refuse =
  (command: Command) =>
  (error: CommanderError): never => {
    if (error.exitCode === 0) throw error
    const message = error.message.replace(/^error: /, '')
    const name = /'([^']*)'/.exec(message)?.[1] ?? ''
    const page = `See: ${fullName(command)} --help`
    if (error.code === 'commander.unknownOption') {
      const known = command.options.filter(({ hidden }) => !hidden).map(({ long }) => long!)
      const flags = [...known, '--help']
      throw new UsageError('UnknownFlag', `${fullName(command)} has no flag ${name}`, {
        hint: `Nearest: ${nearest(name, flags, 2).join(', ')}. ${page}`,
      })
    }
    if (error.code === 'commander.unknownCommand') throw unknownWord(command, name)
    throw new UsageError('BadUsage', message, { hint: page })
  }

/** The error for a verb, or a verb's noun, that there is not. */
const unknownWord = (command: Command, name: string): UsageError => {
  const kind = command.parent ? 'noun' : 'verb'
  const known = command.commands.map((child) => child.name())
  return new UsageError(
    kind === 'noun' ? 'UnknownNoun' : 'UnknownVerb',
    `${fullName(command)} has no ${kind} ${name}`,
    { hint: `Nearest: ${nearest(name, known, 2).join(', ')}. See: ${fullName(command)} --help` },
  )
}

const fullName = (command: Command): string =>
  command.parent ? `${fullName(command.parent)} ${command.name()}` : command.name()

const perform = async (
  command: Command,
  action: Action,
  schema: ZodObject | undefined,
  world: World,
): Promise<void> => {
  const names = action.arguments.map(({ name }) => name)
  const words = Object.fromEntries(
    command.processedArgs.map((value, i) => [names[i], value as string | string[] | undefined]),
  )
  const flags = command.optsWithGlobals<Record<string, unknown>>()
  const { context, finish } = contextOf(flags, world)
  try {
    const resolved = schema && (await readOptions(schema, flags, words.config ?? flags.config, world.env))
    if (schema && resolved) {
      const [{ refuseUnwanted }, { preflight }] = await Promise.all([
        import('./choice.js'),
        import('./preflight.js'),
      ])
      const firsts = Object.entries(words).map(([name, word]) => [name, [word].flat()[0]])
      refuseUnwanted(schema, resolved, Object.fromEntries(firsts), fullName(command))
      await preflight({ action, schema, options: resolved.options, words, home: context.home })
    }
    await action.run({ arguments: words, options: resolved?.options ?? {} }, context)
  } finally {
    finish()
  }
}

const readOptions = async (
  schema: ZodObject,
  flags: Record<string, unknown>,
  file: unknown,
  env: Environment,
): Promise<Resolved> => {
  const { resolveOptions, kebab } = await import('./options.js')
  const { readConfig } = await import('./config.js')
  const byKey = Object.keys(schema.shape).map((key) => [
    key,
    flags[new Option(`--${kebab(key)}`).attributeName()],
  ])
  const config = typeof file === 'string' ? readConfig(file) : undefined
  return resolveOptions(schema, Object.fromEntries(byKey) as Record<string, unknown>, env, config)
}

/** The version in package.json, which stands two folders above both the source and the built file. */
const version = (): string => {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
