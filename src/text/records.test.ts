import { expect, test } from 'vitest'
import { toRecord } from './records.js'

/** What a line that holds `json` is read as. */
const read = (json: unknown): unknown => toRecord(JSON.parse(JSON.stringify(json)), 'file:1')

const turns = [
  { role: 'user', content: 'hi' },
  { role: 'assistant', content: 'ho' },
]

test('a column that is null is none', () => {
  const none = { messages: null, choices: null, conversations: null, task: null, instruction: null }
  expect(read({ ...none, text: 'a', completion: null })).toEqual({ text: 'a' })
  expect(read({ text: null, prompt: 'p', completion: 'c' })).toEqual({
    prompt: 'p',
    completion: 'c',
  })
  const message = { role: 'user', content: 'hi', name: null, tool_calls: null }
  const call = { role: 'assistant', content: null, tool_calls: [{ name: 'clock' }], name: null }
  expect(read({ messages: [message, call], tools: null, text: null })).toEqual({
    messages: [
      { role: 'user', content: 'hi' },
      { role: 'assistant', content: null, tool_calls: [{ name: 'clock' }] },
    ],
  })
  const parts = [{ type: 'text', text: 'hi', image: null }]
  expect(read({ messages: [{ role: 'user', content: parts }] })).toEqual({
    messages: [{ role: 'user', content: [{ type: 'text', text: 'hi' }] }],
  })
})

test('a text may stand beside any other columns', () => {
  const others = {
    id: 3,
    meta: { a: 1 },
    source: 'web',
    prompt: 'p',
    instruction: 'i',
    output: 'o',
    answer: 2,
  }
  expect(read({ ...others, text: 'a' })).toEqual({ text: 'a' })
  for (const field of ['messages', 'choices', 'conversations', 'completion'])
    expect(read({ text: 'a', prompt: 'p', [field]: 7 })).toEqual({ text: 'a' })
  expect(read({ text: 'a', messages: turns })).toEqual({ messages: turns })
})

test("reads ShareGPT's conversations by who speaks", () => {
  const conversations = [
    { from: 'human', value: 'hi' },
    { from: 'gpt', value: 'ho', weight: null },
  ]
  expect(read({ id: 'x', conversations })).toEqual({ messages: turns })
  expect(read({ conversations: turns })).toEqual({ messages: turns })
  const tools = [{ name: 'clock' }]
  expect(read({ conversations, system: 'Be brief.', tools: JSON.stringify(tools), task: 2 })).toEqual({
    messages: [{ role: 'system', content: 'Be brief.' }, ...turns],
    tools,
    task: 2,
  })
  const names = ['system', 'user', 'function_call', 'observation', 'tool', 'chatgpt']
  const roles = ['system', 'user', 'assistant', 'tool', 'tool', 'assistant']
  expect(read({ conversations: names.map((from) => ({ from, value: from })) })).toEqual({
    messages: roles.map((role, i) => ({ role, content: names[i] })),
  })
})

test("reads Alpaca's instructions in the form of their authors", () => {
  const task = { instruction: 'Add.', output: '3' }
  const prompt =
    'Below is an instruction that describes a task. Write a response that appropriately completes the request.' +
    '\n\n### Instruction:\nAdd.\n\n### Response:\n'
  for (const input of ['', null, undefined])
    expect(read({ ...task, input })).toEqual({ prompt, completion: '3' })
  const withInput =
    'Below is an instruction that describes a task, paired with an input that provides further context. ' +
    'Write a response that appropriately completes the request.' +
    '\n\n### Instruction:\nAdd.\n\n### Input:\n1, 2\n\n### Response:\n'
  expect(read({ ...task, input: '1, 2' })).toEqual({ prompt: withInput, completion: '3' })
  expect(read({ ...task, system: 'Be brief.', history: [] })).toEqual({
    prompt: 'Be brief.\n\n### Instruction:\nAdd.\n\n### Response:\n',
    completion: '3',
  })
})
