import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { changed, countOf, gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { opened } from '../../../test/opened.js'
import type { Checkpoint } from '../../checkpoint/index.js'
import { toNumbers } from '../../tensor/index.js'
import { loadAdapter, oft } from '../index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let base: Checkpoint
beforeAll(async () => {
  scratch = await scratchFolder()
  base = await opened(goldenFolder('llama'))
})
afterAll(() => scratch.remove())

/** Products of each row with each: [rows, rows]. */
const gram = (w: Float64Array, width: number): Float64Array => {
  const rows = w.length / width
  return Float64Array.from({ length: rows * rows }, (_, n) => {
    const [i, j] = [Math.floor(n / rows) * width, (n % rows) * width]
    let sum = 0
    for (let k = 0; k < width; k++) sum += w[i + k] * w[j + k]
    return sum
  })
}

it.each([0.1, 1])(
  'rotates by %d: folded, the products of the rows of a weight are what they were',
  async (scale) => {
    const model = noisy(await oft(base, { blockSize: 16 }), scale)
    const folder = join(scratch.path, `folded-${scale}`)
    await model.fold(folder)
    const folded = await opened(folder)
    const name = 'model.layers.0.self_attn.q_proj.weight'
    const [before, after] = [await base.read(name), await folded.read(name)].map(toNumbers)
    expect(gap(after, before)).toBeGreaterThan(1e-2)
    expect(gap(gram(after, 32), gram(before, 32))).toBeLessThan(1e-5)
  },
)

it('trains s (s - 1) / 2 numbers for each block of width s', async () => {
  expect(countOf(await oft(base, { blockSize: 8, targets: ['q_proj'] }))).toBe(3 * 4 * 28)
  expect(countOf(await oft(base, { blocks: 2, targets: ['q_proj'] }))).toBe(3 * 2 * 120)
  // 72 inputs: 24 divides, and is nearer to 25 than 36 is.
  expect(countOf(await oft(base, { blockSize: 25, targets: ['down_proj'] }))).toBe(3 * 3 * 276)
  await expect(oft(base, { blocks: 32 })).rejects.toMatchObject({ code: 'BadBlocks' })
})

it("PEFT's series comes near the rotation for small angles, the other way round", async () => {
  const exact = noisy(await oft(base, { blockSize: 8 }), 0.02)
  const series = changed(await oft(base, { blockSize: 8, series: 12 }), (_, name) =>
    toNumbers(exact.parameters[name]).map((x) => -x),
  )
  expect(gap(await logitsOf(series), await logitsOf(exact))).toBeLessThan(1e-5)
  await series.save(join(scratch.path, 'series'))
  const loaded = await loadAdapter(base, join(scratch.path, 'series'))
  expect(await logitsOf(loaded)).toEqual(await logitsOf(series))
})
