import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { opened } from '../../../test/opened.js'
import { lnTuning } from '../index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => void (scratch = await scratchFolder()))
afterAll(() => scratch.remove())

const norms = {
  llama: /norm\.weight$/,
  gpt2: /ln_\w+\.(weight|bias)$/,
  'bert-mlm': /LayerNorm\.(weight|bias)$/,
}

it.each(Object.entries(norms))(
  'on %s it trains every norm, and folded nothing else differs',
  async (name, norm) => {
    const base = await opened(goldenFolder(name))
    const model = noisy(await lnTuning(base))
    const folder = join(scratch.path, name)
    await model.fold(folder)
    const folded = await opened(folder)
    for (const tensor of base.names()) {
      const [before, after] = [await base.read(tensor), await folded.read(tensor)]
      if (norm.test(tensor)) expect(after.data).not.toEqual(before.data)
      else expect(after.data).toEqual(before.data)
    }
    expect(Object.keys(model.parameters).length).toBe(base.names().filter((n) => norm.test(n)).length)
  },
)

it('starts from what the norms are', async () => {
  const base = await opened(goldenFolder('gpt2'))
  const { parameters } = await lnTuning(base, { targets: ['ln_f'] })
  const name = 'transformer.ln_f'
  expect(Object.keys(parameters)).toEqual(
    ['weight', 'bias'].map((part) => `${name}.ln_tuning_layers.${part}`),
  )
  for (const part of ['weight', 'bias'])
    expect(parameters[`${name}.ln_tuning_layers.${part}`].data).toEqual(
      (await base.read(`${name}.${part}`)).data,
    )
})
