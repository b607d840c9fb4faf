/** @file `npm run test:golden -- NAME`: every folder of reference outputs is reached by its name. */
import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { goldenFolder } from './golden.js'
import { patternFor } from '../scripts/golden.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))

const foldersIn = async (...path: string[]): Promise<string[]> => {
  const entries = await readdir(goldenFolder(...path), { withFileTypes: true })
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
}

test('every folder of reference outputs is the name of tests', async () => {
  const vitest = fileURLToPath(new URL('node_modules/vitest/vitest.mjs', `file://${root}/`))
  const args = [vitest, 'list', '.golden.test.', '--json', '--no-isolate', '--maxWorkers=1']
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root, maxBuffer: 1e8 })
  const listed = (JSON.parse(stdout.slice(stdout.indexOf('['))) as { name: string }[]).map(({ name }) => name)
  const top = await foldersIn()
  const inner = await Promise.all(['peft', 'tokenizers'].map((name) => foldersIn(name)))
  const outputs = await foldersIn('merge', 'out')
  const names = [...top, ...inner.flat(), ...outputs]
  const missing = names.filter((name) => !listed.some((title) => new RegExp(patternFor(name)).test(title)))
  expect(names.length).toBeGreaterThan(40)
  expect(missing).toEqual([])
})
