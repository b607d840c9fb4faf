import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { countOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { opened } from '../../../test/opened.js'
import { toNumbers } from '../../tensor/index.js'
import { ia3 } from '../index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => void (scratch = await scratchFolder()))
afterAll(() => scratch.remove())

it('trains a number for each key, each value and each hidden unit', async () => {
  // 3 layers, 2 key heads of size 8, 72 hidden units
  expect(countOf(await ia3(await opened(goldenFolder('llama'))))).toBe(3 * (2 * 16 + 72))
})

it('folds into the rows of keys and values and the columns of what follows the hidden units', async () => {
  const base = await opened(goldenFolder('llama'))
  const model = noisy(await ia3(base))
  await model.fold(join(scratch.path, 'llama'))
  const folded = await opened(join(scratch.path, 'llama'))
  for (const [module, along] of [
    ['self_attn.k_proj', 'row'],
    ['mlp.down_proj', 'column'],
  ]) {
    const name = `model.layers.1.${module}`
    const before = await base.read(`${name}.weight`)
    const [old, now] = [before, await folded.read(`${name}.weight`)].map(toNumbers)
    const l = toNumbers(model.parameters[`${name}.ia3_l`])
    const width = before.shape[1]
    old.forEach((w, i) => {
      expect(now[i]).toBeCloseTo(w * l[along === 'row' ? Math.floor(i / width) : i % width], 6)
    })
  }
  const query = 'model.layers.1.self_attn.q_proj.weight'
  expect((await folded.read(query)).data).toEqual((await base.read(query)).data)
})

it('scales the biases of keys and values with them, and no other', async () => {
  const base = await opened(goldenFolder('gpt2'))
  const model = noisy(await ia3(base))
  await model.fold(join(scratch.path, 'gpt2'))
  const folded = await opened(join(scratch.path, 'gpt2'))
  const read = async (name: string): Promise<Float64Array[]> =>
    [await base.read(name), await folded.read(name)].map(toNumbers)
  const l = toNumbers(model.parameters['transformer.h.0.attn.c_attn.ia3_l'])
  const [old, now] = await read('transformer.h.0.attn.c_attn.bias')
  old.forEach((b, i) => expect(now[i]).toBeCloseTo(b * l[i], 6))
  const [before, after] = await read('transformer.h.0.mlp.c_proj.bias')
  expect(after).toEqual(before)
})

it('other feed-forward modules may be named', async () => {
  const model = await ia3(await opened(goldenFolder('llama')), {
    targets: ['up_proj', 'v_proj'],
    feedforward: ['up_proj'],
  })
  expect(model.parameters['model.layers.0.mlp.up_proj.ia3_l'].shape).toEqual([1, 32])
  expect(model.parameters['model.layers.0.self_attn.v_proj.ia3_l'].shape).toEqual([16, 1])
})
