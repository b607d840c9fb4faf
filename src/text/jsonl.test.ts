import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { epochOrder, split, subset } from '../data/dataset.js'
import { type Dataset, jsonl } from './dataset.js'
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
/** Sizes of the reads of a blob from now on. */
const readsOf = (blob: Blob): number[] => {
  const read: number[] = []
  const slice = blob.slice.bind(blob)
  blob.slice = (from, to) => {
    const part = slice(from, to)
    read.push(part.size)
    return part
  }
  return read
}
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
    const read = readsOf(blob)
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

  test('a file that was gone through once is known: its size, its parts and picks read no more of it', async () => {
    const lines = Array.from({ length: 2000 }, (_, i) => line(`${i} ${'x'.repeat(1000)}`))
    const blob = new Blob([lines.join('\n')])
    const read = readsOf(blob)
    const dataset = jsonl(blob)
    expect(await all(dataset)).toHaveLength(2000)
    expect(read.reduce((a, b) => a + b)).toBe(blob.size)
    read.length = 0
    const { train, evaluation } = await split(dataset, 0.1)
    expect([await dataset.size(), await train.size(), await evaluation.size()]).toEqual([2000, 1800, 200])
    expect(read).toEqual([])
    const order = epochOrder(1800, 1, 0)
    expect(await all(train.pick(order))).toHaveLength(1800)
    expect(read).toHaveLength(1800)
    expect(read.reduce((a, b) => a + b)).toBeLessThan(blob.size)
  })

  test('numbers its records, those that are left out included', async () => {
    const dataset = jsonl(await fileOf(`${line('a')}\n3\n\n${line('b')}\n`), { skipMalformed: true })
    expect(await all(dataset.entries())).toEqual([
      [0, { text: 'a' }],
      [2, { text: 'b' }],
    ])
    expect(await all(subset(dataset, [2, 1]).entries())).toEqual([[0, { text: 'b' }]])
    expect(dataset.skipped).toBe(1)
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
