import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { toNumbers } from '../tensor/value.js'
import { type Batch, batches, packed, padded } from './batches.js'
import { trainBytePairs } from './bpe.js'
import { type Dataset, epochOrder, fromRecords, split } from './dataset.js'
import { choiceExamples, examples, ignored, toExample } from './examples.js'
import { jsonl } from './jsonl.js'
import { type DataRecord, toRecord } from './records.js'
import { tokenizerFromJson } from './tokenizer.js'
import { maxOf } from '../tensor/numbers.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'weft-jsonl-'))
})
afterAll(() => rm(folder, { recursive: true }))

let files = 0
const fileOf = async (content: string | Uint8Array): Promise<string> => {
  const path = join(folder, `${files++}.jsonl`)
  await writeFile(path, content)
  return path
}

const all = async <T>(items: AsyncIterable<T>): Promise<T[]> => {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}
const texts = async (d: Dataset): Promise<string[]> => (await all(d)).map((r) => (r as { text: string }).text)
const line = (text: string): string => JSON.stringify({ text })

describe('jsonl', () => {
  test('reads LF and CRLF, blank lines, a byte order mark and a last line without an end', async () => {
    const path = await fileOf(`\uFEFF${line('one')}\r\n\n  \r\n${line('två 🙂')}\n${line('three')}`)
    const dataset = jsonl(path)
    expect(await texts(dataset)).toEqual(['one', 'två 🙂', 'three'])
    expect(await texts(dataset)).toEqual(['one', 'två 🙂', 'three'])
    expect(await dataset.size()).toBe(3)
    expect(await all(dataset.pick([2, 0]))).toEqual([{ text: 'three' }, { text: 'one' }])
    await expect(all(dataset.pick([3]))).rejects.toThrow('no record 3 of 3')
  })

  test('gives every line of a file longer than its chunks, from a path and from a Blob', async () => {
    const lines = Array.from({ length: 300 }, (_, i) => `${i} ${'x'.repeat((i * 7919) % 20000)}`)
    const content = lines.map(line).join('\n')
    expect(content.length).toBeGreaterThan(2 ** 21)
    for (const source of [await fileOf(content), new Blob([content])]) {
      const dataset = jsonl(source)
      expect(await texts(dataset)).toEqual(lines)
      expect(await all(dataset.pick([299, 150]))).toEqual([{ text: lines[299] }, { text: lines[150] }])
    }
  })

  test('reads no more than it needs: a chunk for the first record, the line alone for a picked one', async () => {
    const blob = new Blob(Array.from({ length: 4000 }, (_, i) => `${line(`${i} ${'x'.repeat(2000)}`)}\n`))
    const read: number[] = []
    const slice = blob.slice.bind(blob)
    blob.slice = (from, to) => {
      const part = slice(from, to)
      read.push(part.size)
      return part
    }
    const dataset = jsonl(blob)
    for await (const record of dataset) {
      expect(record).toMatchObject({ text: expect.stringMatching(/^0 x/) as string })
      break
    }
    expect(read).toEqual([2 ** 20])
    await dataset.size()
    expect(maxOf(read)).toBe(2 ** 20)
    read.length = 0
    await all(dataset.pick([3999, 17]))
    expect(maxOf(read)).toBeLessThan(2100)
  })

  test('reads the four plain kinds of record, and answers as index, letter or choice', async () => {
    const choices = ['red', 'blue']
    const records = [
      { text: 'a' },
      { prompt: 'p', completion: 'c', id: 7 },
      { messages: [{ role: 'user', content: 'hi' }] },
      ...[1, 'B', 'blue', '1'].map((answer) => ({ question: 'q', choices, answer })),
    ]
    const right = { prompt: 'q', choices, answer: 1 }
    expect(await all(jsonl(await fileOf(records.map((r) => JSON.stringify(r)).join('\n'))))).toEqual([
      { text: 'a' },
      { prompt: 'p', completion: 'c' },
      { messages: [{ role: 'user', content: 'hi' }] },
      right,
      right,
      right,
      right,
    ])
  })

  test.each([
    ['{"text": ', 'not valid JSON'],
    ['[1]', 'expected an object, found a list'],
    ['{"txt": "a"}', 'the fields txt; expected "text"'],
    ['{"text": 3}', '"text" must be a string and is a number'],
    ['{"prompt": "a", "completion": null}', 'it has the fields prompt; expected'],
    ['{"prompt": "a", "completion": 1}', '"completion" must be a string and is a number'],
    ['{"text": null}', 'it has no fields; expected'],
    ['{"conversations": [{"from": "narrator", "value": "a"}]}', '"conversations[0].from" is "narrator"'],
    ['{"conversations": [{"from": "gpt"}]}', '"conversations[0].value" must be a string'],
    ['{"conversations": "a"}', '"conversations" must be a list and is a string'],
    ['{"instruction": "a", "input": "b"}', 'the fields instruction, input; expected'],
    ['{"instruction": "a", "output": 1}', '"output" must be a string and is a number'],
    ['{"instruction": "a", "output": "b", "history": [["c", "d"]]}', '"history" beside "instruction"'],
    ['{"messages": [{"role": "user", "content": "a"}], "tools": "{"}', '"tools" is a string'],
    ['{"messages": []}', '"messages" is empty'],
    ['{"messages": [{"role": "user"}]}', '"messages[0]" has no "content"'],
    ['{"messages": [{"content": "a"}]}', '"messages[0].role" must be a string'],
    ['{"question": "a", "choices": ["x"], "answer": 0}', 'expected at least 2'],
    ['{"question": "a", "choices": ["x", "y"], "answer": "C"}', '"answer" is "C"'],
    ['{"question": "a", "choices": ["x", "y"], "answer": 2}', 'expected 0 to 1'],
    [`{"text": "${'x'.repeat(200)}"}`, 'longer than 100 bytes'],
  ])('the malformed line %s is reported with file and line, or skipped and counted', async (bad, cause) => {
    const path = await fileOf(`${line('one')}\n\n${bad}\n${line('two')}\n`)
    const strict = jsonl(path, { maxLineBytes: 100 })
    for (const read of [() => all(strict), () => all(strict.pick([0, 1]))]) {
      await expect(read()).rejects.toMatchObject({ code: 'MalformedRecord', exitCode: 3 })
      await expect(read()).rejects.toThrow(`${path}:3: `)
      await expect(read()).rejects.toThrow(cause)
    }
    const lenient = jsonl(path, { maxLineBytes: 100, skipMalformed: true })
    expect(await texts(lenient)).toEqual(['one', 'two'])
    expect(await all(lenient.pick([2, 1, 0]))).toHaveLength(2)
    expect(lenient.skipped).toBe(1)
  })

  test('bytes that are not UTF-8 are malformed', async () => {
    const path = await fileOf(Uint8Array.of(0x7b, 0xff, 0x7d))
    await expect(all(jsonl(path))).rejects.toThrow(`${path}:1: not valid UTF-8`)
  })

  test('any bytes give records or say which line is malformed, in both ways of reading', async () => {
    const piece = fc.oneof(
      fc.constantFrom(
        '\n',
        '\r\n',
        '{',
        '}',
        '"text"',
        ':',
        '"a"',
        '{"text":"ok"}',
        ' ',
        '[]',
        'null',
        '\uFEFF',
      ),
      fc.string({ maxLength: 4 }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 20 }), async (pieces) => {
        const content = pieces.join('')
        const dataset = jsonl(new Blob([content]), { skipMalformed: true })
        const inOrder = await all(dataset)
        const size = await dataset.size()
        expect(await all(dataset.pick(Array.from({ length: size }, (_, i) => i)))).toEqual(inOrder)
        expect(inOrder.length + dataset.skipped).toBe(size)
        const blank = /^[ \t\r]*$/
        expect(size).toBe(
          content
            .replace(/^\uFEFF/, '')
            .split('\n')
            .filter((l) => !blank.test(l)).length,
        )
        const strict = await all(jsonl(new Blob([content]))).catch((error: unknown) => error)
        if (dataset.skipped > 0) expect(strict).toMatchObject({ code: 'MalformedRecord' })
        else expect(strict).toEqual(inOrder)
      }),
      { numRuns: 300 },
    )
  })

  test('a missing file is refused by name', async () => {
    await expect(all(jsonl(join(folder, 'absent')))).rejects.toMatchObject({
      code: 'NoSuchFile',
      exitCode: 3,
    })
  })
})

