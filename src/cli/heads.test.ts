import { existsSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder } from '../../test/tiny.js'
import { reviews, writeTinyBert, writeTinyCausal } from '../../test/tiny-tasks.js'
import { weft } from '../../test/weft.js'
import { open } from '../checkpoint/index.js'
import type { EvaluationReport } from './eval.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (...names: string[]): string => join(scratch.path, ...names)
const write = async (name: string, content: string): Promise<string> => {
  await mkdir(join(at(name), '..'), { recursive: true })
  await writeFile(at(name), content)
  return at(name)
}
const json = <T>(file: string): T => JSON.parse(readFileSync(file, 'utf8')) as T
const jsonl = (records: readonly object[]): string => records.map((r) => JSON.stringify(r)).join('\n')
const succeeded = async (...argv: string[]): Promise<{ out: string; err: string }> => {
  const { code, out, err } = await weft(...argv)
  expect(code, err).toBe(0)
  return { out, err }
}
const evaluated = async (...argv: string[]): Promise<EvaluationReport> =>
  JSON.parse((await succeeded('eval', ...argv, '--json')).out) as EvaluationReport

const quick = ['--batch', '4', '--lr', '3e-3', '--schedule', 'constant']

beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyBert(at('masked'), 'BertForMaskedLM')
  await writeTinyCausal(at('causal'))
  await write('reviews.jsonl', jsonl(reviews))
})
afterAll(() => scratch.remove())

describe('a model without a head for the task gets a new one, with the classes of the data', () => {
  it('a masked language model that is trained to classify', async () => {
    const argv = ['--model', at('masked'), '--data', at('reviews.jsonl'), '--task', 'classify']
    const { err } = await succeeded('train', ...argv, ...quick, '--steps', '40', '--out', at('whole'))
    expect(err).toMatch(
      /a new head for the task 'classify' with 2 classes \(bad, good\): .*classifier\.weight/,
    )
    expect(json(at('whole', 'config.json'))).toMatchObject({
      architectures: ['BertForSequenceClassification'],
      id2label: { 0: 'bad', 1: 'good' },
    })
    expect((await evaluated(at('whole'), '--data', at('reviews.jsonl'))).accuracy).toBe(1)
    await using checkpoint = await open(at('whole'))
    expect(checkpoint.names().filter((name) => !/^bert\.(embeddings|encoder)\./.test(name))).toEqual([
      'bert.pooler.dense.bias',
      'bert.pooler.dense.weight',
      'classifier.bias',
      'classifier.weight',
    ])
  })

  it('an adapter of it, which holds the head, knows the names of its classes, and is folded with it', async () => {
    const data = ['--data', at('reviews.jsonl')]
    const argv = [at('masked'), ...data, '--task', 'classify', ...quick, '--lr', '1e-2']
    await succeeded('adapt', 'lora', ...argv, '--steps', '60', '--out', at('adapter'))
    expect(json(at('adapter', 'adapter_config.json'))).toMatchObject({
      modules_to_save: ['classifier', 'bert.pooler.dense'],
      task_type: 'SEQ_CLS',
    })
    const adapted = await evaluated(at('masked'), '--adapter', at('adapter'), ...data)
    expect(adapted.accuracy).toBe(1)
    expect((await evaluated(at('adapter'), ...data)).loss).toBe(adapted.loss)
    await succeeded('fold', at('masked'), at('adapter'), '--out', at('folded'))
    expect(json(at('folded', 'config.json'))).toMatchObject({ id2label: { 0: 'bad', 1: 'good' } })
    expect((await evaluated(at('folded'), ...data)).loss).toBeCloseTo(adapted.loss, 4)
  })

  it('a causal model whose data number their classes, told from the last token', async () => {
    const order = ['awful', 'dull', 'fine', 'lovely']
    const numbered = reviews.map(({ text }) => ({
      text,
      label: order.findIndex((word) => text.includes(word)),
    }))
    const data = ['--data', await write('numbered.jsonl', jsonl(numbered))]
    const argv = ['--model', at('causal'), ...data, '--task', 'classify', ...quick]
    await succeeded('train', ...argv, '--steps', '60', '--out', at('stars'))
    expect(json(at('stars', 'config.json'))).toMatchObject({
      architectures: ['LlamaForSequenceClassification'],
      id2label: { 3: 'LABEL_3' },
    })
    expect((await evaluated(at('stars'), ...data)).accuracy).toBe(1)
  })

  it.each([
    ['evaluated, which has nothing to show', ['eval', 'masked'], /^WrongTask: /],
    [
      'a head that the architecture has not',
      ['adapt', 'lora', 'causal', '--task', 'tokens'],
      /^NoSuchHead: llama/,
    ],
    [
      'labels of both kinds',
      ['adapt', 'lora', 'masked', 'mixed.jsonl'],
      /^BadLabel: the labels are names .* and numbers/,
    ],
    [
      'one class alone',
      ['adapt', 'lora', 'masked', 'one.jsonl'],
      /^BadLabel: all records have one label: good/,
    ],
  ])('refused: %s', async (_, words, message) => {
    await write('mixed.jsonl', jsonl([...reviews, { text: 'a', label: 1 }]))
    await write('one.jsonl', jsonl(reviews.filter(({ label }) => label === 'good')))
    const data = words.find((word) => word.endsWith('.jsonl')) ?? 'reviews.jsonl'
    const argv = words.filter((word) => word !== data).map((word) => (existsSync(at(word)) ? at(word) : word))
    const task = words.includes('--task') ? [] : ['--task', 'classify']
    const out = words[0] === 'eval' ? [] : ['--steps', '1', '--out', at('refused')]
    const { code, err } = await weft(...argv, ...task, '--data', at(data), ...out)
    expect(err).toMatch(message)
    expect([2, 3]).toContain(code)
    expect(existsSync(at('refused'))).toBe(false)
  })
})

