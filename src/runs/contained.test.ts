import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import {
  finalMetrics,
  loadRun,
  openContained,
  parseRecord,
  readContained,
  readMetrics,
  readRuns,
} from './index.js'
import type { LeftOut } from './index.js'

const base = mkdtempSync(join(tmpdir(), 'weft-contained-'))
afterAll(() => rmSync(base, { recursive: true, force: true }))
let folders = 0
const freshFolder = (): string => {
  const folder = join(base, `folder-${folders++}`)
  mkdirSync(folder)
  return folder
}

const outside = join(base, 'outside.json')
writeFileSync(outside, '{"secret":1}')

/** What may bear a file's name and is not that file, with the code of its refusal. */
const impostors: [string, string, (path: string) => void][] = [
  ['a pipe', 'FileNotRegular', (path) => execFileSync('mkfifo', [path])],
  ['a folder', 'FileNotRegular', (path) => mkdirSync(path)],
  ['a link to a file outside', 'FileOutside', (path) => symlinkSync(outside, path)],
  ['a link to a device', 'FileOutside', (path) => symlinkSync('/dev/zero', path)],
  ['a link to itself', 'FileUnreadable', (path) => symlinkSync(path, path)],
]

describe.each(impostors)('%s', (_, code, make) => {
  test('is refused as a record, as metrics and as any file, without waiting', async () => {
    const folder = freshFolder()
    for (const name of ['run.json', 'metrics.jsonl', 'plots.json']) make(join(folder, name))
    await expect(loadRun(folder)).rejects.toMatchObject({ code })
    await expect(readMetrics(folder)).rejects.toMatchObject({ code })
    await expect(openContained(folder, 'plots.json')).rejects.toMatchObject({ code })
    expect(await finalMetrics(folder)).toEqual({})
  })
})

test('a link that stays inside its folder is read; a broken one is no file', async () => {
  const folder = freshFolder()
  writeFileSync(join(folder, 'a.txt'), 'a')
  symlinkSync('a.txt', join(folder, 'b.txt'))
  symlinkSync('nowhere.txt', join(folder, 'c.txt'))
  expect(await readContained(folder, 'b.txt')).toBe('a')
  expect(await readContained(folder, 'c.txt')).toBeUndefined()
  expect(await readContained(folder, 'd.txt')).toBeUndefined()
})

test.each(['../outside.json', '/etc/passwd', '', 'a\0b', 'x/../../outside.json'])(
  'the name %j is refused',
  async (name) => {
    await expect(readContained(freshFolder(), name)).rejects.toMatchObject({ code: 'FileOutside' })
  },
)

test('a file above the limit is refused, with its size', async () => {
  const folder = freshFolder()
  writeFileSync(join(folder, 'a.json'), 'x'.repeat(101))
  await expect(readContained(folder, 'a.json', 100)).rejects.toThrow('a.json has 101 bytes; at most 100')
})

test('a record that does not fit says which file, which field and why', () => {
  const schema = z.object({ subject: z.string() })
  expect(() => parseRecord('{"subject":5}', 'run.json', schema)).toThrow(
    'run.json: subject: Invalid input: expected string, received number',
  )
  expect(() => parseRecord('{"sub', 'run.json', schema)).toThrow('run.json is not JSON')
  const deep = `{"subject":"x","more":${'['.repeat(1e5)}${']'.repeat(1e5)}}`
  expect(() => parseRecord(deep, 'run.json', schema)).toThrow('nested more than 100 deep')
})

test('whatever JSON a record holds, the other runs are read, and it is one of them or named', async () => {
  const home = freshFolder()
  const good = { command: 'train', started: '2026-01-02T03:04:05.000Z', status: 'finished', config: {} }
  const whole = { ...good, process: { host: 'elsewhere', pid: 5 } }
  mkdirSync(join(home, 'good'))
  writeFileSync(join(home, 'good', 'run.json'), JSON.stringify(whole))
  mkdirSync(join(home, 'other'))
  const fields = ['command', 'subject', 'argv', 'process', 'started', 'ended', 'status', 'error', 'versions']
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(
        fc.jsonValue(),
        fc
          .tuple(fc.constantFrom(...fields), fc.jsonValue())
          .map(([key, value]) => ({ ...whole, [key]: value })),
      ),
      async (value) => {
        writeFileSync(join(home, 'other', 'run.json'), JSON.stringify(value))
        const left: LeftOut[] = []
        const ids = (await readRuns(home, (what) => left.push(what))).map(({ id }) => id)
        expect(ids).toContain('good')
        expect([...ids, ...left.map(({ path }) => path)].sort()).toEqual(['good', 'other'])
      },
    ),
    { numRuns: 300 },
  )
})
