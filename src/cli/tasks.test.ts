import { existsSync, readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { ByteWriter, parquetWrite } from 'hyparquet-writer'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder } from '../../test/tiny.js'
import {
  pngOf,
  reviews,
  writeTinyBert,
  writeTinyCausal,
  writeTinyClip,
  writeTinyT5,
  writeTinyVit,
} from '../../test/tiny-tasks.js'
import { weft } from '../../test/weft.js'
import type { EvaluationReport } from './eval.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (...names: string[]): string => join(scratch.path, ...names)
const write = async (name: string, content: string | Uint8Array): Promise<string> => {
  await mkdir(join(at(name), '..'), { recursive: true })
  await writeFile(at(name), content)
  return at(name)
}
const json = <T>(file: string): T => JSON.parse(readFileSync(file, 'utf8')) as T

beforeAll(async () => {
  scratch = await scratchFolder()
})
afterAll(() => scratch.remove())

const quick = ['--batch', '4', '--lr', '3e-3', '--schedule', 'constant']

const succeeded = async (...argv: string[]): Promise<string> => {
  const { code, out, err } = await weft(...argv)
  expect(code, err).toBe(0)
  return out
}
const evaluated = async (...argv: string[]): Promise<EvaluationReport> =>
  JSON.parse(await succeeded('eval', ...argv, '--json')) as EvaluationReport

const csv = `review,stars\n${reviews.map(({ text, label }) => `"${text}",${label}`).join('\n')}\n`
const columns = ['--text-column', 'review', '--label-column', 'stars']

const parquet = (columnData: Parameters<typeof parquetWrite>[0]['columnData']): Uint8Array => {
  const writer = new ByteWriter()
  parquetWrite({ writer, columnData })
  return new Uint8Array(writer.getBuffer())
}
const pairs = parquet([
  { name: 'prompt', data: reviews.map(({ text }) => text), type: 'STRING' },
  { name: 'completion', data: reviews.map(({ label }) => label), type: 'STRING' },
])

const writePhotos = async (folder: string): Promise<void> => {
  for (let i = 0; i < 6; i++) {
    await write(`${folder}/red/${i}.png`, pngOf(220, 30, 30, i))
    await write(`${folder}/blue/${i}.png`, pngOf(30, 30, 220, i))
  }
}

