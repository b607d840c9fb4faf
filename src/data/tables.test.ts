import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ByteWriter, parquetWrite } from 'hyparquet-writer'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { csvRows } from './csv.js'
import type { Dataset } from './dataset.js'
import { parquetRows } from './parquet.js'
import { malformed, type Row } from './row.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'weft-tables-'))
})
afterAll(() => rm(folder, { recursive: true }))

let files = 0
const fileOf = async (extension: string, content: string | Uint8Array): Promise<string> => {
  const path = join(folder, `${files++}.${extension}`)
  await writeFile(path, content)
  return path
}
const all = async <T>(items: AsyncIterable<T>): Promise<T[]> => {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}
const asRow = (row: unknown): Row => row as Row
const failing = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => Promise.reject(new Error('nothing was thrown')),
    (error: Error) => error,
  )

describe('CSV', () => {
  const text = '\uFEFFtext,label\r\n"a ""q"",\r\nmore",1\r\n\r\nünï,2\n5" screen,three\nlast,'
  const rows = [
    { text: 'a "q",\r\nmore', label: '1' },
    { text: 'ünï', label: '2' },
    { text: '5" screen', label: 'three' },
    { text: 'last', label: '' },
  ]

  it('gives rows in order and by number: quotes, line ends within them, blank lines, a byte order mark', async () => {
    const dataset = csvRows(await fileOf('csv', text), asRow)
    expect(await all(dataset)).toEqual(rows)
    expect(await all(dataset)).toEqual(rows)
    expect(await all(dataset.pick([3, 0, 2, 1]))).toEqual([rows[3], rows[0], rows[2], rows[1]])
    const unread = csvRows(await fileOf('csv', text), asRow)
    expect(await unread.size()).toBe(4)
    expect(await all(unread.pick([0]))).toEqual([rows[0]])
  })

  it('takes another delimiter', async () => {
    const dataset = csvRows(await fileOf('tsv', 'a\tb\n1,5\tx\n'), asRow, { delimiter: '\t' })
    expect(await all(dataset)).toEqual([{ a: '1,5', b: 'x' }])
  })

  it('gives every row of a file longer than its chunks', async () => {
    const lines = Array.from({ length: 300 }, (_, i) => `${i},"${'x\n'.repeat((i * 7919) % 9000)}"`)
    const dataset = csvRows(await fileOf('csv', `n,text\n${lines.join('\n')}\n`), asRow)
    expect((await all(dataset)).map(({ n }) => n)).toEqual(lines.map((_, i) => String(i)))
    const [picked] = await all(dataset.pick([299]))
    expect(picked.text).toHaveLength(2 * ((299 * 7919) % 9000))
  })

  it('names file and line of a row that does not fit its header, or leaves it out', async () => {
    const path = await fileOf('csv', 'a,b\n"1\n2",x\n\n3\n4,y\n')
    const error = await failing(all(csvRows(path, asRow)))
    expect(error.message).toContain(`${path}:5: it has 1 fields; the header names 2 columns`)
    const dataset = csvRows(path, asRow, { skipMalformed: true })
    expect((await all(dataset)).map(({ b }) => b)).toEqual(['x', 'y'])
    expect(dataset.skipped).toBe(1)
    expect((await all(dataset.pick([2, 1, 0]))).map(({ b }) => b)).toEqual(['y', 'x'])
  })

  it.each([
    ['a quote that nothing closes', 'a,b\nx,1\n"y,2\nz,3\n', ':3: a quote is opened here'],
    ['two columns of a name', 'a,b,a\n1,2,3\n', ':1: two columns are named "a"'],
    ['a column without a name', 'a,,b\n1,2,3\n', ':1: column 2 has no name'],
    ['a record beyond the limit', `a\n${'x'.repeat(200)}\n`, ':2: Max Record Size'],
  ])('refuses %s', async (_, content, message) => {
    const path = await fileOf('csv', content)
    expect((await failing(all(csvRows(path, asRow, { maxLineBytes: 100 })))).message).toContain(
      path + message,
    )
  })

  it('a file of a header, or of nothing, has no rows', async () => {
    expect(await all(csvRows(await fileOf('csv', 'a,b\n'), asRow))).toEqual([])
    expect(await all(csvRows(await fileOf('csv', ''), asRow))).toEqual([])
  })
})

interface Written {
  offsetIndex?: boolean
  lists?: boolean
  /** Rows in a row group, and bytes in a page. Default 1,000 and 4,000. */
  rowGroupSize?: number
  pageSize?: number
}

