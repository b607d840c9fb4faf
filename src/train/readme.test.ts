/** The library's example of the README, run on a tiny model: the same lines, or this fails. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { hold } from '../../test/held.js'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { lora } from '../adapt/index.js'
import { open } from '../checkpoint/index.js'
import { jsonl } from '../text/index.js'
import { fit, generate } from './index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const home = process.cwd()
beforeAll(async () => {
  scratch = await scratchFolder()
  await mkdir(join(scratch.path, 'models'))
  await writeTinyLlama(join(scratch.path, 'models/SmolLM2-135M'))
  const lines = sentences.map((text) => JSON.stringify({ text }))
  await writeFile(join(scratch.path, 'train.jsonl'), `${lines.join('\n')}\n`)
  process.chdir(scratch.path)
})
afterAll(async () => {
  process.chdir(home)
  await scratch.remove()
})

/** Statements without comments and indentation. */
const statements = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.replace(/\s*\/\/.*$/, '').trim())
    .filter((line) => line !== '' && !line.startsWith('import '))

it('adapts, trains, saves and generates in the lines of the README', async () => {
  const output = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
  try {
    // README begins
    const base = await open('models/SmolLM2-135M')
    const model = await lora(base, { rank: 8, alpha: 16, targets: ['q_proj', 'v_proj'] })
    const { model: tuned } = await fit(model, jsonl('train.jsonl'), {
      steps: 500,
      batch: 8,
      learningRate: 2e-4,
      out: 'runs/first',
    })
    await tuned.save('adapters/first')
    for await (const piece of generate(tuned, 'Once upon')) process.stdout.write(piece)
    // README ends
    hold(base)
    expect(output.mock.calls.length).toBeGreaterThan(0)
  } finally {
    output.mockRestore()
  }
  const [, ran] = (await readFile(fileURLToPath(import.meta.url), 'utf8')).split(
    /\/\/ README (?:begins|ends)\n/,
  )
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8')
  const example = readme
    .split('```')
    .find((block) => block.startsWith('ts\n') && block.includes('weft-ml/train'))!
  expect(statements(ran)).toEqual(statements(example.slice('ts\n'.length)))
})