describe('tags of words', () => {
  const tagged = ['film', 'play', 'song'].flatMap((thing) =>
    ['fine', 'dull'].map((word) => ({
      tokens: ['a', word, thing],
      tags: ['O', 'B-X', word === 'fine' ? 'I-X' : 'O'],
    })),
  )

  it('are learnt by a new head on a body, and measured by whole entities', async () => {
    const data = ['--data', await write('tags.jsonl', jsonl(tagged))]
    const argv = ['--model', at('masked'), ...data, '--task', 'tokens', ...quick]
    await succeeded('train', ...argv, '--steps', '60', '--out', at('tagger'))
    expect(json(at('tagger', 'config.json'))).toMatchObject({
      architectures: ['BertForTokenClassification'],
      id2label: { 0: 'B-X', 1: 'I-X', 2: 'O' },
    })
    const measured = await evaluated(at('tagger'), ...data)
    expect(measured).toMatchObject({ accuracy: 1, entityF1: 1, labels: 18 })
    // A word of several tokens.
    const long = await write('long.jsonl', jsonl([{ tokens: ['a', 'zebra'], tags: ['O', 'B-X'] }]))
    expect((await evaluated(at('tagger'), '--data', long)).labels).toBe(2)
    expect((await evaluated(at('tagger'), '--data', long, '--every-token')).labels).toBeGreaterThan(2)
  })

  it('are read from a CSV, and refused where they are not as many as the words', async () => {
    const rows = tagged.map(({ tokens, tags }) => `${tokens.join(' ')},${tags.join(' ')}`)
    const data = await write('tags.csv', `words,tags\n${rows.join('\n')}\n`)
    expect((await evaluated(at('tagger'), '--data', data)).entityF1).toBe(1)
    const short = await write('short.csv', 'words,tags\na fine film,O B-X\n')
    const { err } = await weft('eval', at('tagger'), '--data', short)
    expect(err).toMatch(/^MalformedRecord: .*short\.csv:2: it has 3 words and 2 tags/)
  })
})

describe('answers', () => {
  const filler = 'a dull film a dull play a dull song '.repeat(4)
  const asked = ['fine', 'lovely', 'awful'].flatMap((word) =>
    [0, 1].map((side) => {
      const context = side ? `${filler}a ${word} play` : `a ${word} play ${filler}`
      return { question: 'a song', context, answers: { text: [word], answer_start: [context.indexOf(word)] } }
    }),
  )

  it('are found in texts of several windows, and measured by words', async () => {
    await writeTinyBert(at('finder'), 'BertForQuestionAnswering', { num_labels: 2 })
    const data = ['--data', await write('asked.jsonl', jsonl(asked))]
    const argv = ['--model', at('finder'), ...data, '--length', '32', '--overlap', '4', ...quick]
    await succeeded('train', ...argv, '--lr', '5e-3', '--steps', '150', '--out', at('found'))
    const measured = await evaluated(at('found'), ...data, '--length', '32', '--overlap', '4')
    expect(measured).toMatchObject({ exactMatch: 1, wordF1: 1 })
  })

  it.each([
    [
      { question: 'a', context: 'a film', answers: { text: ['b'], answer_start: [0] } },
      /"b" does not stand at character 0/,
    ],
    [{ question: 'a', context: 'a film', answer: 'song' }, /"song" does not stand in the context/],
    [{ question: 'a', context: 'a film' }, /no column "answers"/],
    [{ question: 'a', context: ' ', answers: [] }, /"context" is empty/],
  ])('%o is refused', async (record, message) => {
    const data = await write('wrong.jsonl', jsonl([record]))
    const { err } = await weft('eval', at('finder'), '--data', data)
    expect(err).toMatch(/^MalformedRecord: .*wrong\.jsonl:1: /)
    expect(err).toMatch(message)
  })
})

it('two texts are classified together', async () => {
  const pairs = reviews.flatMap(({ text, label }) => [
    { sentence1: text, sentence2: 'a fine song', label: label === 'good' ? 'same' : 'other' },
    { sentence1: text, sentence2: 'a dull song', label: label === 'bad' ? 'same' : 'other' },
  ])
  const data = ['--data', await write('pairs.jsonl', jsonl(pairs))]
  await writeTinyBert(at('pairs'), 'BertForSequenceClassification', { num_labels: 2 })
  const argv = ['--model', at('pairs'), ...data, ...quick, '--batch', '8', '--steps', '200']
  await succeeded('train', ...argv, '--out', at('paired'))
  expect((await evaluated(at('paired'), ...data)).accuracy).toBeGreaterThan(0.9)
})