/** Parquet of `count` rows in row groups of 1,000, whose pages hold about 100 rows. */
const writeParquet = (count: number, options: Written = {}): Uint8Array<ArrayBuffer> => {
  const writer = new ByteWriter()
  const { offsetIndex = false, lists = false, rowGroupSize = 1000, pageSize = 4000 } = options
  const numbers = Array.from({ length: count }, (_, i) => i)
  parquetWrite({
    writer,
    rowGroupSize,
    pageSize,
    columnData: [
      {
        name: 'text',
        data: numbers.map((i) => `row ${i} ${'x'.repeat(i % 40)}`),
        type: 'STRING',
        offsetIndex,
      },
      { name: 'label', data: numbers.map(BigInt), type: 'INT64', nullable: true, offsetIndex },
      ...(lists ? [{ name: 'tokens', data: numbers.map((i) => [`${i}`, 'b']) as never, offsetIndex }] : []),
      { name: 'heavy', data: numbers.map((i) => String(i).repeat(50)), type: 'STRING', offsetIndex },
    ],
  })
  return new Uint8Array(writer.getBuffer()) as Uint8Array<ArrayBuffer>
}

/** Bytes read of a blob from now on. */
const watched = (blob: Blob): { bytes: number } => {
  const count = { bytes: 0 }
  const slice = blob.slice.bind(blob)
  blob.slice = (from, to) => {
    const part = slice(from, to)
    count.bytes += part.size
    return part
  }
  return count
}

describe('Parquet', () => {
  it.each<[string, Written]>([
    ['with an index of pages', { offsetIndex: true }],
    ['without one', {}],
    ['with lists, with an index', { lists: true, offsetIndex: true }],
    ['with lists, without one', { lists: true }],
  ])('gives rows in order and by number, %s', async (_, options) => {
    const dataset = parquetRows(new Blob([writeParquet(2500, options)]), asRow)
    expect(await dataset.size()).toBe(2500)
    const rows = await all(dataset)
    expect(rows.map(({ label }) => label)).toEqual(rows.map((_, i) => i))
    expect(rows[1041]).toMatchObject({ text: 'row 1041 x', label: 1041 })
    const numbers = [2499, 0, 999, 1000, 1041, 1040]
    expect(await all(dataset.pick(numbers))).toEqual(numbers.map((i) => rows[i]))
    if (options.lists) expect(rows[7].tokens).toEqual(['7', 'b'])
  })

  it('reads the pages of a row alone, of the columns that are wanted, whether or not the file has an index', async () => {
    for (const offsetIndex of [true, false]) {
      const bytes = writeParquet(30_000, { offsetIndex, rowGroupSize: 30_000, pageSize: 40_000 })
      const blob = new Blob([bytes])
      const dataset = parquetRows(blob, asRow, { columns: ['text', 'absent'] })
      await dataset.size()
      const count = watched(blob)
      expect(await all(dataset.pick([3210]))).toEqual([{ text: `row 3210 ${'x'.repeat(10)}` }])
      // The footer is read each time that it is opened.
      const footer = new DataView(bytes.buffer).getUint32(bytes.length - 8, true)
      expect(count.bytes - Math.min(bytes.length, 512 * 1024)).toBeLessThan(bytes.length / 8 + footer)
    }
  })

  it('names the row that is malformed, or leaves it out', async () => {
    const read = (row: unknown, where: string): Row =>
      (row as Row).label === 1500
        ? (() => {
            throw malformed(where, 'no')
          })()
        : (row as Row)
    const blob = new Blob([writeParquet(2000)])
    expect((await failing(all(parquetRows(blob, read)))).message).toContain('blob:1501: no')
    const lenient = parquetRows(blob, read, { skipMalformed: true })
    expect(await all(lenient)).toHaveLength(1999)
    expect(await all(lenient.pick([1500, 3]))).toHaveLength(1)
    expect(lenient.skipped).toBe(1)
  })

  it('a file cut anywhere is refused, and bytes that change are an error or rows', async () => {
    const bytes = writeParquet(1200)
    const path = await fileOf('parquet', bytes)
    for (const length of [0, 3, 11, 12, 100, bytes.length >> 1, bytes.length - 9, bytes.length - 1]) {
      await writeFile(path, bytes.subarray(0, length))
      const error = await failing(all(parquetRows(path, asRow)))
      expect(error).toMatchObject({ code: 'BrokenParquet', exitCode: 3 })
      expect(error.message).toContain(path)
    }
    for (let i = 0; i < 60; i++) {
      const changed = bytes.slice()
      changed[(i * 7919) % bytes.length] ^= 1 << (i % 8)
      const outcome = await all(parquetRows(new Blob([changed]), asRow)).then(
        (rows) => rows.length,
        (error: unknown) => error,
      )
      if (typeof outcome !== 'number') expect(outcome).toMatchObject({ code: 'BrokenParquet' })
    }
  })

  it('reads what pyarrow compresses by default and by choice', async () => {
    for (const codec of ['snappy', 'zstd', 'gzip', 'none']) {
      const path = join('test', 'tables', `${codec}.parquet`)
      const rows: Dataset<Row> = parquetRows(new Blob([await readFile(path)]), asRow)
      expect(await all(rows)).toEqual([
        { text: 'good', label: 1, image: { bytes: Uint8Array.of(137, 80), path: null }, tags: ['O', 'B'] },
        { text: null, label: 0, image: null, tags: [] },
      ])
    }
  })
})
