import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { type Checkpoint, open } from '../../checkpoint/index.js'
import { openModel } from '../../models/index.js'
import { type Value, valueOf } from '../../tensor/index.js'
import { fit, type Hook } from '../../train/index.js'
import { loadAdapter, lora, nf4 } from '../index.js'

const opened: Checkpoint[] = []
const golden = async (name: string): Promise<Checkpoint> => {
  const checkpoint = await open(goldenFolder(name))
  opened.push(checkpoint)
  return checkpoint
}
let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => void (scratch = await scratchFolder()))
afterAll(async () => {
  await Promise.all(opened.map((checkpoint) => checkpoint.close()))
  await scratch.remove()
})

const bytesOf = (v: Value): number => v.data.byteLength

describe.each(['llama', 'gpt2'])('a base of four bits, %s', (architecture) => {
  it.each([true, false])(
    'folded is the rounded base with the adapter: double %s',
    async (doubleQuantization) => {
      const base = await golden(architecture)
      const options = { base: 'nf4', doubleQuantization, targets: 'all-linear', rank: 4 } as const
      const fresh = await lora(base, options)
      const [plain, rounded] = [await logitsOf(await openModel(base)), await logitsOf(fresh)]
      expect(gap(rounded, plain)).toBeGreaterThan(1e-4)
      const model = noisy(fresh)
      const folder = join(scratch.path, `${architecture}-${doubleQuantization}`)
      await model.fold(folder)
      await using folded = await open(folder)
      expect(gap(await logitsOf(await openModel(folded)), await logitsOf(model))).toBeLessThan(2e-5)
    },
  )

  it('takes the update alone where only it is folded: unadapted modules are rounded in the file too', async () => {
    const base = await golden(architecture)
    const model = await lora(base, { base: 'nf4' })
    const folder = join(scratch.path, `${architecture}-default`)
    await model.fold(folder)
    await using folded = await open(folder)
    expect(gap(await logitsOf(await openModel(folded)), await logitsOf(model))).toBeLessThan(2e-5)
  })

  it('comes back with the adapter, which knows its base by what its file held', async () => {
    const base = await golden(architecture)
    const model = noisy(await lora(base, { base: 'nf4' }))
    const folder = join(scratch.path, `${architecture}-saved`)
    await model.save(folder)
    const warnings: string[] = []
    const loaded = await loadAdapter(base, folder, { onWarning: (text) => warnings.push(text) })
    expect(warnings).toEqual([])
    expect(gap(await logitsOf(loaded), await logitsOf(model))).toBe(0)
  })
})

describe('a base of four bits', () => {
  it('holds less than a sixth of the numbers it stands for', async () => {
    const model = await nf4(await openModel(await golden('llama')))
    const name = 'model.layers.0.mlp.down_proj'
    expect(model.bytes(name)).toBeLessThan(bytesOf(model.rewritten!(`${name}.weight`)!) / 6)
  })

  it('trains as the rounded base in full does', async () => {
    const ids = valueOf([3, 1, 4, 1, 5, 9, 2, 6], [2, 4], 'int32')
    const batches = () => Array.from({ length: 8 }, () => ({ ids, labels: ids }))
    const start = await lora(await golden('llama'), { base: 'nf4', targets: 'all-linear' })
    const folder = join(scratch.path, 'rounded')
    await start.fold(folder)
    await using rounded = await open(folder)
    const same = await lora(rounded, { targets: 'all-linear' })
    const [own, full] = await Promise.all(
      [start, same].map(async (model) => {
        const losses: number[] = []
        const hook: Hook = (_, { losses: [loss] }) => void losses.push(loss)
        await fit(model, batches, { steps: 8, learningRate: 1e-2, hook })
        return losses
      }),
    )
    own.forEach((loss, i) => expect(Math.abs(loss - full[i])).toBeLessThan(1e-4))
    expect(own.at(-1)).toBeLessThan(own[0] - 0.1)
  })

  it('is refused where the base trains', async () => {
    const base = await openModel(await golden('llama'), { trainable: true })
    await expect(lora(base, { base: 'nf4' })).rejects.toMatchObject({ code: 'CannotQuantize' })
  })
})
