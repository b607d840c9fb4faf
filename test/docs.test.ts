/**
 * @file Every command and block of code in the README and in docs/ is run, in a folder with tiny models of the names that
 * they use. Files that a page writes out are there for what follows. The pages of methods are those that their cards and
 * schemas make.
 */
import { transform } from 'esbuild'
import { existsSync } from 'node:fs'
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chdir, cwd } from 'node:process'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { methodIndex, methodPages } from '../src/cli/method-page.js'
import { run } from '../src/cli/program.js'
import { verbs } from '../src/cli/verbs.js'
import type { Action, Verb } from '../src/cli/verb.js'
import { procedures } from '../src/merge/index.js'
import { blocksOf, commandsIn, commandsOf } from './blocks.js'
import { opened } from './opened.js'
import { sentences, tinyConfig, writeRandom, writeTinyLlama } from './tiny.js'
import { weft } from './weft.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const pagesIn = async (folder: string): Promise<string[]> =>
  (await readdir(join(root, folder))).filter((name) => name.endsWith('.md')).map((name) => join(folder, name))

const home = cwd()
let scratch: string
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'weft-docs-'))
  chdir(scratch)
  for (const name of ['base', 'a', 'b', 'c', 'tuned']) await writeTinyLlama(join('models', name))
  for (const name of ['a', 'b', 'c', 'tuned']) await writeRandom(join('models', name), tinyConfig(320), name)
  for (const folder of ['HuggingFaceTB', 'models'])
    await cp(join('models', 'base'), join(folder, 'SmolLM2-135M'), { recursive: true })
  const text = sentences.map((sentence) => JSON.stringify({ text: sentence })).join('\n')
  for (const name of ['train', 'test', 'held-out']) await writeFile(`${name}.jsonl`, text)
  for (const [i, name] of ['a', 'b', 'c'].entries()) {
    const log = { global_step: i + 1, log_history: [{ step: i + 1, loss: 3 - i }] }
    await writeFile(join('models', name, 'trainer_state.json'), JSON.stringify(log))
  }
  await writeFile(
    'recipe.yaml',
    'merge_method: linear\nmodels: [{ model: models/a, parameters: { weight: 1 } }]\n',
  )
  const few = ['--steps', '1', '--batch', '2']
  await weft('adapt', 'lora', 'models/base', '--data', 'train.jsonl', '--out', 'adapters/first', ...few)
})
afterAll(async () => {
  chdir(home)
  await rm(scratch, { recursive: true, force: true })
})

/** Verbs that reach out of this process or run for minutes: of these, the command line is checked alone. */
const checkedAlone = new Set(['pull', 'lab', 'reproduce', 'compare'])

const unrun = (action: Action): Action =>
  checkedAlone.has(action.name) ? { ...action, run: () => Promise.resolve() } : action
const tried: readonly Verb[] = verbs.map((verb) =>
  'members' in verb
    ? { ...verb, members: async () => (await verb.members()).map(unrun) }
    : { ...verb, ...unrun(verb) },
)

/** Options that make a command small, behind its own. */
const small = (words: readonly string[]): string[] => {
  const flags: string[] = []
  const trains = words[0] === 'train' || (words[0] === 'adapt' && words[1] !== 'compare')
  if (trains && !words.includes('--steps')) flags.push('--steps', '2')
  const procedure = procedures.find(({ name }) => name === words[words.indexOf('--method') + 1])
  for (const [key, value] of Object.entries(procedure?.example?.options ?? {}))
    if (['string', 'number', 'boolean'].includes(typeof value)) flags.push('-p', `${key}=${String(value)}`)
  if (words[0] === 'generate' && !words.includes('--max-tokens')) flags.push('--max-tokens', '4')
  return flags
}

const runs = async (words: readonly string[]): Promise<void> => {
  const out = words[words.findIndex((word) => word === '--out' || word === '-o') + 1]
  const goesOn = words.includes('--resume') || words.includes('--force')
  if (words.includes('--out') && !goesOn) await rm(out, { recursive: true, force: true })
  let err = ''
  const code = await run(
    [...words, ...small(words)],
    {
      stdout: { write: () => true },
      stderr: { write: (text) => (err += text) },
      env: { WEFT_HOME: join(scratch, 'runs') },
      signal: new AbortController().signal,
    },
    tried,
  )
  expect({ code, err: code ? err : '' }, words.join(' ')).toEqual({ code: 0, err: '' })
}