describe('a model of every task is trained on the files that people have', () => {
  it('RoBERTa on a CSV, whose labels become the names of its classes', async () => {
    await writeTinyBert(at('roberta'), 'RobertaForSequenceClassification', { num_labels: 2 })
    const data = await write('reviews.csv', csv)
    const out = at('sentiment')
    await succeeded(
      'train',
      '--model',
      at('roberta'),
      '--data',
      data,
      ...columns,
      ...quick,
      '--steps',
      '40',
      '--out',
      out,
    )
    expect(json(join(out, 'config.json'))).toMatchObject({ id2label: { 0: 'bad', 1: 'good' } })
    const before = await evaluated(at('roberta'), '--data', data, ...columns)
    const after = await evaluated(out, '--data', data, ...columns)
    expect(after.accuracy).toBe(1)
    expect(after.f1).toBe(1)
    expect(after.loss).toBeLessThan(before.loss / 2)
    expect(after).not.toHaveProperty('perplexity')
    expect(await succeeded('eval', out, '--data', data, ...columns)).toMatch(
      /accuracy +100.0 %\nF1.* 100.0 %/,
    )
  })

  it('an adapter of a classifier, on a pattern of files, evaluated on labels by number', async () => {
    await writeTinyBert(at('numbers'), 'BertForSequenceClassification', { num_labels: 2 })
    const numbered = reviews.map(({ text, label }) => ({ text, label: Number(label === 'good') }))
    for (const [i, record] of numbered.entries()) await write(`parts/${i}.jsonl`, JSON.stringify(record))
    const data = at('parts', '*.jsonl')
    const argv = [
      '--data',
      data,
      '--modules-to-save',
      'classifier',
      ...quick,
      '--lr',
      '1e-2',
      '--steps',
      '90',
    ]
    await succeeded('adapt', 'lora', at('numbers'), ...argv, '--out', at('lora-numbers'))
    const { accuracy } = await evaluated(at('numbers'), '--adapter', at('lora-numbers'), '--data', data)
    expect(accuracy).toBe(1)
  })

  it('a classifier of images on a folder a class, and on a CSV of paths', async () => {
    await writeTinyVit(at('vit'), { id2label: { 0: 'blue', 1: 'red' } })
    await writePhotos('photos')
    const out = at('colours')
    await succeeded(
      'train',
      '--model',
      at('vit'),
      '--data',
      at('photos'),
      ...quick,
      '--steps',
      '30',
      '--out',
      out,
    )
    expect((await evaluated(out, '--data', at('photos'))).accuracy).toBe(1)
    const paths = ['red/0.png', 'blue/3.png'].map((path) => `photos/${path},${path.replace(/\/.*/, '')}`)
    const data = await write('photos.csv', `file,colour\n${paths.join('\n')}\n`)
    const renamed = ['--map', 'file=image', '--label-column', 'colour']
    expect(await evaluated(out, '--data', data, ...renamed)).toMatchObject({ accuracy: 1, labels: 2 })
  })

  it('a sequence-to-sequence model on Parquet, held-out data and early stopping included', async () => {
    await writeTinyT5(at('t5'))
    const data = await write('pairs.parquet', pairs)
    const out = at('answers')
    const argv = ['--data', data, '--eval-data', data, '--eval-every', '30', ...quick, '--steps', '90']
    const printed = await succeeded('train', '--model', at('t5'), ...argv, '--out', out)
    expect(printed).toMatch(/held-out loss .*exact match 1/)
    expect((await evaluated(out, '--data', data)).exactMatch).toBe(1)
  })

  it('a model of images and texts on pairs, which then finds each by the other', async () => {
    await writeTinyClip(at('clip'))
    const colours: Record<string, [number, number, number]> = {
      ...{ red: [220, 20, 20], green: [20, 220, 20], blue: [20, 20, 220], white: [250, 250, 250] },
    }
    for (const [name, rgb] of Object.entries(colours)) await write(`pairs/${name}.png`, pngOf(...rgb))
    const rows = Object.keys(colours).map((name) => `${name}.png,a ${name} thing`)
    await write('pairs/pairs.csv', `file,caption\n${rows.join('\n')}\n`)
    const argv = ['--data', at('pairs'), '--map', 'file=image', '--text-column', 'caption']
    const out = at('clip-tuned')
    await succeeded('train', '--model', at('clip'), ...argv, ...quick, '--steps', '60', '--out', out)
    const measured = await evaluated(out, ...argv)
    expect(measured).toMatchObject({ imageRecall: 1, textRecall: 1, textRecall5: 1 })
    expect(measured.loss).toBeLessThan((await evaluated(at('clip'), ...argv)).loss)
  })

  it('a masked language model on the column of a TSV', async () => {
    await writeTinyBert(at('mlm'), 'BertForMaskedLM')
    const data = await write(
      'reviews.tsv',
      `n\treview\n${reviews.map(({ text }, i) => `${i}\t${text}`).join('\n')}`,
    )
    const argv = ['--data', data, '--text-column', 'review', ...quick]
    await succeeded('train', '--model', at('mlm'), ...argv, '--epochs', '20', '--out', at('mlm-tuned'))
    const [before, after] = [
      await evaluated(at('mlm'), ...argv.slice(0, 4)),
      await evaluated(at('mlm-tuned'), ...argv.slice(0, 4)),
    ]
    expect(after.loss).toBeLessThan(before.loss)
    expect(after.perTokenAccuracy).toBeGreaterThan(0)
    expect(after.perplexity).toBeCloseTo(Math.exp(after.loss))
  })

  it('a language model with LoRA on Parquet, in packed rows, of as many steps as its tokens have', async () => {
    await writeTinyCausal(at('causal'))
    const data = await write(
      'text.parquet',
      parquet([{ name: 'body', data: reviews.map(({ text }) => text), type: 'STRING' }]),
    )
    const argv = [
      '--data',
      data,
      '--map',
      'body=text',
      '--packing',
      '--length',
      '8',
      '--batch',
      '2',
      '--epochs',
      '2',
    ]
    const out = at('lora')
    const result = JSON.parse(
      await succeeded('adapt', 'lora', at('causal'), ...argv, '--lr', '1e-2', '--out', out, '--json'),
    ) as { steps: number }
    expect(result.steps).toBeGreaterThan(4)
    const { loss } = await evaluated(at('causal'), '--data', data, '--map', 'body=text')
    const adapted = await evaluated(at('causal'), '--adapter', out, '--data', data, '--map', 'body=text')
    expect(adapted.loss).toBeLessThan(loss)
  })
})

