/** @file What a line of a dataset can be, and the check that it is one of these. */
import { CheckpointError } from '../errors.js'
import { isObject } from './files.js'
import type { Message } from './tokenizer.js'

/** Plain text: every token counts in the loss. */
export interface TextRecord {
  text: string
}

/** `completion` follows `prompt` as written (nothing is put between them); only the completion counts. */
export interface CompletionRecord {
  prompt: string
  completion: string
}

/** A conversation: the assistants' turns count. `tools`: function schemas for the chat template. */
export interface ChatRecord {
  messages: Message[]
  tools?: unknown[]
}

/** Multiple choice. `answer` is the index of the right one among `choices`. */
export interface ChoiceRecord {
  prompt: string
  choices: string[]
  answer: number
}

/** What any record may say beside. */
export interface RecordNotes {
  /** The number of its task, for methods that route by task: batches hold it in `taskIds`. */
  task?: number
}

export type DataRecord = (TextRecord | CompletionRecord | ChatRecord | ChoiceRecord) & RecordNotes

/** What is wrong with a line; the reader adds the file and the line's number. */
class Malformed extends Error {}

const wrong = (message: string): never => {
  throw new Malformed(message)
}

const kindOf = (x: unknown): string => (x === null ? 'null' : Array.isArray(x) ? 'a list' : `a ${typeof x}`)

const string = (value: unknown, field: string): string =>
  typeof value === 'string' ? value : wrong(`"${field}" must be a string and is ${kindOf(value)}`)

const message = (value: unknown, i: number): Message => {
  if (!isObject(value)) return wrong(`"messages[${i}]" must be an object and is ${kindOf(value)}`)
  const role = string(value.role, `messages[${i}].role`)
  const content = value.content ?? null
  if (content === null && !('tool_calls' in value)) return wrong(`"messages[${i}]" has no "content"`)
  if (content !== null && typeof content !== 'string' && !(Array.isArray(content) && content.every(isObject)))
    return wrong(`"messages[${i}].content" must be a string or a list of parts and is ${kindOf(content)}`)
  return { ...value, role, content }
}

const chat = ({ messages, tools }: Record<string, unknown>): ChatRecord => {
  if (!Array.isArray(messages)) return wrong(`"messages" must be a list and is ${kindOf(messages)}`)
  if (messages.length === 0) return wrong('"messages" is empty')
  return { messages: messages.map(message), ...(Array.isArray(tools) ? { tools: tools as unknown[] } : {}) }
}

/** The answer as an index: it may be written as an index, as a letter (A is the first) or as the choice itself. */
const answerIndex = (answer: unknown, choices: readonly string[]): number => {
  if (typeof answer === 'string') {
    const same = choices.indexOf(answer)
    if (same >= 0) return same
    const letter = /^[A-Za-z]$/.test(answer) ? answer.toUpperCase().charCodeAt(0) - 65 : Number(answer || NaN)
    if (Number.isInteger(letter) && letter >= 0 && letter < choices.length) return letter
    return wrong(`"answer" is "${answer}": neither one of the choices, nor a letter or index of one`)
  }
  if (typeof answer !== 'number')
    return wrong(`"answer" must be an index, a letter or a choice and is ${kindOf(answer)}`)
  if (Number.isInteger(answer) && answer >= 0 && answer < choices.length) return answer
  return wrong(`"answer" is ${answer}; expected 0 to ${choices.length - 1}`)
}

const choice = (r: Record<string, unknown>): ChoiceRecord => {
  const field = 'prompt' in r ? 'prompt' : 'question'
  if (!Array.isArray(r.choices)) return wrong(`"choices" must be a list and is ${kindOf(r.choices)}`)
  const choices = r.choices.map((c, i) => string(c, `choices[${i}]`))
  if (choices.length < 2) return wrong(`"choices" has ${choices.length} entries; expected at least 2`)
  return { prompt: string(r[field], field), choices, answer: answerIndex(r.answer, choices) }
}

const shapes =
  'expected "text", or "prompt" and "completion", or "messages", or "question", "choices" and "answer"'

const check = (json: unknown): DataRecord => {
  if (!isObject(json)) return wrong(`expected an object, found ${kindOf(json)}`)
  // A task by another name than a number is somebody else's.
  return Number.isInteger(json.task) ? { ...shaped(json), task: json.task as number } : shaped(json)
}

const shaped = (json: Record<string, unknown>): DataRecord => {
  if ('messages' in json) return chat(json)
  if ('choices' in json) return choice(json)
  if ('completion' in json)
    return { prompt: string(json.prompt, 'prompt'), completion: string(json.completion, 'completion') }
  if ('text' in json) return { text: string(json.text, 'text') }
  const fields = Object.keys(json).slice(0, 8)
  return wrong(`it has ${fields.length ? `the fields ${fields.join(', ')}` : 'no fields'}; ${shapes}`)
}

/**
 * The record that a parsed line holds; other fields are left out. `where` (file and line) opens the message.
 * Throws CheckpointError `MalformedRecord` that says what is wrong.
 */
export const toRecord = (json: unknown, where: string): DataRecord => {
  try {
    return check(json)
  } catch (error) {
    if (error instanceof Malformed) throw malformed(where, error.message)
    throw error
  }
}

export const malformed = (where: string, what: string): CheckpointError =>
  new CheckpointError('MalformedRecord', `${where}: ${what}`, {
    hint: 'Correct the line, or skip malformed lines: skipMalformed, --skip-malformed.',
  })
