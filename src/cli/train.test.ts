import { existsSync, readFileSync } from 'node:fs'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { weft, weftWith } from '../../test/weft.js'
import { parseConfig } from './config.js'
import type { TrainingResult } from './training.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let base: string
let data: string
const at = (name: string): string => join(scratch.path, name)
const json = <T>(file: string): T => JSON.parse(readFileSync(file, 'utf8')) as T

beforeAll(async () => {
  scratch = await scratchFolder()
  base = at('base')
  data = at('data.jsonl')
  await writeTinyLlama(base)
  await writeFile(data, sentences.map((text) => JSON.stringify({ text })).join('\n'))
})
afterAll(() => scratch.remove())

const small = ['--batch', '4', '--length', '24', '--steps', '4']

describe('weft train', () => {
  it('fine-tunes a model into a folder that generates, with run, metrics and options beside it', async () => {
    const out = at('tuned')
    const argv = ['train', '--model', base, '--data', data, '--eval-split', '0.2', '--lr', '1e-2', ...small]
    const { code, out: printed, err } = await weft(...argv, '--out', out, '--json')
    expect(err.split('\n').filter((line) => line.includes('"error"'))).toEqual([])
    expect(code).toBe(0)
    const result = JSON.parse(printed) as TrainingResult
    expect(result).toMatchObject({ folder: out, outcome: 'finished', steps: 4 })
    expect(result.evaluation!.perplexity).toBeCloseTo(Math.exp(result.evaluation!.loss))
    expect(json(join(out, 'run.json'))).toMatchObject({ command: 'train', status: 'finished', seed: 0 })
    const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8').trim().split('\n')
    expect(lines.filter((line) => line.includes('learningRate'))).toHaveLength(4)
    const generated = await weft('generate', out, '--prompt', 'The cat', '--max-tokens', '3')
    expect(generated.code).toBe(0)
  })

  it('the options that it saves make the same run again', async () => {
    const [first, second] = [at('first'), at('second')]
    await weft('train', '--model', base, '--data', data, '--seed', '3', ...small, '--out', first)
    const again = await weft('train', join(first, 'weft.yaml'), '--out', second)
    expect(again.code).toBe(0)
    const weights = (folder: string): Buffer => readFileSync(join(folder, 'model.safetensors'))
    expect(weights(second)).toEqual(weights(first))
  })

  it('makes a new model with a tokenizer from a config file; a flag wins over it', async () => {
    const config = at('new.yaml')
    await writeFile(
      config,
      `architecture: llama
modelConfig: { hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 24 }
vocabulary: 280
data: ${data}
batch: 4
steps: 9
learningRate: 1e-3
`,
    )
    const { code } = await weft('train', config, '--out', at('new'), '--steps', '2')
    expect(code).toBe(0)
    expect(json(join(at('new'), 'config.json'))).toMatchObject({ model_type: 'llama', hidden_size: 16 })
    const saved = parseConfig(readFileSync(join(at('new'), 'weft.yaml'), 'utf8'), 'weft.yaml').data
    expect(saved).toMatchObject({ steps: 2, learningRate: 1e-3 })
    expect(saved).not.toHaveProperty('out')
    expect((await weft('generate', at('new'), '--prompt', 'The', '-n', '2')).code).toBe(0)
  })

  it('without --out writes a fresh folder under WEFT_HOME', async () => {
    const argv = ['train', '--model', base, '--data', data, ...small]
    const { code, out } = await weftWith({ WEFT_HOME: at('home') }, argv)
    expect(code).toBe(0)
    const [folder] = await readdir(at('home'))
    expect(folder).toMatch(/-train-base$/)
    expect(out).toContain(folder)
  })

  it('--dry-run says what would be done and writes nothing', async () => {
    const argv = ['train', '--model', base, '--data', data, '--out', at('dry'), '--dry-run']
    const { code, out } = await weft(...argv)
    expect(out).toMatch(/Would train [\d,]+ numbers on 15 records/)
    expect(out).toMatch(/Memory: [\d.]+ [kMG]B at most, .*there are [\d.]+ [kMGT]B/)
    expect(out).toMatch(/A step takes about [\d.e-]+ s/)
    expect(code).toBe(0)
    expect(existsSync(at('dry'))).toBe(false)
  })

  it('refuses with code 4 what needs more memory than there is, and leaves nothing', async () => {
    const argv = ['--data', data, '--out', at('large'), '--memory']
    for (const memory of ['1KB', '20MB']) {
      const { code, err } = await weft('train', '--model', base, ...argv, memory)
      expect(code).toBe(4)
      expect(err).toMatch(/training would take [\d.]+ [kMG]B; there are/)
      expect(existsSync(at('large'))).toBe(false)
    }
    const adapted = await weft('adapt', 'lora', base, ...argv, '20MB')
    expect([adapted.code, existsSync(at('large'))]).toEqual([4, false])
    expect((await weft('train', '--model', base, ...argv, '20MB', '--dry-run')).code).toBe(0)
  })

  it("AdamW's betas, epsilon and decay are options, and each changes what is learned", async () => {
    const trained = async (name: string, ...more: string[]): Promise<Buffer> => {
      const argv = ['--data', data, '--steps', '3', '--batch', '4', '--out', at(name), ...more]
      expect((await weft('train', '--model', base, ...argv)).code).toBe(0)
      return readFileSync(join(at(name), 'model.safetensors'))
    }
    const usual = await trained('usual')
    expect(
      await trained('same', '--betas', '0.9,0.999', '--epsilon', '1e-8', '--weight-decay', '0.01'),
    ).toEqual(usual)
    const changes = [
      ['--betas', '0.8,0.95'],
      ['--epsilon', '0.1'],
      ['--weight-decay', '0.5'],
      ['--epsilon', '1e-4', '--epsilon-before-correction'],
    ]
    for (const [i, flags] of changes.entries())
      expect(await trained(`changed-${i}`, ...flags)).not.toEqual(usual)
  })
})

