/** @file What is amiss with a folder but not wrong: every verb that opens a model says it, and refuses it with --strict. */
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, sentences, tinyConfig, writeRandom, writeTinyLlama } from '../../test/tiny.js'
import { type Outcome, weftWith } from '../../test/weft.js'
import { open } from '../checkpoint/index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (...name: string[]): string => join(scratch.path, ...name)
const weft = (...argv: string[]): Promise<Outcome> => weftWith({ WEFT_HOME: at('home') }, argv)
const shard = 'model-00001-of-00001.safetensors'

beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(at('base'))
  await writeTinyLlama(at('tuned'))
  await writeRandom(at('tuned'), tinyConfig(320), 'tuned')
  await writeFile(at('data.jsonl'), sentences.map((text) => JSON.stringify({ text })).join('\n'))
  const checkpoint = await open(at('base'))
  const names = [...checkpoint.names(), 'ghost']
  await checkpoint.close()
  await rename(at('base', 'model.safetensors'), at('base', shard))
  const index = { metadata: {}, weight_map: Object.fromEntries(names.map((name) => [name, shard])) }
  await writeFile(at('base', 'model.safetensors.index.json'), JSON.stringify(index))
})
afterAll(() => scratch.remove())

describe('an index that names a tensor too many', () => {
  const training = (): string[] => ['--data', at('data.jsonl'), '--steps', '1', '--batch', '2']
  const pair = (): string[] => [at('base'), at('tuned')]
  const scored = (): string[] => ['--data', at('data.jsonl')]
  const verbs: Record<string, () => string[]> = {
    inspect: () => ['inspect', at('base')],
    generate: () => ['generate', at('base'), '--prompt', 'The cat', '--max-tokens', '2'],
    eval: () => ['eval', at('base'), '--data', at('data.jsonl'), '--batches', '1'],
    adapt: () => ['adapt', 'bitfit', at('base'), ...training(), '--out', at('adapter')],
    extract: () => ['extract', at('base'), at('tuned'), '--rank', '2', '--out', at('extracted')],
    'merge by a recipe': () => ['merge', '--method', 'linear', ...pair(), '--out', at('merged')],
    'merge, which is only explained': () => ['merge', '--method', 'linear', ...pair(), '--dry-run'],
    'merge by a procedure': () => [
      'merge',
      '--method',
      'greedy-soup',
      ...pair(),
      ...scored(),
      '--out',
      at('soup'),
    ],
    train: () => ['train', '--model', at('base'), ...training(), '--out', at('trained')],
  }

  it.each(Object.keys(verbs))('is refused by %s with --strict, which leaves nothing', async (verb) => {
    const { code, err, out } = await weft(...verbs[verb](), '--strict')
    expect(code).toBe(3)
    expect(err).toMatch(/model\.safetensors\.index\.json: tensor "ghost" should be in model-00001/)
    expect(out).toBe('')
    for (const folder of ['adapter', 'trained', 'extracted', 'merged', 'soup'])
      await expect(readFile(at(folder, 'config.json'))).rejects.toThrow(/ENOENT/)
  })

  it.each(Object.keys(verbs))('is said once by %s, which goes on', async (verb) => {
    const { code, err } = await weft(...verbs[verb]())
    expect(code, err).toBe(0)
    expect(err.match(/index\.json is out of step with its shards/g)).toHaveLength(1)
    expect(err).toMatch(/"ghost" should be in model-00001-of-00001\.safetensors, which does not hold it/)
  })
})