const numbered = (n: number): Dataset =>
  fromRecords(Array.from({ length: n }, (_, i) => ({ text: `record ${i}` })))

test('records in memory are checked as lines are', async () => {
  await expect(all(fromRecords([{ text: 'a' }, { tex: 'b' } as unknown as DataRecord]))).rejects.toThrow(
    'records[1]: ',
  )
})

test('a split shares no record, loses none, and depends on the seed alone', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 2, max: 60 }),
      fc.double({ min: 0.01, max: 0.99, noNaN: true }),
      async (n, share) => {
        const { train, evaluation } = await split(numbered(n), share, 5)
        const parts = [...(await texts(train)), ...(await texts(evaluation))]
        expect(new Set(parts).size).toBe(n)
        expect(await evaluation.size()).toBe(Math.min(n - 1, Math.max(1, Math.round(share * n))))
        expect(await texts((await split(numbered(n), share, 5)).train)).toEqual(await texts(train))
      },
    ),
    { numRuns: 30 },
  )
  await expect(split(numbered(5), 1)).rejects.toMatchObject({ exitCode: 2 })
})

test('an epoch is a permutation that seed and epoch choose', () => {
  const order = epochOrder(100, 1, 0)
  expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, i) => i))
  expect(epochOrder(100, 1, 0)).toEqual(order)
  expect(epochOrder(100, 1, 1)).not.toEqual(order)
  expect(epochOrder(100, 2, 0)).not.toEqual(order)
})