const wrong: [string, string[], number, RegExp][] = [
  ['no data file', ['--data', 'absent.jsonl'], 3, /^NoSuchFile: absent\.jsonl/],
  ['a malformed line', ['--data', 'BAD'], 3, /^MalformedRecord: .*bad\.jsonl:2: /],
  ['an empty file', ['--data', 'EMPTY'], 3, /^EmptyDataset: .*empty\.jsonl/],
  ['a folder without data', ['--data', 'FOLDER'], 2, /^WrongTask: .*a folder without files of rows/],
  ['data for another task', ['--task', 'masked'], 2, /^WrongTask: .*a model for the task 'causal', not for/],
  [
    'data without the labels that a new head needs',
    ['--task', 'classify'],
    3,
    /^MalformedRecord: .*:1: there is no column "label"/,
  ],
  ['a column that is not there', ['--text-column', 'txt'], 3, /^NoSuchColumn: .*:1: .*"txt"\s+Nearest: text/],
  [
    'a dataset that was not fetched',
    ['--data', 'org/set'],
    3,
    /^NoSuchFile: [\s\S]*weft pull --dataset org\/set/,
  ],
  ['a batch of none', ['--batch', '0'], 2, /^BadValue: --batch: .*found 0/],
  ['one beta', ['--betas', '0.9'], 2, /^BadValue: --betas/],
  ['a beta of one', ['--betas', '0.9,1'], 2, /^BadValue: --betas/],
  ['an epsilon of none', ['--epsilon', '0'], 2, /^BadValue: --epsilon/],
  ['betas of sgd', ['--optimizer', 'sgd', '--betas', '0.9,0.99'], 2, /--betas/],
  ['an unknown optimiser', ['--optimizer', 'adamm'], 2, /^BadValue: --optimizer: expected one of adamw, sgd/],
  ['an unknown schedule', ['--schedule', 'cosine'], 2, /^BadValue: --schedule: expected one of/],
  ['a share of the data beyond all', ['--eval-split', '1.5'], 2, /^BadValue: --eval-split/],
  ['two ways to evaluate', ['--eval-split', '0.5', '--eval-data', 'DATA'], 2, /^BadUsage: .*exclude/],
  ['patience without evaluation', ['--patience', '2'], 2, /^UnwantedOption: --patience: .*--eval-split/s],
  ['rows beyond the positions', ['--length', '1000'], 2, /^TooLong: /],
  ['an unknown flag', ['--learning-rat', '1'], 2, /^UnknownFlag: .*\n {2}Nearest: --learning-rate/],
  ['resuming nothing in particular', ['--resume'], 2, /^BadUsage: --resume/],
]

describe('weft train refuses', () => {
  beforeAll(async () => {
    await writeFile(at('bad.jsonl'), '{"text": "fine"}\n{"text": 1}\n')
    await writeFile(at('empty.jsonl'), '\n')
  })

  it.each(wrong)('%s, and writes nothing', async (_, more, exitCode, message) => {
    const files: Record<string, string> = {
      BAD: at('bad.jsonl'),
      EMPTY: at('empty.jsonl'),
      DATA: data,
      FOLDER: base,
    }
    const given = more.map((word) => files[word] ?? word)
    const out = more.includes('--resume') ? [] : ['--out', at('refused')]
    const source = more.includes('--data') ? [] : ['--data', data]
    const { code, err } = await weft('train', '--model', base, '--steps', '1', ...source, ...given, ...out)
    expect(err).toMatch(message)
    expect(code).toBe(exitCode)
    expect(existsSync(at('refused'))).toBe(false)
  })

  it('neither a model nor an architecture, or both', async () => {
    for (const argv of [[], ['--model', base, '--architecture', 'llama']])
      expect(await weft('train', '--data', data, ...argv)).toMatchObject({ code: 2, out: '' })
  })

  it('a new model that no memory holds', async () => {
    const sizes = 'hidden_size=8000000,num_hidden_layers=2,num_attention_heads=4,intermediate_size=128'
    const argv = ['--architecture', 'llama', '--data', data, '--model-config', sizes]
    const { code, err } = await weft('train', ...argv, '--out', at('refused'))
    expect(err).toMatch(/^TooLarge: /)
    expect(code).toBe(4)
    expect(existsSync(at('refused'))).toBe(false)
  })

  it('a new model without its sizes', async () => {
    const { code, err } = await weft('train', '--architecture', 'llama', '--data', data)
    expect(err).toMatch(/hidden_size is missing|num_hidden_layers is missing/)
    expect(code).toBe(2)
  })

  it('a folder that holds something, unless forced; and one inside a file', async () => {
    const argv = ['train', '--model', base, '--data', data, '--steps', '1', '--batch', '4']
    const used = at('used')
    expect((await weft(...argv, '--out', used)).code).toBe(0)
    const before = readFileSync(join(used, 'model.safetensors'))
    const again = await weft(...argv, '--out', used, '--seed', '9')
    expect(again.err).toMatch(/^FolderInUse: .*[\s\S]*--force[\s\S]*--resume/m)
    expect(again.code).toBe(2)
    expect(readFileSync(join(used, 'model.safetensors'))).toEqual(before)
    expect((await weft(...argv, '--out', used, '--seed', '9', '--force')).code).toBe(0)
    expect(readFileSync(join(used, 'model.safetensors'))).not.toEqual(before)
    const inside = await weft(...argv, '--out', join(data, 'x'))
    expect(inside.err).toMatch(/^BadOutput: .*is a file/)
    expect(inside.code).toBe(2)
  })
})
