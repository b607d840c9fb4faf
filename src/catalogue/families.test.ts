import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { entries as adapters } from '../adapt/index.js'
import { loader } from '../lab/self.js'
import { entries as merges } from '../merge/index.js'
import type { Entry } from '../papers/index.js'
import { families, findExperiments } from './index.js'

const declared: [string, readonly Entry[]][] = [
  ['adapt', adapters],
  ['merge', merges],
]

const ids = (entries: readonly Entry[]): string[] => [...new Set(entries.map(({ card }) => card.id))].sort()

test.each(declared)(
  '%s: the folders with a card are the list, with the same cards and experiments',
  async (name, list) => {
    const entries = await families.find((family) => family.name === name)!.entries()
    expect(ids(entries)).toEqual(ids(list))
    const runnable = (all: readonly Entry[]): string[] => ids(all.filter(({ experiment }) => experiment))
    expect(runnable(entries)).toEqual(runnable(list))
    for (const { card } of entries) expect(list.map((entry) => entry.card)).toContainEqual(card)
  },
)

test('an experiment is found by id, by arXiv id, and not where there is none', async () => {
  const [lora, same] = await findExperiments(['lora', '2106.09685'])
  expect(lora.paper.id).toBe('lora')
  expect(same).toBe(lora)
  await expect(findExperiments(['lorra'])).rejects.toMatchObject({ code: 'UnknownPaper' })
  await expect(findExperiments(['lora', 'masa'])).rejects.toMatchObject({ code: 'NotReproducible' })
  await expect(findExperiments(['ia3'])).rejects.toMatchObject({ code: 'NotReproducible' })
})

/** Our files that a process of its own loads which runs `body`, with the module `name` of this folder in scope as `library`. */
const loaded = (name: string, body: string): string[] => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-loaded-'))
  const module = JSON.stringify(new URL(`./${name}.ts`, import.meta.url).href)
  const code = `const library = await import(${module}); ${body}`
  // What V8 has covered is what it has loaded.
  const env = { ...process.env, NODE_V8_COVERAGE: folder }
  const argv = [...loader(), '--input-type=module', '--eval', code]
  const { status, stderr } = spawnSync(process.execPath, argv, { env, encoding: 'utf8' })
  expect(status, stderr).toBe(0)
  const reports = readdirSync(folder).map(
    (file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as { result: { url: string }[] },
  )
  rmSync(folder, { recursive: true })
  const root = new URL('../', import.meta.url).href
  const urls = reports.flatMap(({ result }) => result.map(({ url }) => url))
  return [...new Set(urls.filter((url) => url.startsWith(root)).map((url) => url.slice(root.length)))]
}

test('a list of papers loads cards, and neither methods nor the engine', () => {
  const files = loaded('catalogue', 'await library.knownPapers()')
  expect(files.filter((file) => /^adapt\/lora\//.test(file))).toEqual(['adapt/lora/card.ts'])
  expect(files.filter((file) => /^(tensor|linalg|models|checkpoint\/index)/.test(file))).toEqual([])
})

test('one experiment loads that method, and of no other paper anything but its card', () => {
  const files = loaded(
    'record',
    "await library.findExperiments(['bitfit']).catch(() => 0); await library.findExperiments(['mos'])",
  )
  expect(files.filter((file) => /\/experiment\.ts$/.test(file))).toEqual(['adapt/mos/experiment.ts'])
  const others = files.filter(
    (file) => /^(adapt|merge)\//.test(file) && !/^adapt\/(core|mos)\/|\/card\.ts$/.test(file),
  )
  expect(others.filter((file) => file.startsWith('merge/'))).toEqual([])
  // The experiment's baselines are methods too.
  expect(others.length).toBeLessThan(15)
})