/** An entry of the package. What the lines of a page open is closed for them, since no process of their own ends. */
const importRoom = async (name: string): Promise<object> => {
  const path = join(root, 'src', name.replace('weft-ml/', ''), 'index.ts')
  const room = (await import(/* @vite-ignore */ path)) as object
  return name === 'weft-ml/checkpoint' ? { ...room, open: opened } : room
}
const readHere = async (url: string): Promise<Response> => new Response(await readFile(join(scratch, url)))

/** Runs TypeScript whose imports are the package's entries, in fewer steps. */
const evaluates = async (code: string): Promise<void> => {
  const imports = /import \{([^}]*)\} from '(weft-ml\/[^']*)'/g
  const body = code.replace(
    imports,
    (_, names: string, room: string) => `const {${names}} = await load('${room}')`,
  )
  const script = await transform(`(async () => {${body.replace(/steps: \d+/g, 'steps: 2')}\n})()`, {
    loader: 'ts',
  })
  const call = new Function('load', 'fetch', 'console', 'process', `return ${script.code}`) as (
    ...given: unknown[]
  ) => Promise<void>
  const quiet = { stdout: { write: () => true } }
  await call(importRoom, readHere, { log: () => undefined }, quiet)
}

const tasks = await pagesIn('docs')
const generated = await methodPages()

describe.each(['README.md', ...tasks])('%s', async (page) => {
  const text = await readFile(join(root, page), 'utf8')
  const blocks = blocksOf(text)

  it('runs from top to bottom', async () => {
    await rm('runs', { recursive: true, force: true })
    for (const block of blocks) {
      if (block.file) await writeFile(join(scratch, block.file), block.text)
      for (const words of commandsIn(block)) await runs(words)
      if (block.language === 'ts') await evaluates(block.text)
    }
  })

  it('links to what is there', () => {
    const links = [...text.matchAll(/\]\((?!https?:)([^)#]+)/g)].map(([, link]) => link)
    const from = join(root, page, '..')
    expect(links.filter((link) => !existsSync(join(from, link)))).toEqual([])
  })
})

describe('a page of a method', () => {
  it('is what card and schema make of it: npx tsx scripts/docs.ts writes them anew', async () => {
    const written = new Map(generated.map(({ names, text }) => [`${names[0]}.md`, text]))
    written.set('README.md', methodIndex(generated))
    const files = await readdir(join(root, 'docs', 'methods'))
    expect(files.sort()).toEqual([...written.keys()].sort())
    for (const [name, text] of written)
      expect(await readFile(join(root, 'docs', 'methods', name), 'utf8'), name).toBe(text)
  })

  it('says when to choose the method, when not and what it costs', () => {
    const mute = generated.filter(({ text }) => !/When to choose it|Functions of aligned tensors/.test(text))
    expect(mute.map(({ names }) => names[0])).toEqual([])
  })

  const merges = generated.filter(({ family }) => family === 'merge')
  it.each(merges.map(({ names, text }) => [names[0], text] as const))('%s runs', async (_, text) => {
    for (const words of commandsOf(text)) await runs(words)
  })
})

describe('weft docs', () => {
  it('prints the page of a task, of a method, and of a method by its name in recipes', async () => {
    expect((await weft('docs', 'adapt')).out).toBe(await readFile(join(root, 'docs/adapt.md'), 'utf8'))
    for (const name of ['lora', 'ties', 'greedy-soup']) {
      const page = generated.find(({ names }) => names.includes(name))!
      expect((await weft('docs', name)).out, name).toBe(page.text)
    }
  })

  it('lists every page, and names the nearest of one that there is not', async () => {
    const { out } = await weft('docs')
    const names = out.split('\n').map((line) => line.split(' ')[0])
    expect(names).toEqual(expect.arrayContaining(generated.map((page) => page.names[0])))
    expect(names).toEqual(
      expect.arrayContaining(tasks.map((file) => file.slice('docs/'.length, -'.md'.length))),
    )
    const { code, err } = await weft('docs', 'loar')
    expect(code).toBe(2)
    expect(err).toMatch(/lora/)
  })
})
