import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { mappedRows, valueOfColumn } from './columns.js'
import { split } from './dataset.js'
import type { Row } from './row.js'
import { joined, tableRows } from './table.js'
import { type DataPlace, findData } from './where.js'

let folder: string
const at = (name: string): string => join(folder, name)
const write = async (name: string, content: string): Promise<void> => {
  await mkdir(join(at(name), '..'), { recursive: true })
  await writeFile(at(name), content)
}
const all = async <T>(items: AsyncIterable<T>): Promise<T[]> => {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}
const asRow = (row: unknown): Row => row as Row

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'weft-where-'))
  await write('mixed/b.jsonl', '{"n": 3}\n{"n": 4}\n')
  await write('mixed/a.csv', 'n\n1\n2\n')
  await write('mixed/deep/c.tsv', 'n\tm\n5\t0\n')
  await write('mixed/notes.txt', 'no data')
  await write('photos/cats/1.png', '')
  const snapshot = 'hub/datasets--org--set/snapshots/abc'
  await write('hub/datasets--org--set/refs/main', 'abc')
  for (const file of ['train-00000-of-00002', 'train-00001-of-00002', 'test-00000-of-00001', 'strained'])
    await write(`${snapshot}/data/${file}.csv`, 'n\n1\n')
})
afterAll(() => rm(folder, { recursive: true }))

it('finds a file, the tables of a folder, those of a pattern, and folders of images', async () => {
  expect(await findData(at('mixed/notes.txt'))).toEqual({ kind: 'rows', files: [at('mixed/notes.txt')] })
  const files = ['mixed/a.csv', 'mixed/b.jsonl', 'mixed/deep/c.tsv'].map(at)
  expect(await findData(at('mixed'))).toEqual({ kind: 'rows', files })
  expect(await findData(at('mixed/*.{csv,jsonl}'))).toEqual({ kind: 'rows', files: files.slice(0, 2) })
  expect(await findData(at('photos'))).toEqual({ kind: 'images', folder: at('photos') })
})

it('finds the parts of a dataset of the hub by their names', async () => {
  const cache = at('hub')
  const names = async (where: string): Promise<string[]> => {
    const place = await findData(where, { cache })
    return place.kind === 'rows' ? place.files.map((file) => file.replace(/.*\/|\.csv/g, '')) : []
  }
  expect(await names('org/set')).toEqual(['train-00000-of-00002', 'train-00001-of-00002'])
  expect(await names('org/set:test')).toEqual(['test-00000-of-00001'])
  await expect(names('org/set:dev')).rejects.toThrow('none of its 4 files is named for "dev"')
  await expect(names('org/other')).rejects.toThrow('weft pull --dataset org/other')
})

it('what is not there is said', async () => {
  await expect(findData(at('absent.csv'))).rejects.toMatchObject({ code: 'NoSuchFile', exitCode: 3 })
  await expect(findData(at('mixed/*.parquet'))).rejects.toThrow('no file is named so')
})

it('files of several formats are one dataset, whose rows are numbered through', async () => {
  const { files } = (await findData(at('mixed'))) as Extract<DataPlace, { kind: 'rows' }>
  const dataset = joined(
    'mixed',
    files.map((file) => tableRows(file, asRow)),
  )
  expect((await all(dataset.entries())).map(([i, { n }]) => [i, Number(n)])).toEqual([
    [0, 1],
    [1, 2],
    [2, 3],
    [3, 4],
    [4, 5],
  ])
  expect((await all(dataset.pick([4, 0, 3]))).map(({ n }) => Number(n))).toEqual([5, 1, 4])
  const { train, evaluation } = await split(dataset, 0.4)
  const numbers = [...(await all(train)), ...(await all(evaluation))].map(({ n }) => Number(n))
  expect(numbers.sort()).toEqual([1, 2, 3, 4, 5])
})

it('columns are read by other names, and one that is not there is refused with the nearest', async () => {
  const read = (row: unknown, where: string): unknown => valueOfColumn(row, 'text', where)
  const rows = [{ review: 'good', text: 'id 7' }, { text: 'id 8' }]
  const mapped = mappedRows({ review: 'text' }, read)
  expect(mapped(rows[0], 'f:1')).toBe('good')
  expect(() => mapped(rows[1], 'f:2')).toThrow('f:2: the column "text" is empty')
  expect(() => mappedRows({ revew: 'text' }, read)(rows[0], 'f:1')).toThrow(
    /f:1: there is no column "revew"\s+Nearest: review. It has: review, text/,
  )
  expect(() => read({ txet: 'a' }, 'f:9')).toThrow(/f:9: there is no column "text"\s+Nearest: txet/)
})
