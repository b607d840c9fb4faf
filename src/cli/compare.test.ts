/** @file `weft adapt compare`: arms at one budget, what it prints and leaves, what is refused. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { type Outcome, weftWith } from '../../test/weft.js'
import { readMetrics } from '../runs/index.js'
import type { AdapterComparison } from './compare.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)
const weft = (...argv: string[]): Promise<Outcome> => weftWith({ WEFT_HOME: at('home') }, argv)
beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(at('base'))
  await writeFile(at('data.jsonl'), sentences.map((text) => JSON.stringify({ text })).join('\n'))
})
afterAll(() => scratch.remove())

describe('weft adapt compare', () => {
  it('trains every method at the budget, says what each gives and costs, and goes on where it was', async () => {
    const call = ['adapt', 'compare', at('base'), '--data', at('data.jsonl'), '--out', at('out')]
    const flags = [
      '--methods',
      'lora,ia3',
      '--rates',
      '0.001,1e30',
      '--budget',
      '2000',
      '--steps',
      '4',
      '--batch',
      '4',
    ]
    const base = ['--base-data', at('data.jsonl'), '--json']
    const first = await weft(...call, ...flags, ...base)
    expect(first).toMatchObject({ code: 0 })
    const { budget, arms } = JSON.parse(first.out) as AdapterComparison
    expect(budget).toBe(2000)
    expect(arms.map(({ name }) => name).sort()).toEqual([
      'ia3@0.001',
      'ia3@1e+30',
      'lora@0.001',
      'lora@1e+30',
    ])
    const trained = arms.filter(({ error }) => error === undefined)
    // What goes wrong in one arm is said of it, and the others go on.
    expect(arms.find(({ name }) => name === 'lora@1e+30')!.error).toMatch(/the loss of step \d is/)
    for (const arm of trained) {
      expect(arm.loss).toBeGreaterThan(0)
      expect(arm.stepSeconds).toBeGreaterThan(0)
      expect(arm.peakMemory).toBeGreaterThan(10e6)
      expect(typeof arm.forgetting).toBe('number')
      if (arm.method === 'lora') expect(arm.parameters).toBeLessThanOrEqual(2000)
    }
    const lora = arms.find(({ method }) => method === 'lora')!
    expect(lora.options.rank).toBeGreaterThanOrEqual(1)
    expect([...trained].sort((a, b) => a.loss! - b.loss!)).toEqual(trained)
    const plots = JSON.parse(await readFile(join(at('out'), 'plots.json'), 'utf8')) as { title: string }[]
    expect(plots.map(({ title }) => title)).toContain('Held-out loss by trained numbers')
    const { rows } = await readMetrics(at('out'))
    expect(new Set(rows.map(({ series }) => series))).toContain('lora@0.001')

    const again = await weft(...call, ...flags, '--resume')
    expect(again).toMatchObject({ code: 0 })
    expect(again.out).toMatch(/^method +trained +loss +step +memory$/m)
    expect(again.out).toMatch(/lora@1e\+30 was left out/)
  })

  it('refuses an unknown method, a budget below the smallest, and a budget that is none, before training', async () => {
    const call = ['adapt', 'compare', at('base'), '--data', at('data.jsonl'), '--out', at('none')]
    const unknown = await weft(...call, '--methods', 'lorra')
    expect(unknown).toMatchObject({ code: 2 })
    expect(unknown.err).toMatch(/Nearest: lora/)
    const small = await weft(...call, '--methods', 'lora', '--budget', '3')
    expect(small).toMatchObject({ code: 2 })
    expect(small.err).toMatch(/its smallest \(rank 1\) trains \d+ numbers; the budget is 3/)
    expect((await weft(...call, '--budget', 'much')).err).toMatch(/a share such as 0.5%/)
  })
})
