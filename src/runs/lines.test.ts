import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { LineFile } from './index.js'

const base = mkdtempSync(join(tmpdir(), 'weft-lines-'))
afterAll(() => rmSync(base, { recursive: true, force: true }))
const path = join(base, 'lines.jsonl')

const old = ['{"a":1}', '{"b":"ü"}', '{"c":3}']
const whole = Buffer.from(old.map((line) => `${line}\n`).join(''))

const lines = (): string[] => readFileSync(path, 'utf8').split('\n').filter(Boolean)

test('cut at any byte, a file takes the next line whole and keeps every line that was whole', () => {
  for (let cut = 0; cut <= whole.length; cut++) {
    const left = whole.subarray(0, cut)
    writeFileSync(path, left)
    const file = new LineFile(path)
    expect(file.append('{"next":1}')).toBe(readFileSync(path).length)
    file.close()
    const kept = left
      .subarray(0, left.lastIndexOf(0x0a) + 1)
      .toString()
      .split('\n')
      .filter(Boolean)
    expect(lines().slice(0, kept.length)).toEqual(kept)
    expect(lines().at(-1)).toBe('{"next":1}')
  }
})

test('a tail that is torn while the file is open does not spoil the next line either', () => {
  writeFileSync(path, whole)
  const file = new LineFile(path)
  file.append('{"d":4}')
  appendFileSync(path, '{"torn')
  file.append('{"e":5}')
  file.append('{"f":6}')
  file.close()
  expect(lines()).toEqual([...old, '{"d":4}', '{"torn', '{"e":5}', '{"f":6}'])
})

test('a pipe is no file of lines', () => {
  const pipe = join(base, 'pipe')
  execFileSync('mkfifo', [pipe])
  expect(() => new LineFile(pipe)).toThrow('is not a regular file')
})