const tokenizer = tokenizerFromJson(
  trainBytePairs(['record record record the red blue blue'], {
    vocabularySize: 280,
    specialTokens: ['<pad>', '</s>'],
  }),
  { eos_token: '</s>', pad_token: '<pad>' },
)
const plain = (text: string): number[] => tokenizer.encode(text)
const eos = 1

describe('examples', () => {
  const countedText = (record: DataRecord): string => {
    const { ids, labels } = toExample(record, tokenizer)
    labels.forEach((label, i) => expect([ids[i], ignored]).toContain(label))
    return tokenizer.decode(
      labels.filter((l) => l !== ignored),
      { skipSpecial: false },
    )
  }

  test('of text count whole, of completions and choices what follows the prompt, each with eos', () => {
    expect(countedText({ text: 'the red' })).toBe('the red</s>')
    expect(countedText({ prompt: 'the red', completion: ' record' })).toBe(' record</s>')
    expect(countedText({ prompt: 'the', choices: ['red', 'blue'], answer: 1 })).toBe(' blue</s>')
    expect(toExample({ prompt: 'the red', completion: ' record' }, tokenizer).ids).toEqual([
      ...plain('the red record'),
      eos,
    ])
  })

  test('a token that straddles prompt and completion counts', () => {
    expect(plain(' record')).toHaveLength(1)
    expect(countedText({ prompt: ' rec', completion: 'ord' })).toBe(' record</s>')
  })

  test('have the ids of the whole text, and count nothing that the prompt holds alone before it', () => {
    const text = fc.string({ unit: fc.constantFrom('r', 'e', 'c', 'o', 'd', ' ', 'b', '.'), maxLength: 12 })
    fc.assert(
      fc.property(text, text, (prompt, completion) => {
        const { ids, labels } = toExample({ prompt, completion }, tokenizer)
        expect(ids).toEqual([...plain(prompt + completion), eos])
        const first = labels.findIndex((l) => l !== ignored)
        expect(labels.slice(first)).toEqual(ids.slice(first))
        expect(prompt.startsWith(tokenizer.decode(ids.slice(0, first)))).toBe(true)
        if (prompt.endsWith(' ') || completion.startsWith(' ')) return
        const word = /[^ ]*$/.exec(prompt)?.[0] ?? ''
        expect(prompt.length - tokenizer.decode(ids.slice(0, first)).length).toBeLessThanOrEqual(
          word.length + 1,
        )
      }),
    )
  })

  test('of a choice record, one a choice, count the choices', () => {
    const made = choiceExamples({ prompt: 'the', choices: ['red', 'blue'], answer: 1 }, tokenizer)
    expect(made.map((e) => tokenizer.decode(e.labels.filter((l) => l !== ignored)))).toEqual([
      ' red',
      ' blue',
    ])
  })

  test('are cut to the length, and left out when nothing counts any more; both are counted', async () => {
    const records: DataRecord[] = [
      { prompt: 'x'.repeat(50), completion: 'y' },
      { text: 'z'.repeat(50) },
      { text: 'a' },
    ]
    const made = examples(fromRecords(records), tokenizer, { length: 10 })
    expect((await all(made)).map((e) => e.ids.length)).toEqual([10, 2])
    expect(made).toMatchObject({ truncated: 2, dropped: 1 })
  })
})

const rows = ({ ids }: Batch): number[][] => {
  const numbers = Array.from(toNumbers(ids))
  const [, time] = ids.shape
  return ids.shape[0] === 0
    ? []
    : Array.from({ length: ids.shape[0] }, (_, i) => numbers.slice(i * time, (i + 1) * time))
}

