/** @file What every method of the family refuses, with one clear error and before anything is written. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { type Checkpoint, open } from '../../checkpoint/index.js'
import { CheckpointError, UsageError } from '../../errors.js'
import { createModel, type Model } from '../../models/index.js'
import { valueOf } from '../../tensor/index.js'
import { maxOf } from '../../tensor/numbers.js'
import { evaluate, fit } from '../../train/index.js'
import { type AdaptedModel, type AdapterMethod, loadAdapter, methods } from '../index.js'

let base: Checkpoint
let narrow: Model
let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => {
  base = await open(goldenFolder('llama'))
  narrow = await createModel({ ...base.config, hidden_size: 16, intermediate_size: 24 } as never, { seed: 1 })
  scratch = await scratchFolder()
})
afterAll(async () => {
  await base.close()
  await scratch.remove()
})

const ids = valueOf([3, 1, 4, 1, 5, 9, 2, 6], [2, 4], 'int32')
const cases = methods.map(
  (method) => [method.paper.id, method as AdapterMethod<Record<string, unknown>>] as const,
)
const takes = (option: string) => cases.filter(([, method]) => option in method.options.shape)
const given = (method: AdapterMethod<Record<string, unknown>>): Record<string, unknown> =>
  'calibration' in method.options.shape ? { calibration: [{ ids, labels: ids }] } : {}

describe('a rank above the matrix', () => {
  it.each(takes('rank'))(
    'is refused by %s, or makes no matrix at a module larger than its weight',
    async (_, method) => {
      const attempt = await method(base, { ...given(method), rank: 10_000 }).catch((error: unknown) => error)
      if (attempt instanceof Error) {
        expect(attempt).toBeInstanceOf(UsageError)
        expect(attempt.message).toMatch(/rank 10000 .*at model\.layers\.0\..* \d+\)? x \d+/)
        return
      }
      for (const { site, parameters } of (attempt as AdaptedModel).plan.sites)
        for (const { key, shape } of Object.values(parameters))
          if (shape.length > 1) expect(maxOf(shape), key).toBeLessThanOrEqual(Math.max(site.in, site.out))
    },
  )
})

describe('an adapter of a base of other widths', () => {
  it.each(cases)('of %s is refused, naming a tensor and both shapes', async (id, method) => {
    const folder = join(scratch.path, id)
    await (await method(base, given(method))).save(folder)
    const attempt = loadAdapter(narrow, folder, { onWarning: () => undefined })
    await expect(attempt).rejects.toBeInstanceOf(CheckpointError)
  })
})

describe('a task that there is not', () => {
  const routed = cases.filter(([, method]) => 'tasks' in method.options.shape)

  it.each(routed)('is refused by %s, as an option', async (_, method) => {
    const attempt = method(base, { tasks: 3, task: 3 })
    await expect(attempt).rejects.toMatchObject({ code: 'NoSuchTask' })
  })

  it.each(routed)(
    'is refused by %s in a batch, trained or evaluated, and nothing is written',
    async (id, method) => {
      const model = await method(base, { tasks: 3 })
      const batch = { ids, labels: ids, taskIds: valueOf([0, 3], [2], 'int32') }
      const out = join(scratch.path, `${id}-tasks`)
      await expect(evaluate(model, () => [batch])).rejects.toMatchObject({ code: 'NoSuchTask' })
      await expect(fit(model, () => [batch], { steps: 1, out })).rejects.toMatchObject({ code: 'NoSuchTask' })
      const written = await readdir(out, { recursive: true }).catch(() => [])
      expect(written.filter((name) => name.endsWith('.safetensors'))).toEqual([])
    },
  )
})
