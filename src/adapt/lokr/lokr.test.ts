import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { changed, countOf, gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { opened } from '../../../test/opened.js'
import type { Checkpoint } from '../../checkpoint/index.js'
import { openModel } from '../../models/index.js'
import { loadAdapter, lokr, lora } from '../index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let base: Checkpoint
beforeAll(async () => {
  scratch = await scratchFolder()
  base = await opened(goldenFolder('llama'))
})
afterAll(() => scratch.remove())

it('trains l m + r (k + n) numbers a module where the right factor is a product', async () => {
  const model = await lokr(base, { rank: 2, targets: ['q_proj', 'up_proj'] })
  // 32 x 32 is (4 x 4) and (8 x 8); 72 x 32 is (8 x 4) and (9 x 8)
  expect(countOf(model)).toBe(3 * (16 + 2 * (8 + 8) + 32 + 2 * (9 + 8)))
  const both = await lokr(base, { rank: 1, decomposeBoth: true, targets: ['q_proj'] })
  expect(countOf(both)).toBe(3 * (4 + 4 + 8 + 8))
})

it('is LoRA where the left factor is the number one', async () => {
  const reference = noisy(await lora(base, { rank: 2, alpha: 6 }))
  const model = changed(await lokr(base, { rank: 2, alpha: 6, factor: 1 }), (_, name) => {
    const site = name.slice(0, name.lastIndexOf('.'))
    const { parameters } = reference
    if (name.endsWith('w2_a')) return parameters[`${site}.lora_B.weight`].data as Float32Array
    if (name.endsWith('w2_b')) return parameters[`${site}.lora_A.weight`].data as Float32Array
    return [1]
  })
  expect(gap(await logitsOf(model), await logitsOf(reference))).toBeLessThan(1e-5)
})

it.each([{ rank: 2 }, { rank: 1, decomposeBoth: true }, { rank: 2, factor: 8 }])(
  'folds and reloads with %j',
  async (options) => {
    const fresh = await lokr(base, { ...options, targets: 'all-linear' })
    expect(gap(await logitsOf(fresh), await logitsOf(await openModel(base)))).toBeLessThan(1e-5)
    const model = noisy(fresh)
    const folder = join(scratch.path, JSON.stringify(options).replace(/\W/g, ''))
    await model.save(folder)
    expect(await logitsOf(await loadAdapter(base, folder))).toEqual(await logitsOf(model))
    await model.fold(`${folder}-folded`)
    const folded = await openModel(await opened(`${folder}-folded`))
    expect(gap(await logitsOf(folded), await logitsOf(model))).toBeLessThan(2e-5)
  },
)

it('a factor that does not divide is refused, or brought down to one that does', async () => {
  await expect(lokr(base, { factor: 5 })).rejects.toThrow(/factor 5 does not divide 32.*q_proj[^]*4 x 8/)
  await expect(lokr(base, { factor: 0 })).rejects.toMatchObject({ code: 'BadFactor' })
  const { parameters } = await lokr(base, { factor: 5, nearestFactor: true })
  expect(parameters['model.layers.0.self_attn.q_proj.lokr_w1'].shape).toEqual([4, 4])
})
