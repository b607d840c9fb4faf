/** @file A conversation: what was said, what of it fits into the model, and the commands that change it. */
import { nearest, UsageError } from '../errors.js'
import type { Message, Tokenizer } from '../text/index.js'

/** What a conversation needs to know. */
export interface ConversationOptions {
  readonly tokenizer: Pick<Tokenizer, 'chat'>
  /** Positions that the model has. */
  readonly limit: number
  /** Most tokens of an answer. */
  readonly answerTokens: number
  /** System message to begin with. */
  readonly system?: string
}

/** What was said so far. */
export class Conversation {
  #system: string | undefined
  #turns: Message[] = []

  constructor(private readonly options: ConversationOptions) {
    this.#system = options.system
  }

  /** Everything that was said, the system message first. */
  get messages(): readonly Message[] {
    const first = this.#system === undefined ? [] : [{ role: 'system', content: this.#system }]
    return [...first, ...this.#turns]
  }

  say(role: 'user' | 'assistant', content: string): void {
    this.#turns.push({ role, content })
  }

  /** Takes back what was said last. */
  unsay(): void {
    this.#turns.pop()
  }

  /** Begins anew; the system message stays. */
  reset(): void {
    this.#turns = []
  }

  /** The system message from now on; none where `text` is empty. */
  instruct(text: string): void {
    this.#system = text === '' ? undefined : text
  }

  /**
   * What the model is given: all, or (where that and an answer are more than its positions) without the oldest exchanges.
   * Throws UsageError where the last message alone is too long.
   */
  fitting(): { messages: readonly Message[]; dropped: number } {
    const { tokenizer, limit, answerTokens } = this.options
    const room = Math.max(1, limit - Math.min(answerTokens, Math.floor(limit / 2)))
    const first = this.messages.slice(0, this.messages.length - this.#turns.length)
    for (let dropped = 0; dropped < this.#turns.length; dropped += 2) {
      const messages = [...first, ...this.#turns.slice(dropped)]
      if (tokenizer.chat(messages, { addGenerationPrompt: true }).length <= room) return { messages, dropped }
    }
    throw new UsageError('TooLong', `the message is longer than the model's ${limit} positions allow`)
  }
}

/** Lines to messages: a line that ends with a backslash goes on, and `"""` stands around several. */
export class MessageLines {
  #lines: string[] = []
  #quoted = false

  /** Whether a message has begun that has no end yet. */
  get open(): boolean {
    return this.#quoted || this.#lines.length > 0
  }

  /** The message that this line ends; undefined where it goes on. */
  add(line: string): string | undefined {
    if (this.#quoted) {
      const end = /^(.*)"""\s*$/s.exec(line)
      if (!end) {
        this.#lines.push(line)
        return undefined
      }
      return this.end(end[1] === '' ? undefined : end[1])
    }
    const start = this.open ? null : /^\s*"""(.*)$/s.exec(line)
    if (start) {
      const whole = /^(.*)"""\s*$/s.exec(start[1])
      if (whole) return whole[1]
      this.#quoted = true
      if (start[1] !== '') this.#lines.push(start[1])
      return undefined
    }
    if (!line.endsWith('\\')) return this.end(line)
    this.#lines.push(line.slice(0, -1))
    return undefined
  }

  /** What has been gathered, with a last line: the message where the input ends. */
  end(last?: string): string {
    const message = [...this.#lines, ...(last === undefined ? [] : [last])].join('\n')
    this.#lines = []
    this.#quoted = false
    return message
  }
}

/** What `/help` says. */
export const help = `/system TEXT   instruct the model from now on (alone: no instruction)
/reset         begin anew; the instruction stays
/save FILE     write the conversation to FILE, as a line of JSONL to learn from
/exit          end (or Ctrl-D)
A line that ends with \\ goes on; """ stands around several. Ctrl-C stops an answer.`

const commands = ['system', 'reset', 'save', 'exit', 'help'] as const

/** A command and what stands behind it. */
export interface Command {
  readonly name: (typeof commands)[number]
  readonly rest: string
}

/** The command that a message is, undefined for one that is none. Throws UsageError with the nearest for an unknown one. */
export const commandOf = (message: string): Command | undefined => {
  const match = /^\/([a-z]+)(?:\s+(.*))?$/s.exec(message.trim())
  if (!match) return undefined
  const name = commands.find((command) => command === match[1])
  if (name === undefined)
    throw new UsageError('UnknownCommand', `/${match[1]} is no command`, {
      hint: `Nearest: /${nearest(match[1], commands, 1)[0]}. /help lists them.`,
    })
  return { name, rest: match[2] ?? '' }
}
