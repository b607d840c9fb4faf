/** @file What a line of a dataset can be, and the check that it is one of these. */
import { isObject } from '../data/files.js'
import { kindOf, malformed } from '../data/row.js'
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

/** Notes that any record may have beside. */
export interface RecordNotes {
  /** The number of its task, for methods that route by task: batches hold it in `taskIds`. */
  task?: number
}

/** A record of any kind. */
export type DataRecord = (TextRecord | CompletionRecord | ChatRecord | ChoiceRecord) & RecordNotes

/** What is wrong with a line; the reader adds the file and the line's number. */
class Malformed extends Error {}

const wrong = (message: string): never => {
  throw new Malformed(message)
}

const string = (value: unknown, field: string): string =>
  typeof value === 'string' ? value : wrong(`"${field}" must be a string and is ${kindOf(value)}`)

/** What is there: a column that is null is none. */
const withoutNulls = (json: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null))

const message = (value: unknown, where: string): Message => {
  if (!isObject(value)) return wrong(`"${where}" must be an object and is ${kindOf(value)}`)
  const fields = withoutNulls(value)
  const role = string(fields.role, `${where}.role`)
  const { content } = fields
  if (content === undefined) {
    if (!('tool_calls' in fields)) return wrong(`"${where}" has no "content"`)
    return { ...fields, role, content: null }
  }
  if (typeof content === 'string') return { ...fields, role, content }
  if (Array.isArray(content) && content.every(isObject))
    return { ...fields, role, content: content.map(withoutNulls) }
  return wrong(`"${where}.content" must be a string or a list of parts and is ${kindOf(content)}`)
}

const listOf = (value: unknown, field: string): unknown[] => {
  if (!Array.isArray(value)) return wrong(`"${field}" must be a list and is ${kindOf(value)}`)
  return value.length > 0 ? (value as unknown[]) : wrong(`"${field}" is empty`)
}

/** Schemas of tools: a list, or its JSON. */
const toolsOf = ({ tools }: Record<string, unknown>): { tools?: unknown[] } => {
  if (Array.isArray(tools)) return { tools: tools as unknown[] }
  if (typeof tools !== 'string' || tools.trim() === '') return {}
  try {
    const list: unknown = JSON.parse(tools)
    if (Array.isArray(list)) return { tools: list }
  } catch {
    // Said below.
  }
  return wrong('"tools" is a string that holds no JSON list')
}

const chat = (r: Record<string, unknown>): ChatRecord => {
  const messages = listOf(r.messages, 'messages')
  return { messages: messages.map((m, i) => message(m, `messages[${i}]`)), ...toolsOf(r) }
}

/** Who speaks in ShareGPT's conversations, and the role that chat templates know. */
const speakers: Readonly<Record<string, string>> = {
  ...{ system: 'system', human: 'user', user: 'user', gpt: 'assistant', assistant: 'assistant' },
  ...{ chatgpt: 'assistant', bing: 'assistant', bard: 'assistant', model: 'assistant' },
  ...{ tool: 'tool', function: 'tool', observation: 'tool', function_call: 'assistant' },
}

const turn = (value: unknown, i: number): Message => {
  const where = `conversations[${i}]`
  if (isObject(value) && 'role' in value) return message(value, where)
  if (!isObject(value)) return wrong(`"${where}" must be an object and is ${kindOf(value)}`)
  const from = string(value.from, `${where}.from`)
  if (!Object.hasOwn(speakers, from))
    return wrong(`"${where}.from" is "${from}"; expected one of ${Object.keys(speakers).join(', ')}`)
  return { role: speakers[from], content: string(value.value, `${where}.value`) }
}

/** ShareGPT's form: turns that say who speaks and what; the system's may stand beside them. */
const conversation = (r: Record<string, unknown>): ChatRecord => {
  const turns = listOf(r.conversations, 'conversations').map(turn)
  const system = r.system === undefined ? '' : string(r.system, 'system')
  const first = system === '' || turns[0].role === 'system' ? [] : [{ role: 'system', content: system }]
  return { messages: [...first, ...turns], ...toolsOf(r) }
}

/** What stands before an instruction where the record says nothing else: the words of Stanford's Alpaca. */
const preambles = {
  alone:
    'Below is an instruction that describes a task. Write a response that appropriately completes the request.',
  withInput:
    'Below is an instruction that describes a task, paired with an input that provides further context. ' +
    'Write a response that appropriately completes the request.',
}

/** Alpaca's form, as its authors made a prompt of it. */
const instruction = (r: Record<string, unknown>): CompletionRecord => {
  const task = string(r.instruction, 'instruction')
  const input = r.input === undefined ? '' : string(r.input, 'input')
  if (Array.isArray(r.history) && r.history.length > 0)
    return wrong('"history" beside "instruction" is not read; write the conversation as "messages"')
  const system = r.system === undefined || r.system === '' ? undefined : string(r.system, 'system')
  const preamble = system ?? (input === '' ? preambles.alone : preambles.withInput)
  const context = input === '' ? '' : `### Input:\n${input}\n\n`
  const prompt = `${preamble}\n\n### Instruction:\n${task}\n\n${context}### Response:\n`
  return { prompt, completion: string(r.output, 'output') }
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

const completion = (r: Record<string, unknown>): CompletionRecord => ({
  prompt: string(r.prompt, 'prompt'),
  completion: string(r.completion, 'completion'),
})

const plainText = (r: Record<string, unknown>): TextRecord => ({ text: string(r.text, 'text') })

type Shape = (r: Record<string, unknown>) => DataRecord

/** The fields that say what a record is, the first that are there deciding; `text` may stand beside any. */
const shapes: readonly (readonly [fields: readonly string[], read: Shape])[] = [
  [['messages'], chat],
  [['choices'], choice],
  [['prompt', 'completion'], completion],
  [['text'], plainText],
  [['conversations'], conversation],
  [['instruction', 'output'], instruction],
]

const expected =
  'expected "text", or "prompt" and "completion", or "messages" (or "conversations"), ' +
  'or "instruction" and "output", or "question", "choices" and "answer"'

const check = (json: unknown): DataRecord => {
  if (!isObject(json)) return wrong(`expected an object, found ${kindOf(json)}`)
  const record = shaped(withoutNulls(json))
  // A task by another name than a number is somebody else's.
  return Number.isInteger(json.task) ? { ...record, task: json.task as number } : record
}

const shaped = (json: Record<string, unknown>): DataRecord => {
  for (const [fields, read] of shapes) {
    if (!fields.every((field) => field in json)) continue
    try {
      return read(json)
    } catch (error) {
      // Beside a text, columns of the same names may be somebody else's.
      if (!(error instanceof Malformed) || typeof json.text !== 'string') throw error
    }
  }
  const fields = Object.keys(json).slice(0, 8)
  return wrong(`it has ${fields.length ? `the fields ${fields.join(', ')}` : 'no fields'}; ${expected}`)
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
