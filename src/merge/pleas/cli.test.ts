/** @file `weft merge --method pleas` and `deepweightflow` on folders: what they write loads and generates. */
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, sentences, writeTinyLlama } from '../../../test/tiny.js'
import { type Outcome, weftWith } from '../../../test/weft.js'
import { type JsonObject, open } from '../../checkpoint/index.js'
import { createModel, openModel } from '../../models/index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)
const weft = (...argv: string[]): Promise<Outcome> => weftWith({ WEFT_HOME: at('home') }, argv)
const json = async (path: string): Promise<JsonObject> => JSON.parse(await readFile(at(path), 'utf8'))

beforeAll(async () => {
  scratch = await scratchFolder()
  for (const [seed, name] of ['a', 'b', 'c'].entries()) {
    await writeTinyLlama(at(name))
    await rm(join(at(name), 'model.safetensors'))
    await (await createModel(await json(`${name}/config.json`), { seed })).save(at(name))
  }
  await writeFile(at('data.jsonl'), sentences.map((text) => JSON.stringify({ text })).join('\n'))
})
afterAll(() => scratch.remove())

const generates = async (name: string): Promise<void> => {
  const outcome = await weft('generate', at(name), '--prompt', 'the cat', '-n', '3')
  expect(outcome, outcome.err).toMatchObject({ code: 0 })
}

describe('weft merge', () => {
  it('--method pleas writes a wider Llama that says its widths, loads and generates', async () => {
    const flags = ['--data', at('data.jsonl'), '-p', 'budget=1.4', '--out', at('wide')]
    const outcome = await weft('merge', '--method', 'pleas', at('a'), at('b'), ...flags)
    expect(outcome, outcome.err).toMatchObject({ code: 0 })
    const [before, after] = [await json('a/config.json'), await json('wide/config.json')]
    expect(after.intermediate_size).toBeGreaterThan(before.intermediate_size as number)
    expect(after.hidden_size).toBe(before.hidden_size)
    expect(await json('wide/merge-report.json')).toMatchObject({ match: 'activations', leastSquares: true })
    await generates('wide')
  })

  it('--method pleas without data merges by weights, and says so', async () => {
    const outcome = await weft('merge', '--method', 'pleas', at('a'), at('b'), '--out', at('plain'))
    expect(outcome).toMatchObject({ code: 0 })
    expect(outcome.err).toMatch(/No data/)
    expect(await json('plain/config.json')).toEqual(await json('a/config.json'))
  })

  it('--method deepweightflow writes as many models as asked for', async () => {
    const flags = ['-p', 'samples=2', '-p', 'steps=10', '-p', 'width=16', '--out', at('sampled')]
    const outcome = await weft('merge', '--method', 'deepweightflow', at('a'), at('b'), at('c'), ...flags)
    expect(outcome, outcome.err).toMatchObject({ code: 0 })
    for (const sample of ['sampled/0', 'sampled/1']) {
      await using checkpoint = await open(at(sample))
      await openModel(checkpoint)
    }
    await generates('sampled/1')
  })

  it('says what an option may be', async () => {
    const merge = ['merge', '--method', 'pleas', at('a'), at('b'), '--out', at('refused')]
    expect(await weft(...merge, '-p', 'budget=3')).toMatchObject({ code: 2 })
    expect((await weft(...merge, '-p', 'bugdet=1')).err).toMatch(/budget/)
  })
})
