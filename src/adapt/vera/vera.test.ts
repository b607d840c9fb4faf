import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { countOf, gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { opened } from '../../../test/opened.js'
import { openModel } from '../../models/index.js'
import { toNumbers } from '../../tensor/index.js'
import { loadAdapter, vera } from '../index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => void (scratch = await scratchFolder()))
afterAll(() => scratch.remove())

it('trains out + r numbers a module, and keeps one pair of projections as wide as the widest', async () => {
  const model = await vera(await opened(goldenFolder('llama')), { rank: 5, targets: 'all-linear' })
  // 3 layers: q and o 32, k and v 16, gate and up 72, down 32
  expect(countOf(model)).toBe(3 * (2 * 32 + 2 * 16 + 2 * 72 + 32 + 7 * 5))
  await model.save(join(scratch.path, 'wide'))
  const saved = await opened(goldenFolder('llama'))
  const file = await loadAdapter(saved, join(scratch.path, 'wide'))
  expect(Object.values(file.plan.shared).map(({ shape }) => shape)).toEqual([
    [5, 72],
    [72, 5],
  ])
})

it('folds where modules differ in width', async () => {
  const model = noisy(await vera(await opened(goldenFolder('llama')), { rank: 5, targets: 'all-linear' }))
  const folder = join(scratch.path, 'folded')
  await model.fold(folder)
  expect(gap(await logitsOf(await openModel(await opened(folder))), await logitsOf(model))).toBeLessThan(2e-5)
})

it('another seed has other projections, and a loaded adapter those it was trained with', async () => {
  const base = await opened(goldenFolder('llama'))
  const [first, second] = [await vera(base, { seed: 1 }), await vera(base, { seed: 2 })].map((m) => noisy(m))
  expect(gap(await logitsOf(first), await logitsOf(second))).toBeGreaterThan(1e-3)
  await first.save(join(scratch.path, 'first'))
  const loaded = await loadAdapter(base, join(scratch.path, 'first'))
  expect(await logitsOf(loaded)).toEqual(await logitsOf(first))
})

it('starts with b zero and d as asked', async () => {
  const { parameters } = await vera(await opened(goldenFolder('llama')), { rank: 4, initial: 0.25 })
  const at = 'model.layers.0.self_attn.q_proj'
  expect([...toNumbers(parameters[`${at}.vera_lambda_d`])]).toEqual([0.25, 0.25, 0.25, 0.25])
  expect(toNumbers(parameters[`${at}.vera_lambda_b`]).every((x) => x === 0)).toBe(true)
})
