/** @file Chat templates in merges: named formats, the models' own, and one given as it is. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, writeTinyLlama } from '../../../../test/tiny.js'
import { openTokenizer, tokenizerFromJson, trainBytePairs } from '../../../text/index.js'
import { chatTemplates } from './chat-templates.js'
import { explainMerge, mergeRecipe, type Recipe } from '../../index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)

const messages = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Hi' },
  { role: 'assistant', content: 'Hello' },
  { role: 'user', content: 'Bye' },
]

const json = trainBytePairs(['a'], { vocabularySize: 260, specialTokens: ['<s>', '</s>'] })

describe('the format', () => {
  it.each<[string, string]>([
    [
      'chatml',
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n',
    ],
    [
      'alpaca',
      'Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello</s>\n\n### Instruction:\nBye\n\n### Response:\n',
    ],
    [
      'llama3',
      '<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n',
    ],
    ['mistral', '<s>[INST] Be brief. [/INST][INST] Hi [/INST] Hello</s>[INST] Bye [/INST]'],
    [
      'exaone',
      '[|system|]Be brief.[|endofturn|]\n[|user|]Hi\n[|assistant|]Hello[|endofturn|]\n[|user|]Bye\n[|assistant|]',
    ],
  ])('%s', (name, text) => {
    const config = { bos_token: '<s>', eos_token: '</s>', chat_template: chatTemplates[name] }
    expect(tokenizerFromJson(json, config).render(messages, { addGenerationPrompt: true })).toBe(text)
  })
})

describe('chat_template', () => {
  const own = "{% for m in messages %}{{ m['content'] }}|{% endfor %}"
  beforeAll(async () => {
    scratch = await scratchFolder()
    for (const name of ['plain', 'a', 'b', 'c']) await writeTinyLlama(at(name))
    const give = async (name: string, template: string): Promise<void> => {
      const file = join(at(name), 'tokenizer_config.json')
      const config = JSON.parse(await readFile(file, 'utf8')) as object
      await writeFile(file, JSON.stringify({ ...config, chat_template: template }))
    }
    await give('a', `${own}\n`)
    await give('b', 'something else {{ messages }}')
    await writeFile(join(at('c'), 'chat_template.jinja'), own)
  })
  afterAll(() => scratch.remove())

  const recipe = (template: string, models: string[]): Recipe => ({
    merge_method: 'linear',
    models: models.map((model) => ({ model, parameters: { weight: 1 } })),
    chat_template: template,
  })

  const rendered = async (template: string, models: string[]): Promise<string> => {
    await mergeRecipe(recipe(template, models), at('out'), { folder: scratch.path, overwrite: true })
    return (await openTokenizer(at('out'))).render(messages.slice(1, 3))
  }

  it('auto is what most of the models have', async () => {
    expect(await rendered('auto', ['plain', 'b', 'a', 'c'])).toBe('Hi|Hello|')
  })

  it('a name is that format, and a template is itself', async () => {
    expect(await rendered('chatml', ['a', 'c'])).toMatch(/^<\|im_start\|>user\nHi<\|im_end\|>/)
    expect(await rendered('{% for m in messages %}[{{ m.role }}]{% endfor %}', ['c'])).toBe(
      '[user][assistant]',
    )
  })

  it('is written where older and newer readers look', async () => {
    await rendered('chatml', ['a'])
    const read = (file: string) => readFile(join(at('out'), file), 'utf8')
    const config = JSON.parse(await read('tokenizer_config.json')) as {
      chat_template: string
      eos_token: string
    }
    expect(config.chat_template).toBe(await read('chat_template.jinja'))
    expect(config.eos_token).toBe('</s>')
  })

  it('that is neither is refused; one that no model has is noted', async () => {
    const explained = (template: string) =>
      explainMerge(recipe(template, ['plain']), { folder: scratch.path })
    await expect(explained('chatmel')).rejects.toThrow(/"chatmel" is no format.*\n.*alpaca, chatml/)
    expect((await explained('auto'))[0].notes.join()).toMatch(/chat_template: no model has one/)
  })
})
