import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { countOf, gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { opened } from '../../../test/opened.js'
import { openModel } from '../../models/index.js'
import { bitfit } from '../index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
beforeAll(async () => void (scratch = await scratchFolder()))
afterAll(() => scratch.remove())

it.each(['gpt2', 'bert-mlm', 'vit'])(
  'on %s it trains the biases that there are, and only those',
  async (name) => {
    const base = await opened(goldenFolder(name))
    const { architecture, config } = await openModel(base)
    const biases = architecture
      .table(config)
      .map(({ name }) => name)
      .filter((tensor) => tensor.endsWith('.bias') && architecture.table(config).some(isModule(tensor)))
    expect(Object.keys((await bitfit(base, { add: false, modulesToSave: [] })).parameters).sort()).toEqual(
      biases.sort(),
    )
  },
)
const isModule =
  (bias: string) =>
  ({ name, kind }: { name: string; kind: string }): boolean =>
    name === bias.replace(/bias$/, 'weight') && (kind === 'linear' || kind === 'norm')

it('gives the modules of a model without biases one each, and folded they are in its config', async () => {
  const base = await opened(goldenFolder('llama'))
  const model = noisy(await bitfit(base))
  // 3 layers: q and o 32, k and v 16, gate and up 72, down 32
  expect(countOf(model)).toBe(3 * (2 * 32 + 2 * 16 + 2 * 72 + 32))
  const folder = join(scratch.path, 'llama')
  await model.fold(folder)
  const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as Record<string, unknown>
  expect(config).toMatchObject({ attention_bias: true, mlp_bias: true })
  const folded = await openModel(await opened(folder))
  expect(gap(await logitsOf(folded), await logitsOf(model))).toBeLessThan(2e-5)
})

it('folds where only some modules train, with zeros at the others', async () => {
  const model = noisy(await bitfit(await opened(goldenFolder('llama')), { targets: ['v_proj'] }))
  const folder = join(scratch.path, 'some')
  await model.fold(folder)
  const folded = await opened(folder)
  expect((await folded.read('model.layers.0.mlp.up_proj.bias')).data.every((x) => Number(x) === 0)).toBe(true)
  expect(gap(await logitsOf(await openModel(folded)), await logitsOf(model))).toBeLessThan(2e-5)
})

it('does not fold where a config can say nothing of its biases', async () => {
  const folder = join(scratch.path, 't5')
  const model = await bitfit(await opened(goldenFolder('t5')))
  await expect(model.fold(folder)).rejects.toThrow(/has no place for .*\.bias/)
})

it('says what a model lacks', async () => {
  const base = await opened(goldenFolder('llama'))
  await expect(bitfit(base, { add: false })).rejects.toMatchObject({ code: 'NoBias' })
  await expect(bitfit(base, { add: false, targets: ['q_proj'] })).rejects.toThrow(/q_proj has no bias/)
  await expect(bitfit(base, { targets: ['input_layernorm'] })).rejects.toThrow(/input_layernorm has no bias/)
})