/** A PNG whose header says that it is 100,000 pixels high and wide. */
const bomb = Uint8Array.from(pngOf(1, 2, 3))
for (const offset of [16, 20]) new DataView(bomb.buffer).setUint32(offset, 100_000)

const text = (records: readonly object[]): string =>
  records.map((record) => JSON.stringify(record)).join('\n')

describe('bad input is one error with file and row, and nothing is written', () => {
  beforeAll(async () => {
    await writeTinyBert(at('three'), 'BertForSequenceClassification', {
      id2label: { 0: 'bad', 1: 'fair', 2: 'good' },
    })
    await writeTinyVit(at('two'), { id2label: { 0: 'blue', 1: 'red' } })
    await writeTinyT5(at('s2s'))
    await writePhotos('wrong')
    await write('wrong/red/7.png', 'no image')
    await writePhotos('cut')
    await write('cut/blue/9.png', pngOf(1, 2, 3).subarray(0, 60))
    await writePhotos('green')
    await write('green/green/0.png', pngOf(0, 200, 0))
    await write('cut.parquet', pairs.subarray(0, pairs.length - 20))
    await write('empty.csv', 'text,label\n')
    await write('empty.parquet', '')
    await write('reviews.csv', csv)
    await write(
      'beyond.jsonl',
      text([
        { text: 'a', label: 2 },
        { text: 'b', label: 3 },
      ]),
    )
    await write('unknown.csv', 'text,label\na,good\nb,goood\n')
    await write('typo.csv', 'text,lable\na,good\n')
    await write(
      'gap.jsonl',
      text([
        { text: 'a', label: 0 },
        { text: null, label: 1 },
      ]),
    )
    await write('half.csv', 'prompt,target\na,b\n')
    await write('wide.csv', Buffer.from('\ufefftext,label\na,good\n', 'utf16le'))
    await write('packed.csv', gzipSync('text,label\na,good\n'))
    await write('quote.csv', 'text,label\n"a,good\nb,bad\n')
    await write('list.jsonl', '[{"text": "a", "label": 0}]')
    await write('bomb/red/0.png', bomb)
    await write('paths.csv', 'image,label\nwrong/red/0.png,red\nabsent.png,red\n')
  })

  const cases: [string, string, string, string[], RegExp][] = [
    [
      'a column of another name',
      'three',
      'typo.csv',
      [],
      /^MalformedRecord: .*typo\.csv:2: .*"label"\s+Nearest: lable/,
    ],
    [
      'a named column that is not there',
      'three',
      'reviews.csv',
      ['--text-column', 'reviw'],
      /reviews\.csv:2: .*"reviw"\s+Nearest: review/,
    ],
    [
      'a mapped column that is not there',
      'three',
      'reviews.csv',
      ['--map', 'stras=label'],
      /"stras"\s+Nearest: stars/,
    ],
    [
      'a number beyond the classes',
      'three',
      'beyond.jsonl',
      [],
      /^BadLabel: .*beyond\.jsonl:2: label 3; the model has 3 classes/,
    ],
    [
      'a name that is no class',
      'three',
      'unknown.csv',
      [],
      /^BadLabel: .*unknown\.csv:3: label "goood".*\s+Nearest: good/,
    ],
    [
      'an empty cell',
      'three',
      'gap.jsonl',
      [],
      /^MalformedRecord: .*gap\.jsonl:2: the column "text" is empty/,
    ],
    ['a file of a header alone', 'three', 'empty.csv', [], /^EmptyDataset: .*empty\.csv/],
    ['an empty Parquet file', 's2s', 'empty.parquet', [], /^BrokenParquet: .*empty\.parquet/],
    [
      'a Parquet file that is cut off',
      's2s',
      'cut.parquet',
      [],
      /^BrokenParquet: .*cut\.parquet: it is cut off/,
    ],
    ['a target that is missing', 's2s', 'half.csv', [], /half\.csv:2: .*"completion"/],
    ['an image that is none', 'two', 'wrong', [], /^UnknownImage: .*wrong\/red\/7\.png/],
    ['an image that is cut off', 'two', 'cut', [], /^BrokenImage: .*cut\/blue\/9\.png: the file is cut off/],
    ['a class that the model has not', 'two', 'green', [], /^BadLabel: .*green\/0\.png: label "green"/],
    ['a path that leads nowhere', 'two', 'paths.csv', [], /^NoSuchFile: .*paths\.csv:3: .*absent\.png/],
    ['a folder of images for a model of text', 'three', 'wrong', [], /^WrongTask: .*without files of rows/],
    [
      'another task than the model has',
      'three',
      'reviews.csv',
      ['--task', 'image'],
      /^WrongTask: .*'classify', not for 'image'/,
    ],
    [
      'a text column of images',
      'two',
      'paths.csv',
      ['--text-column', 'image'],
      /^UnwantedOption: --text-column/,
    ],
    ['text in UTF-16', 'three', 'wide.csv', [], /^BadHeader: .*wide\.csv:1: not valid UTF-8/],
    ['a compressed file', 'three', 'packed.csv', [], /^BadHeader: .*packed\.csv:1: not valid UTF-8/],
    ['a quote that never ends', 'three', 'quote.csv', [], /quote\.csv:2: a quote is opened here/],
    ['a list in place of lines', 'three', 'list.jsonl', [], /list\.jsonl:1: expected an object of columns/],
    ['an image of more pixels than memory', 'two', 'bomb', [], /^BrokenImage: .*bomb\/red\/0\.png: 100000 x/],
    [
      'a field that the task has not',
      'three',
      'reviews.csv',
      ['--map', 'review=txt'],
      /^BadUsage: --map review=txt: .* no field "txt"\s+Nearest: text/,
    ],
    [
      'a column for two fields',
      'three',
      'reviews.csv',
      ['--text-column', 'stars', '--label-column', 'stars'],
      /^BadUsage: --label-column and --text-column: both name the column "stars"/,
    ],
    [
      'two columns for a field',
      'three',
      'reviews.csv',
      ['--map', 'review=text,stars=text'],
      /^BadUsage: --map stars=text and --map review=text: both say what "text" is/,
    ],
    ['windows of a classifier', 'three', 'reviews.csv', ['--overlap', '3'], /^UnwantedOption: --overlap/],
    ['tags of a classifier', 'three', 'reviews.csv', ['--every-token'], /^UnwantedOption: --every-token/],
    ['packed rows of a classifier', 'three', 'reviews.csv', ['--packing'], /^UnwantedOption: --packing/],
  ]

  it.each(cases)('%s', async (_, model, data, more, message) => {
    for (const argv of [
      ['train', '--model', at(model), '--steps', '1', '--out', at('refused')],
      ['adapt', 'lora', at(model), '--steps', '1', '--out', at('refused')],
      ['eval', at(model)],
    ]) {
      const { code, err, out } = await weft(...argv, '--data', at(data), ...more)
      expect(err).toMatch(message)
      expect(out).toBe('')
      expect([2, 3]).toContain(code)
      expect(existsSync(at('refused'))).toBe(false)
    }
  })

  it('classes without names, of which the data have not all', async () => {
    await writeTinyBert(at('unnamed'), 'BertForSequenceClassification', { num_labels: 3 })
    const { err } = await weft('eval', at('unnamed'), '--data', at('reviews.csv'), ...columns)
    expect(err).toMatch(/^UnnamedClasses: /)
  })
})
