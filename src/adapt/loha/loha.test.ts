import { expect, it } from 'vitest'
import { changed, countOf, gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { opened } from '../../../test/opened.js'
import { loha, lora } from '../index.js'

it('trains 2 r (in + out) numbers a module', async () => {
  const model = await loha(await opened(goldenFolder('llama')), { rank: 3, targets: 'all-linear' })
  // 3 layers of width 32, 16 for keys and values, 72 hidden
  expect(countOf(model)).toBe(3 * 2 * 3 * (2 * 64 + 2 * 48 + 3 * 104))
})

it('is LoRA where the second product is one everywhere', async () => {
  const base = await opened(goldenFolder('llama'))
  const reference = noisy(await lora(base, { rank: 2, alpha: 6 }))
  const model = changed(await loha(base, { rank: 2, alpha: 6 }), (old, name) => {
    const site = name.slice(0, name.lastIndexOf('.'))
    const { parameters } = reference
    if (name.endsWith('w1_a')) return parameters[`${site}.lora_B.weight`].data as Float32Array
    if (name.endsWith('w1_b')) return parameters[`${site}.lora_A.weight`].data as Float32Array
    return old.map(() => Math.SQRT1_2)
  })
  expect(gap(await logitsOf(model), await logitsOf(reference))).toBeLessThan(1e-5)
})

it('other ranks and alphas by module', async () => {
  const { parameters } = await loha(await opened(goldenFolder('llama')), { rankPattern: { v_proj: 2 } })
  expect(parameters['model.layers.0.self_attn.v_proj.hada_w1_a'].shape).toEqual([16, 2])
  expect(parameters['model.layers.0.self_attn.q_proj.hada_w1_a'].shape).toEqual([32, 8])
})
