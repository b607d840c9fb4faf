/** The library's example as it stands in the README, run on a tiny model. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
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

it('adapts, trains, saves and generates in the lines of the README', async () => {
  const written: string[] = []
  const output = { write: (text: string) => written.push(text) }

  const base = await open('models/SmolLM2-135M')
  const start = await lora(base, { rank: 8, alpha: 16, targets: ['q_proj', 'v_proj'] })
  const { model } = await fit(start, jsonl('train.jsonl'), {
    steps: 20,
    batch: 8,
    learningRate: 2e-4,
    out: 'runs/first',
  })
  await model.save('adapters/first')
  for await (const piece of generate(model, 'Once upon')) output.write(piece)

  expect(written.length).toBeGreaterThan(0)
})
