import { expect, test } from 'vitest'
import { distance, numbersOf } from '../../test/golden-case.js'
import { compile, RandomStreams, type Spec, type Value, valueOf } from '../tensor/index.js'
import { createModel } from './create.js'
import { gpt2, type Model } from './index.js'

const config = { model_type: 'gpt2', vocab_size: 50, n_embd: 16, n_head: 2, n_layer: 2, n_positions: 16 }
const ids = valueOf([3, 14, 15, 9, 2, 6], [1, 6], 'int32')

const logits = async (model: Model, training: boolean, seed = 0): Promise<Float64Array> => {
  const inputs = { ids, parameters: model.parameters } satisfies Record<string, Spec | Model['parameters']>
  const program = await compile(({ ids, parameters }) => {
    const random = training ? new RandomStreams() : undefined
    return model.architecture.forward(model.weights(parameters, { random }), { ids }, model.config).logits
  }, inputs)
  return numbersOf((await program.run(inputs, { seed })) as Value)
}

test('dropout is at its three places, in training alone, and its seed decides', async () => {
  const off = { embd_pdrop: 0, attn_pdrop: 0, resid_pdrop: 0 }
  const still = await createModel({ ...config, ...off, initializer_range: 0.3 })
  const plain = await logits(still, false)
  expect(distance(await logits(still, true), plain)).toBe(0)
  for (const key of Object.keys(off)) {
    const model = await createModel({ ...config, ...off, [key]: 0.5, initializer_range: 0.3 })
    expect(distance(await logits(model, false), plain), key).toBe(0)
    const dropped = await logits(model, true)
    expect(distance(dropped, plain), key).toBeGreaterThan(1e-3)
    expect(distance(await logits(model, true), dropped), key).toBe(0)
    expect(distance(await logits(model, true, 1), dropped), key).toBeGreaterThan(1e-3)
  }
})

test("the scale of a layer's scores may fall with its depth", () => {
  const scales = (more: Record<string, unknown>): number[] =>
    gpt2.gpt2.readConfig({ ...config, ...more }).layers.map(({ scale }) => scale)
  expect(scales({})).toEqual([8 ** -0.5, 8 ** -0.5])
  expect(scales({ scale_attn_by_inverse_layer_idx: true })).toEqual([8 ** -0.5, 8 ** -0.5 / 2])
  expect(scales({ scale_attn_weights: false })).toEqual([1, 1])
})

test('more tokens than positions are refused', async () => {
  const model = await createModel(config)
  const long = valueOf(new Array<number>(17).fill(1), [1, 17], 'int32')
  await expect(
    compile(({ ids }) => model.architecture.forward(model.weights({}, {}), { ids }, model.config).logits, {
      ids: long,
    }),
  ).rejects.toThrow(/17 tokens: this model has 16 positions/)
})
