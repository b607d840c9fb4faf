import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { changed, countOf, gap, logitsOf } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { type Checkpoint, open } from '../../checkpoint/index.js'
import { toNumbers, valueOf } from '../../tensor/index.js'
import { type Batch, fit } from '../../train/index.js'
import { budgetAt } from './allocation.js'
import { adalora, type AdaptedModel, loadAdapter, lora } from '../index.js'

let base: Checkpoint
let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => {
  base = await open(goldenFolder('llama'))
  scratch = await scratchFolder()
})
afterAll(async () => {
  await base.close()
  await scratch.remove()
})

function* batches(): Generator<Batch> {
  for (let i = 0; ; i++) {
    const ids = valueOf(
      Array.from({ length: 12 }, (_, j) => (7 * i + 3 * j * j + 1) % 90),
      [2, 6],
      'int32',
    )
    yield { ids, labels: ids }
  }
}

const alive = (model: AdaptedModel): number =>
  Object.entries(model.parameters)
    .filter(([name]) => name.endsWith('lora_E'))
    .reduce((n, [, v]) => n + toNumbers(v).filter((x) => x !== 0).length, 0)

describe('adalora', () => {
  it('has r (in + out + 1) numbers at every target', async () => {
    expect(countOf(await adalora(base, { rank: 4, target: 2 }))).toBe(
      3 * (4 * (32 + 32 + 1) + 4 * (32 + 16 + 1)),
    )
  })

  it('ends with the mean rank that was asked for, wherever it matters most', async () => {
    const start = await adalora(base, { rank: 4, target: 2, initialSteps: 2, finalSteps: 3 })
    const counts: number[] = []
    const { model } = await fit(start, batches, {
      steps: 10,
      learningRate: 1e-2,
      hook: ({ parameters }) => void counts.push(alive({ parameters } as never)),
    })
    // 6 modules; between steps 2 and 7 the cubic goes from 4 to 2 of them.
    expect(counts).toEqual([24, 24, 18, 14, 12, 12, 12, 12, 12, 12])
    expect(alive(model)).toBe(12)
  })

  it('the budget never rises, and goes from one rank to the other', () => {
    const numbers = fc.integer({ min: 1, max: 50 })
    fc.assert(
      fc.property(numbers, numbers, numbers, numbers, (start, length, last, more) => {
        const schedule = { start, end: start + length, interval: 1 }
        const all = Array.from({ length: start + length + 5 }, (_, i) =>
          budgetAt(i + 1, schedule, last + more, last),
        )
        expect(all[start - 1]).toBe(last + more)
        expect(all.at(-1)).toBe(last)
        all.slice(1).forEach((budget, i) => expect(budget).toBeLessThanOrEqual(all[i]))
      }),
    )
  })

  it('is saved without what was pruned, and gives the same logits', async () => {
    const start = await adalora(base, { rank: 4, target: 1, initialSteps: 0, finalSteps: 2 })
    const { model } = await fit(start, batches, { steps: 6, learningRate: 1e-2 })
    const folder = join(scratch.path, 'pruned')
    await model.save(folder)
    const loaded = await loadAdapter(base, folder)
    expect(countOf(loaded)).toBeLessThan(countOf(model) / 2)
    expect(gap(await logitsOf(loaded), await logitsOf(model))).toBeLessThan(1e-5)
  })

  it('with every λ one is LoRA', async () => {
    const options = { rank: 4, alpha: 8, seed: 3 }
    const own = changed(await adalora(base, { ...options, target: 4 }), (old, name) =>
      name.endsWith('lora_E') ? old.fill(1) : old,
    )
    const plain = changed(await lora(base, options), (_, name) =>
      toNumbers(own.parameters[name.replace('.weight', '')]),
    )
    // PEFT divides by the rank and a hundred-thousandth.
    expect(gap(await logitsOf(own), await logitsOf(plain))).toBeLessThan(1e-5)
  })

  it('refuses a rank that a matrix cannot have, a target above it, and a schedule without a step to prune in', async () => {
    await expect(adalora(base, { rank: 17 })).rejects.toMatchObject({ code: 'RankTooHigh' })
    await expect(adalora(base, { rank: 4, target: 5 })).rejects.toMatchObject({ code: 'BadOption' })
    const model = await adalora(base, { rank: 4, target: 2, initialSteps: 5, finalSteps: 5 })
    await expect(fit(model, batches, { steps: 10 })).rejects.toMatchObject({ code: 'BadSchedule' })
  })
})
