import { afterAll, describe, expect, it } from 'vitest'
import { changed, countOf, gap, logitsOf } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { type Checkpoint, open } from '../../checkpoint/index.js'
import { answering, openModel } from '../../models/index.js'
import { compile, stack, type Tensor, toNumbers, type Value, valueOf } from '../../tensor/index.js'
import { prefix } from '../index.js'

const opened: Checkpoint[] = []
const golden = async (name: string): Promise<Checkpoint> => {
  const checkpoint = await open(goldenFolder(name))
  opened.push(checkpoint)
  return checkpoint
}
afterAll(() => Promise.all(opened.map((checkpoint) => checkpoint.close())))

const tail = valueOf([5, 6, 7], [1, 3], 'int32')

describe('prefix', () => {
  it.each([
    // 2 p d numbers a block, d the width of keys.
    ['llama', 3 * 16],
    ['gpt2', 3 * 32],
    ['bert-mlm', 3 * 32],
    ['vit', 2 * 32],
    ['t5', 2 * 32],
  ])('on %s trains 2 p numbers for each of the keys of its blocks', async (architecture, widths) => {
    const model = await prefix(await golden(architecture), { tokens: 4, modulesToSave: [] })
    expect(countOf(model)).toBe(2 * 4 * widths)
  })

  it('made by a small network saves the keys and values that it makes', async () => {
    const options = { tokens: 4, projection: true, projectionWidth: 6 }
    const model = await prefix(await golden('llama'), options)
    const exported = await model.exported()
    expect(exported.parameters.prompt_embeddings.shape).toEqual([4, 2 * 3 * 16])
    expect(countOf(model)).toBe(4 * 16 + (16 * 6 + 6) + (6 * 96 + 96))
    expect(gap(await logitsOf(exported), await logitsOf(model))).toBeLessThan(1e-5)
  })

  it('of keys and values of words is those words', async () => {
    const base = await golden('gpt2')
    const model = await openModel(base)
    const words = valueOf([11, 12, 13, 14], [1, 4], 'int32')
    const entries = await compile(
      ({ words }: { words: Tensor }) => {
        const found: Tensor[] = []
        const w = answering(model.weights({}, {}), {
          attend(_, parts, core) {
            found.push(parts.k, parts.v)
            return core(parts).output
          },
        })
        model.architecture.forward(w, { ids: words }, model.config)
        return stack(found).squeeze(1).transpose([2, 0, 1, 3]).reshape([4, -1])
      },
      { words },
    )
    const numbers = toNumbers((await entries.run({ words })) as unknown as Value)
    const own = await logitsOf(
      changed(await prefix(base, { tokens: 4 }), () => numbers),
      { ids: tail },
    )
    const all = await logitsOf(model, { ids: valueOf([11, 12, 13, 14, 5, 6, 7], [1, 7], 'int32') })
    expect(gap(own, all.slice(all.length - own.length))).toBeLessThan(1e-5)
  })
})
