/** @file CFG distillation as a merge: what it writes, and what it refuses. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scratchFolder, writeTinyLlama } from '../../../test/tiny.js'
import { open } from '../../checkpoint/index.js'
import { cfgDistillation } from './cfg-distillation.js'

describe('weft merge --method cfg-distillation', () => {
  let scratch: Awaited<ReturnType<typeof scratchFolder>>
  beforeAll(async () => {
    scratch = await scratchFolder()
    await writeTinyLlama(`${scratch.path}/base`)
  })
  afterAll(() => scratch.remove())

  it('writes the mix and both students, with the recipe of the mix', async () => {
    await using model = await open(`${scratch.path}/base`)
    const data = [{ prompt: 'The cat', completion: ' sleeps.' }, { text: 'The dog' }]
    const options = { data, steps: 1, prompts: 1, samples: 2, tokens: 4, mix: 0.25 }
    const result = await cfgDistillation([model], options)
    await result.save(`${scratch.path}/out`)
    const [mixed, quality, variety] = await Promise.all(
      ['', '/quality', '/variety'].map((f) => open(`${scratch.path}/out${f}`)),
    )
    const name = 'model.layers.0.mlp.up_proj.weight'
    const [m, q, d] = await Promise.all(
      [mixed, quality, variety].map(async (c) => (await c.read(name)).data as Float32Array),
    )
    m.forEach((v, i) => expect(v).toBeCloseTo(0.75 * q[i] + 0.25 * d[i], 6))
    for (const c of [mixed, quality, variety]) await c.close()
    await expect(cfgDistillation([model], { ...options, mix: 2 })).rejects.toThrow(/mix is 2/)
    const plain = await cfgDistillation([model], { ...options, diversity: 0 })
    expect(Object.keys(plain.report)).toEqual(['quality'])
  })
})
