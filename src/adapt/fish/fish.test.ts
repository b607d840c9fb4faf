import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { countOf } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder, writeWideLlama } from '../../../test/tiny.js'
import { opened } from '../../../test/opened.js'
import type { Checkpoint } from '../../checkpoint/index.js'
import { openModel } from '../../models/index.js'
import { siteWeight } from '../../models/stored.js'
import { weightGradients } from '../../observe/index.js'
import { Stream } from '../../random/index.js'
import { toNumbers, value, type Value, valueOf } from '../../tensor/index.js'
import { type Batch, fit } from '../../train/index.js'
import { fish, loadAdapter } from '../index.js'
import { chosenEntries } from './fish.js'
import { maxOf, minOf } from '../../tensor/numbers.js'

let base: Checkpoint
let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => {
  base = await opened(goldenFolder('llama'))
  scratch = await scratchFolder()
})
afterAll(() => scratch.remove())

const batchOf = (rows: number, vocabulary: number): Batch => {
  const stream = new Stream('fish')
  const tokens = Array.from({ length: 7 * rows }, () => stream.int(vocabulary))
  const ids = valueOf(tokens, [rows, 7], 'int32')
  return { ids, labels: ids }
}
const rowOf = ({ data, shape: [, time], dtype }: Value, row: number): Value =>
  value(data.slice(row * time, (row + 1) * time), [1, time], dtype)

it('trains the entries whose squared gradient, summed over single rows, is largest of all modules together', async () => {
  const batch = batchOf(3, 90)
  const model = await fish(base, { targets: ['up_proj', 'down_proj'], density: 0.1, calibration: [batch] })
  const sites = model.plan.sites.map(({ site }) => site)
  const all = sites.reduce((n, site) => n + site.in * site.out, 0)
  expect(countOf(model)).toBe(Math.floor(0.1 * all))
  const open = await openModel(base)
  const weights: Record<string, Value> = {}
  for (const site of sites) weights[`${site.name}.weight`] = await siteWeight(open, site)
  const sums = new Map(sites.map(({ name, in: width, out }) => [name, new Float64Array(width * out)]))
  for (const row of [0, 1, 2]) {
    const sample = { ids: rowOf(batch.ids, row), labels: rowOf(batch.labels, row) }
    for await (const [name, g] of weightGradients(open, weights, [sample]))
      g.forEach((x, i) => (sums.get(name.replace(/\.weight$/, ''))![i] += x * x))
  }
  const chosen = sites.map(({ name }) => {
    const places = toNumbers(model.parameters[`${name}.lift_indices`])
    return { sum: sums.get(name)!, places: new Set(places) }
  })
  const least = minOf(chosen.flatMap(({ sum, places }) => [...places].map((i) => sum[i])))
  const left = chosen.flatMap(({ sum, places }) => [...sum].filter((_, i) => !places.has(i)))
  expect(maxOf(left)).toBeLessThanOrEqual(least * (1 + 1e-4))
})

describe('the choice', () => {
  it('leaves no module without an entry', () => {
    const scores = new Map([
      ['a', Float32Array.of(9, 8, 7)],
      ['b', Float32Array.of(1, 3, 2)],
    ])
    expect(chosenEntries(scores, 2)).toEqual({ a: Int32Array.of(0, 1), b: Int32Array.of(1) })
  })

  it('of 200,000 entries of a matrix trains, is saved and loaded', async () => {
    const folder = join(scratch.path, 'wide')
    await writeWideLlama(folder)
    const wide = await opened(folder)
    const batch = batchOf(1, 8)
    const start = await fish(wide, { targets: ['down_proj'], density: 0.8, calibration: [batch] })
    const { model } = await fit(start, () => [batch, batch], { steps: 2, learningRate: 1e-2 })
    const saved = join(scratch.path, 'wide-saved')
    await model.save(saved)
    const loaded = await loadAdapter(wide, saved)
    expect(countOf(loaded)).toBe(Math.floor(0.8 * 256 * 1024))
    const name = 'model.layers.0.mlp.down_proj.lift_values'
    expect(loaded.parameters[name].data).toEqual(model.parameters[name].data)
  })
})

describe('refuses', () => {
  it.each([
    ['to choose by nothing', {}, 'NoCalibration'],
    [
      'a share of less than an entry a module',
      { density: 1e-6, calibration: [batchOf(1, 90)] },
      'DensityTooSmall',
    ],
    ['a share of nothing', { density: 0 }, 'BadOption'],
  ])('%s', async (_, options, code) => {
    await expect(fish(base, options)).rejects.toMatchObject({ code })
  })
})
