/**
 * @file Every example that a help page prints: its flags are the verb's own and go together, and where it works on models
 * it runs, on tiny ones of the same names.
 */
import { cp, mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { chdir, cwd } from 'node:process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, sentences, tinyConfig, writeRandom, writeTinyLlama } from '../../test/tiny.js'
import { pngOf, reviews, writeTinyBert, writeTinyVit } from '../../test/tiny-tasks.js'
import { weft } from '../../test/weft.js'
import { run } from './program.js'
import type { Action, Verb } from './verb.js'
import { verbs } from './verbs.js'

/** Words of a command line, as a shell splits them; a comment, a pipe and variables before the command are left out. */
const wordsOf = (line: string): string[] => {
  const [, command] = /(weft\b.*)/.exec(line) ?? []
  const words = command.match(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g) ?? []
  const end = words.findIndex((word) => word === '#' || word === '|')
  return words.slice(1, end < 0 ? undefined : end).map((word) => word.replace(/['"]/g, ''))
}

/** Examples of an action, those of several lines in one. */
const examplesOf = (examples: readonly string[]): string[] =>
  examples.join('\n').replaceAll('\\\n', ' ').split('\n')

interface Example {
  readonly line: string
  readonly verb: Verb
}

const listed: Example[] = (
  await Promise.all(
    verbs.map(async (verb) => {
      const members = 'members' in verb ? await verb.members() : []
      return [verb, ...members].flatMap(({ examples }) =>
        examplesOf(examples).map((line): Example => ({ line, verb })),
      )
    }),
  )
).flat()

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const home = cwd()

beforeAll(async () => {
  scratch = await scratchFolder()
  chdir(scratch.path)
  await writeTinyLlama('tiny')
  const text = sentences.map((sentence) => JSON.stringify({ text: sentence })).join('\n')
  const few = ['--steps', '1', '--batch', '2']
  await writeFile('tiny.jsonl', text)
  await writeFile('train.jsonl', text)
  await writeTinyLlama('tiny-tuned')
  await writeRandom('tiny-tuned', tinyConfig(320), 'tuned')
  await cp('tiny', 'tiny-chat', { recursive: true })
  await writeFile('tiny-chat/chat_template.jinja', '{% for m in messages %}{{ m.content }}{% endfor %}')
  await weft('adapt', 'lora', 'tiny', '--data', 'tiny.jsonl', '--out', 'tiny-adapter', ...few)
  await weft('adapt', 'mos', 'tiny', '--data', 'tiny.jsonl', '--out', 'tiny-shards', ...few)
  await writeTinyBert('tiny-roberta', 'RobertaForSequenceClassification', { num_labels: 2 })
  await writeTinyVit('tiny-vit', { id2label: { 0: 'blue', 1: 'red' } })
  const rows = reviews.map(({ text, label }) => `${text},${label}`)
  await writeFile('reviews.csv', `review,stars\n${rows.join('\n')}\n`)
  for (const colour of ['red', 'blue']) {
    await mkdir(join('photos', colour), { recursive: true })
    for (const name of ['1.png', '2.png']) await writeFile(join('photos', colour, name), pngOf(200, 9, 9))
  }
  await writeFile(
    'train.yaml',
    'model: models/base\ndata: train.jsonl\nsteps: 1\nbatch: 2\nout: runs/first\n',
  )
  const models = '[{ model: models/a, parameters: { weight: 1 } }]'
  await writeFile('recipe.yaml', `merge_method: linear\nmodels: ${models}\n`)
})
afterAll(async () => {
  chdir(home)
  await scratch.remove()
})

const modelFor = (name: string): string =>
  /\/(roberta|vit)$/.test(name)
    ? name.replace('models/', 'tiny-')
    : name.endsWith('Instruct')
      ? 'tiny-chat'
      : name.endsWith('tuned')
        ? 'tiny-tuned'
        : 'tiny'

/** Puts a tiny model, adapter or data where a word names one. */
const provide = async (words: readonly string[]): Promise<void> => {
  const out = words[words.findIndex((word) => word === '--out' || word === '-o') + 1]
  for (const word of words) {
    const isModel = /^(models|HuggingFaceTB)\/[\w.-]+$/.test(word)
    const isAdapter = /^adapters\/[\w.-]+$/.test(word)
    if (word === out) await rm(word, { recursive: true, force: true })
    else if (word.endsWith('.jsonl')) await cp('tiny.jsonl', word)
    else if (isModel || isAdapter) {
      await mkdir(dirname(word), { recursive: true })
      await rm(word, { recursive: true, force: true })
      await cp(isModel ? modelFor(word) : word.endsWith('shards') ? 'tiny-shards' : 'tiny-adapter', word, {
        recursive: true,
      })
      if (isAdapter) await cp('tiny', join('models', 'SmolLM2-135M'), { recursive: true })
    }
  }
  for (const name of ['a', 'b', 'base'])
    await cp('tiny', join('models', name), { recursive: true, force: true })
}

/** Code that several actions share, and the first action that it was seen in: there it runs. */
const firsts = new Map<string, string>()

/** True where the example works on models, in this process: a comparison starts others. */
const isRun = (action: Action): boolean => {
  const works = action.arguments.some(({ name, names }) => names === 'model' || name === 'inputs')
  const code = action.run.toString()
  if (!firsts.has(code)) firsts.set(code, action.name)
  return works && action.name !== 'compare' && firsts.get(code) === action.name
}

const spied = (action: Action, ran: string[]): Action => ({
  ...action,
  run: async (call, context) => {
    ran.push(action.name)
    if (isRun(action)) await action.run(call, context)
  },
})

describe('the example', () => {
  it.each(listed.map((example) => [example.line.trim(), example] as const))(
    '%s',
    async (_, { line, verb }) => {
      const words = wordsOf(line)
      await provide(words)
      const ran: string[] = []
      const own: Verb =
        'members' in verb
          ? { ...verb, members: async () => (await verb.members()).map((member) => spied(member, ran)) }
          : { ...verb, ...spied(verb, ran) }
      let err = ''
      const code = await run(
        words.map((word) => (word === '-' ? 'Once' : word)),
        {
          stdout: { write: () => true },
          stderr: { write: (text) => (err += text) },
          env: { WEFT_HOME: join(scratch.path, 'home') },
          signal: new AbortController().signal,
        },
        [own],
      )
      expect({ code, err: code ? err : '' }, line).toEqual({ code: 0, err: '' })
      expect(ran.length, line).toBe(words.includes('--help') ? 0 : 1)
    },
  )
})
