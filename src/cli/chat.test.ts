import { readFileSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, writeTinyLlama } from '../../test/tiny.js'
import { commandOf, Conversation, MessageLines } from './conversation.js'
import { run } from './program.js'
import type { Input } from './verb.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)
const template =
  "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"

beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(at('plain'))
  await writeTinyLlama(at('model'))
  const file = join(at('model'), 'tokenizer_config.json')
  const config = JSON.parse(await readFile(file, 'utf8')) as object
  await writeFile(file, JSON.stringify({ ...config, chat_template: template }))
})
afterAll(() => scratch.remove())

/** Called when the model has said something. */
let heard: (() => void) | undefined

const talking = async (input: string | Input, ...more: string[]) => {
  let [out, err] = ['', '']
  const argv = ['chat', at('model'), '--max-tokens', '3', ...more]
  const code = await run(argv, {
    stdin: typeof input === 'string' ? Readable.from([input]) : input,
    stdout: {
      write: (text) => {
        out += text
        heard?.()
      },
    },
    stderr: { write: (text) => (err += text) },
    env: {},
    signal: new AbortController().signal,
  })
  return { code, out, err }
}
const saved = (file: string): { role: string; content: string }[] =>
  (JSON.parse(readFileSync(file, 'utf8')) as { messages: { role: string; content: string }[] }).messages

describe('weft chat', () => {
  it('answers each line of a pipe, remembers, and saves what can be learned from', async () => {
    const { code, out, err } = await talking(
      `hi\nand now?\n/save ${at('talk.jsonl')}\n`,
      '--system',
      'Be brief.',
    )
    expect(err).toContain(`Wrote ${at('talk.jsonl')}`)
    expect(code).toBe(0)
    const messages = saved(at('talk.jsonl'))
    expect(messages.map(({ role }) => role)).toEqual(['system', 'user', 'assistant', 'user', 'assistant'])
    expect(messages[1].content).toBe('hi')
    expect(out).toBe(`${messages[2].content}\n${messages[4].content}\n`)
  })

  it('takes messages of several lines, a new instruction, and begins anew', async () => {
    const lines = [
      'first',
      '/reset',
      '/system Be kind.',
      'one\\',
      'two',
      '"""',
      'three',
      'four"""',
      `/save ${at('b.jsonl')}`,
      '/exit',
      'never',
    ]
    const { code } = await talking(lines.join('\n'))
    expect(code).toBe(0)
    const messages = saved(at('b.jsonl'))
    expect(messages.filter(({ role }) => role !== 'assistant')).toEqual([
      { role: 'system', content: 'Be kind.' },
      { role: 'user', content: 'one\ntwo' },
      { role: 'user', content: 'three\nfour' },
    ])
  })

  it('with --json gives an answer a line', async () => {
    const { out } = await talking('hi\nho\n', '--json')
    const answers = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { role: string })
    expect(answers.map(({ role }) => role)).toEqual(['assistant', 'assistant'])
  })

  it('on a terminal Ctrl-C stops the answer, and the conversation goes on', async () => {
    const terminal = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => undefined })
    const keys = ['\x03', `/nonsense\n/save ${at('c.jsonl')}\n`, '\x04']
    heard = () => {
      for (const key of keys.splice(0)) terminal.write(key)
    }
    terminal.write('hi\n')
    const ended = talking(terminal as unknown as Input, '--max-tokens', '40')
    const { code, err } = await ended
    expect(code).toBe(0)
    heard = undefined
    expect(err).toContain('/nonsense is no command')
    expect(saved(at('c.jsonl')).length).toBeLessThanOrEqual(2)
  })

  it('refuses a model without a chat template, and an unknown command in a pipe', async () => {
    const { code, err } = await talking('/rest\n')
    expect(err).toMatch(/^UnknownCommand: \/rest is no command\s+Nearest: \/reset/)
    expect(code).toBe(2)
    const plain = await run(['chat', at('plain')], {
      stdout: { write: () => true },
      stderr: { write: () => true },
      env: {},
      signal: new AbortController().signal,
    })
    expect(plain).toBe(2)
  })
})

describe('a conversation', () => {
  const tokenizer = { chat: (messages: readonly object[]) => new Array<number>(10 * messages.length).fill(0) }

  it('leaves out the oldest exchanges where all of them do not fit, never the instruction', () => {
    const conversation = new Conversation({ tokenizer, limit: 60, answerTokens: 20, system: 's' })
    for (const text of ['a', 'b', 'c']) {
      conversation.say('user', text)
      conversation.say('assistant', text)
    }
    conversation.say('user', 'd')
    const { messages, dropped } = conversation.fitting()
    expect(dropped).toBe(4)
    expect(messages.map(({ content }) => content)).toEqual(['s', 'c', 'c', 'd'])
  })

  it('refuses a message that alone is too long', () => {
    const conversation = new Conversation({ tokenizer, limit: 12, answerTokens: 8 })
    conversation.say('user', 'a')
    expect(() => conversation.fitting()).toThrow('12 positions')
  })

  it('reads quoted lines, and commands only where a message begins with one', () => {
    const lines = new MessageLines()
    expect(lines.add('"""one line"""')).toBe('one line')
    expect(lines.add('"""')).toBeUndefined()
    expect(lines.open).toBe(true)
    expect(lines.add('a \\')).toBeUndefined()
    expect(lines.add('"""')).toBe('a \\')
    expect(lines.open).toBe(false)
    expect(commandOf('what is /reset?')).toBeUndefined()
    expect(commandOf('/system Be\nkind.')).toEqual({ name: 'system', rest: 'Be\nkind.' })
  })
})