describe('batches', () => {
  const source = fromRecords([{ text: 'the' }, { text: 'the red blue record' }, { text: 'red' }])
  const made = (): AsyncIterable<{ ids: number[]; labels: number[] }> => examples(source, tokenizer)

  test('padded: one example a row, padded on the right to a multiple and masked', async () => {
    const [first, second] = await all(padded(made(), { batch: 2, length: 64, multiple: 8, pad: 0 }))
    const longest = maxOf((await all(made())).map((e) => e.ids.length))
    const time = Math.ceil(longest / 8) * 8
    expect(first.ids).toMatchObject({ shape: [2, time], dtype: 'int64' })
    const short = [...plain('the'), eos]
    const padding = time - short.length
    expect(rows(first)[0]).toEqual([...short, ...Array<number>(padding).fill(0)])
    expect(Array.from(toNumbers(first.attentionMask).slice(0, time))).toEqual(
      short.map(() => 1).concat(Array<number>(padding).fill(0)),
    )
    expect(Array.from(toNumbers(first.labels).slice(0, time))).toEqual([
      ...short,
      ...Array<number>(padding).fill(ignored),
    ])
    expect(second.ids.shape[0]).toBe(1)
    expect(
      await all(padded(made(), { batch: 2, length: 64, pad: 0, dropLast: true, dtype: 'int32' })),
    ).toHaveLength(1)
    await expect(all(padded(made(), { batch: 2, length: 3, pad: 0 }))).rejects.toThrow('at most 3')
  })

  test('records that name their tasks give them to their rows, unless rows are packed', async () => {
    const tasks = fromRecords([{ text: 'the', task: 2 }, { text: 'red' }, { text: 'blue' }])
    const [first, second] = await all(batches(tasks, tokenizer, { batch: 2, length: 64 }))
    expect(first.taskIds).toMatchObject({ shape: [2], dtype: 'int32' })
    expect([...first.taskIds!.data]).toEqual([2, -1])
    expect(second).not.toHaveProperty('taskIds')
    const [row] = await all(batches(tasks, tokenizer, { batch: 2, length: 4, packing: true }))
    expect(row).not.toHaveProperty('taskIds')
    // A task that is no number is another program's word.
    expect(toRecord({ text: 'the', task: 'copy' }, 'line 1')).toEqual({ text: 'the' })
  })

  test('packed: documents end to end with eos between them, in full rows', async () => {
    const whole = (await all(made())).flatMap((e) => e.ids)
    const [batch] = await all(packed(made(), { batch: 100, length: 4, pad: 0 }))
    const flat = rows(batch).flat()
    const padding = flat.length - whole.length
    expect(padding).toBeLessThan(4)
    expect(flat).toEqual([...whole, ...Array<number>(padding).fill(0)])
    expect(toNumbers(batch.attentionMask).reduce((a, b) => a + b, 0)).toBe(whole.length)
  })

  test.each([{ packing: false }, { packing: true }])(
    '%o: starting at k gives the batches from k on, over epochs',
    async (mode) => {
      const dataset = numbered(23)
      const options = { ...mode, batch: 4, length: 8, epochs: 3, seed: 'order' }
      const from = async (startAt: number): Promise<number[][][]> =>
        (await all(batches(dataset, tokenizer, { ...options, startAt }))).map(rows)
      const whole = await from(0)
      expect(whole.length).toBeGreaterThan(11)
      for (const k of [1, 3, 5, 8, 11, whole.length, whole.length + 9])
        expect(await from(k)).toEqual(whole.slice(k))
    },
  )

  test('every record comes once an epoch, in another order each', async () => {
    const seen = (await all(batches(numbered(12), tokenizer, { batch: 6, length: 16, epochs: 2, seed: 3 })))
      .flatMap(rows)
      .map((ids) => tokenizer.decode(ids))
    const [first, second] = [seen.slice(0, 12), seen.slice(12)]
    expect(first).not.toEqual(second)
    expect([...first].sort()).toEqual([...second].sort())
    expect(new Set(first).size).toBe(12)
  })

  test('a dataset with nothing to learn from is refused instead of being read for ever', async () => {
    const endless = { batch: 2, length: 8, epochs: Infinity }
    await expect(all(batches(fromRecords([]), tokenizer, endless))).rejects.toMatchObject({
      code: 'EmptyDataset',
    })
    const hidden = fromRecords([{ prompt: 'x'.repeat(99), completion: 'y' }])
    await expect(all(batches(hidden, tokenizer, endless))).rejects.toThrow(
      '1 records without a token that counts',
    )
  })
})
