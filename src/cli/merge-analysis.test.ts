/** @file `weft merge --analyse`: what it leaves in the run for the lab to draw. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { type Outcome, weftWith } from '../../test/weft.js'
import { readRuns } from '../runs/index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)
const weft = (...argv: string[]): Promise<Outcome> => weftWith({ WEFT_HOME: at('home') }, argv)
beforeAll(async () => {
  scratch = await scratchFolder()
  await mkdir(at('base'))
  await writeTinyLlama(at('base'))
  await writeFile(at('data.jsonl'), sentences.map((text) => JSON.stringify({ text })).join('\n'))
  for (const seed of ['1', '2']) {
    const flags = [
      '--data',
      at('data.jsonl'),
      '--steps',
      '4',
      '--batch',
      '4',
      '--learning-rate',
      '0.01',
      '--seed',
      seed,
    ]
    const trained = await weft('train', '--model', at('base'), ...flags, '--out', at(`tuned${seed}`))
    expect(trained).toMatchObject({ code: 0 })
  }
})
afterAll(() => scratch.remove())

interface Drawn {
  kind: string
  title: string
  series: { name: string; points: { x: number | string; y: number }[] }[]
}

describe('weft merge --analyse', () => {
  it('leaves heat maps by layer, the loss from the result to each model, and the recipe', async () => {
    const models = [at('tuned1'), at('tuned2')]
    const merge = [
      'merge',
      '--method',
      'task_arithmetic',
      '--base',
      at('base'),
      '--weight',
      '0.5,0.5',
      ...models,
    ]
    const flags = ['--out', at('merged'), '--analyse', '--data', at('data.jsonl')]
    expect(await weft(...merge, ...flags)).toMatchObject({ code: 0 })
    const [run] = (await readRuns(at('home'))).filter(({ command }) => command === 'merge')
    const plots = JSON.parse(await readFile(join(run.folder, 'plots.json'), 'utf8')) as Drawn[]
    expect(plots.map(({ kind }) => kind)).toEqual(['heatmap', 'heatmap', 'heatmap', 'curve'])
    const [distance, , signs, loss] = plots
    expect(distance.series[0].points.map(({ x }) => x)).toEqual(models)
    for (const { points } of signs.series) for (const { y } of points) expect(y).toBeGreaterThan(0.4)
    // Two lines begin at the same model, and end at those that were trained.
    expect(loss.series.map(({ name }) => name)).toEqual(models)
    expect(loss.series[0].points[0].y).toBe(loss.series[1].points[0].y)
    expect(loss.series[0].points.at(-1)!.y).not.toBe(loss.series[1].points.at(-1)!.y)
    expect(await readFile(join(run.folder, 'recipe.yaml'), 'utf8')).toMatch(/merge_method: task_arithmetic/)
  })

  it('refuses data without it, and says what they would be for', async () => {
    const refused = await weft('merge', '--method', 'linear', at('tuned1'), '--out', at('x'), '--data', 'd')
    expect(refused).toMatchObject({ code: 2 })
    expect(refused.err).toMatch(/--analyse/)
  })
})
