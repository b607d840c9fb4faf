import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, writeTinyLlama } from '../../test/tiny.js'
import { opened } from '../../test/opened.js'
import { type Model, openModel } from '../models/index.js'
import { valueOf } from '../tensor/index.js'
import { type Batch, rehearse } from './index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let model: Model
beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(join(scratch.path, 'base'))
  model = await openModel(await opened(join(scratch.path, 'base')), { trainable: true })
})
afterAll(() => scratch.remove())

const batchOf = (rows: number, time: number): Batch => {
  const ids = valueOf(
    Int32Array.from({ length: rows * time }, (_, i) => i % 50),
    [rows, time],
    'int32',
  )
  return { ids, labels: ids }
}

describe('a rehearsal', () => {
  it('states the peak of memory within 15 %, of which most is what the graph holds', async () => {
    const child = fileURLToPath(new URL('../../test/rehearse-child.ts', import.meta.url))
    for (const mode of ['all', 'adapter']) {
      const args = ['--import', 'tsx', child, mode]
      const { stdout } = await promisify(execFile)(process.execPath, args)
      const { stated, values, peak } = JSON.parse(stdout) as Record<'stated' | 'values' | 'peak', number>
      expect(Math.abs(stated / peak - 1), `${mode}: ${stated} stated, ${peak} held`).toBeLessThan(0.15)
      expect(values).toBeGreaterThan(peak / 3)
    }
  })

  it('needs more for larger batches, less for blocks computed again, and computes nothing', async () => {
    const needs = (rows: number, recompute = false) =>
      rehearse(model, () => [batchOf(rows, 64)], { recompute })
    const [small, large, again] = [await needs(8), await needs(32), await needs(32, true)]
    expect(large.values).toBeGreaterThan(3 * small.values)
    expect(again.values).toBeLessThan(large.values)
    expect(again.work.flops).toBeGreaterThan(large.work.flops)
    expect(large.work.flops / small.work.flops).toBeCloseTo(4, 0)
  })
})
