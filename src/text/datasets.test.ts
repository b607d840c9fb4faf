import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { toNumbers } from '../tensor/value.js'
import { type Batch, batches, packed, padded } from './batches.js'
import { trainBytePairs } from './bpe.js'
import { epochOrder, split } from '../data/dataset.js'
import { type Dataset, fromRecords } from './dataset.js'
import { choiceExamples, examples, ignored, toExample } from './examples.js'
import { type DataRecord, toRecord } from './records.js'
import { tokenizerFromJson } from './tokenizer.js'
import { maxOf } from '../tensor/numbers.js'

const all = async <T>(items: AsyncIterable<T>): Promise<T[]> => {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}
const texts = async (d: Dataset): Promise<string[]> => (await all(d)).map((r) => (r as { text: string }).text)

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
