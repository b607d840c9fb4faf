import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { chdir, cwd } from 'node:process'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { commandsOf } from '../../test/blocks.js'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { weft } from '../../test/weft.js'
import { methods } from '../adapt/index.js'
import { methodPages } from './method-page.js'

const home = cwd()
const pages = await methodPages()
let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => {
  scratch = await scratchFolder()
  chdir(scratch.path)
  await writeTinyLlama(join('models', 'base'))
  await writeFile('train.jsonl', sentences.map((text) => JSON.stringify({ text })).join('\n'))
})
afterAll(async () => {
  chdir(home)
  await scratch.remove()
})

it.each(methods.map(({ paper, peftType, folds }) => [paper.id, peftType, folds] as const))(
  'the page of %s runs: it trains with its defaults, and what it saves folds where the method does',
  async (id, peftType, folds) => {
    const { text } = pages.find(({ names: [name] }) => name === id)!
    const [adapt, use] = commandsOf(text)
    const { code, err } = await weft(...adapt, '--steps', '2')
    expect(err).not.toMatch(/Error/)
    expect(code).toBe(0)
    const config = JSON.parse(readFileSync(join('adapters', id, 'adapter_config.json'), 'utf8')) as object
    expect(config).toMatchObject({ peft_type: peftType })
    const used = await weft(...use, ...(folds ? [] : ['--max-tokens', '2']))
    expect(used.code, used.err).toBe(0)
    const folding = ['fold', 'models/base', join('adapters', id), '--out', join('models', `${id}-folded`)]
    if (!folds) expect((await weft(...folding)).code).toBe(2)
  },
)
