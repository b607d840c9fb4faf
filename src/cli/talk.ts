/** @file Lines of a terminal or a pipe as one side of a conversation, a model's answers as the other. */
import { createInterface, type Interface } from 'node:readline'
import { Writable } from 'node:stream'
import { writeFileAtomic } from '../checkpoint/index.js'
import { UsageError, WeftError } from '../errors.js'
import type { Model } from '../models/index.js'
import { generate, type GenerateOptions } from '../train/index.js'
import { commandOf, type Conversation, help, MessageLines } from './conversation.js'
import type { Context, Input, Output } from './verb.js'

/** One conversation as it runs. */
interface Talk {
  readonly model: Model
  readonly conversation: Conversation
  readonly options: GenerateOptions & { readonly seed: number }
  readonly context: Context
  /** Answer under way, which Ctrl-C stops. */
  answering?: AbortController
}

/** Writes the answer as it comes. Stopped by Ctrl-C, what has come stays said. */
const answer = async (talk: Talk): Promise<void> => {
  const { model, conversation, options, context } = talk
  const { stdout, json, info, signal } = context
  const { messages, dropped } = conversation.fitting()
  if (dropped > 0) info(`(the model no longer sees the first ${dropped} messages)`)
  const controller = new AbortController()
  talk.answering = controller
  let text = ''
  try {
    const seed = options.seed + messages.length
    const stopped = AbortSignal.any([signal, controller.signal])
    for await (const piece of generate(model, [...messages], { ...options, seed, signal: stopped })) {
      text += piece
      if (!json) stdout.write(piece)
    }
  } catch (error) {
    if (!controller.signal.aborted) throw error
  } finally {
    talk.answering = undefined
  }
  conversation.say('assistant', text)
  stdout.write(json ? `${JSON.stringify({ role: 'assistant', content: text })}\n` : '\n')
}

const save = async ({ conversation, context }: Talk, file: string): Promise<void> => {
  if (file === '') throw new UsageError('BadUsage', '/save needs the name of a file: /save talk.jsonl')
  await writeFileAtomic(file, `${JSON.stringify({ messages: conversation.messages })}\n`)
  context.info(`Wrote ${file}`)
}

/** Does what a message asks for. False ends the conversation. */
const take = async (talk: Talk, message: string): Promise<boolean> => {
  const { conversation, context } = talk
  const command = commandOf(message)
  if (command?.name === 'exit') return false
  if (command?.name === 'help') context.info(help)
  if (command?.name === 'reset') conversation.reset()
  if (command?.name === 'system') conversation.instruct(command.rest)
  if (command?.name === 'save') await save(talk, command.rest.trim())
  if (command || message.trim() === '') return true
  conversation.say('user', message)
  try {
    await answer(talk)
  } catch (error) {
    conversation.unsay()
    throw error
  }
  return true
}

/** On a terminal a mistake is said and the conversation goes on; in a pipe it ends it. */
const heard = async (talk: Talk, message: string, interactive: boolean): Promise<boolean> => {
  try {
    return await take(talk, message)
  } catch (error) {
    if (!interactive || !(error instanceof WeftError)) throw error
    talk.context.info(error.message)
    return true
  }
}

/** The prompt and what is typed go where messages go. */
const drawnOn = (stderr: Output): Writable =>
  new Writable({
    write(chunk, _, done) {
      stderr.write(String(chunk))
      done()
    },
  })

const listen = (talk: Talk, stdin: Input, interactive: boolean): Interface => {
  const output = interactive ? drawnOn(talk.context.stderr) : undefined
  const lines = createInterface({ input: stdin, output, terminal: interactive, prompt: '> ' })
  // On a terminal Ctrl-C comes as a key: it stops the answer, or without one ends the conversation.
  lines.on('SIGINT', () => (talk.answering ? talk.answering.abort() : lines.close()))
  return lines
}

/**
 * Answers messages until the input ends, `/exit` or Ctrl-C: lines of a terminal, with a prompt and a history, or of a pipe.
 * Throws what generation throws; a mistake at a terminal is said, and the conversation goes on.
 */
export const talk = async (
  model: Model,
  conversation: Conversation,
  options: Talk['options'],
  context: Context,
): Promise<void> => {
  const { stdin, signal, info } = context
  signal.throwIfAborted()
  if (!stdin) return
  const interactive = stdin.isTTY === true
  const state: Talk = { model, conversation, options, context }
  const lines = listen(state, stdin, interactive)
  const stop = (): void => lines.close()
  signal.addEventListener('abort', stop, { once: true })
  const messages = new MessageLines()
  const ask = (): void => {
    lines.setPrompt(messages.open ? '. ' : '> ')
    if (interactive) lines.prompt()
  }
  if (interactive) info('/help lists the commands, Ctrl-D ends.')
  ask()
  try {
    for await (const line of lines) {
      const message = messages.add(line)
      if (message !== undefined && !(await heard(state, message, interactive))) break
      signal.throwIfAborted()
      ask()
    }
    if (messages.open) await heard(state, messages.end(), interactive)
    signal.throwIfAborted()
  } finally {
    signal.removeEventListener('abort', stop)
    lines.close()
  }
}
