import { expect, it } from 'vitest'
import { numbersOf } from '../../test/golden-case.js'
import { compile, valueOf } from '../tensor/index.js'
import { createModel } from './index.js'

const config = {
  architectures: ['Dinov2ForImageClassification'],
  model_type: 'dinov2',
  hidden_size: 8,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  mlp_ratio: 2,
  image_size: 15,
  patch_size: 5,
  num_channels: 3,
  initializer_range: 0.5,
  id2label: { 0: 'a', 1: 'b', 2: 'c' },
}

/** Logits of one image whose pixels are the sines of their numbers. */
const logitsOf = async (height: number, width: number, changes: object = {}): Promise<number[]> => {
  const model = await createModel({ ...config, ...changes }, { seed: 'sizes' })
  const pixels = valueOf(
    Float32Array.from({ length: 3 * height * width }, (_, i) => Math.sin(i)),
    [1, 3, height, width],
  )
  const program = await compile(
    ({ pixels, parameters }) =>
      model.architecture.forward(model.weights(parameters, {}), { pixels }, model.config).logits,
    { pixels, parameters: model.parameters },
  )
  return [...(await numbersOf(await program.run({ pixels, parameters: model.parameters })))]
}

it.each([
  [15, 15, [-2.78644, 1.1812, 3.37965]],
  [20, 25, [-1.38643, 2.67292, 2.65107]],
  [10, 10, [-1.5685, 1.25469, 3.07797]],
  [17, 15, [0.3756, -2.5351, -2.36441]],
])('an image of %i x %i pixels gives what Transformers 5.18 gives', async (height, width, reference) => {
  const logits = await logitsOf(height, width)
  logits.forEach((logit, i) => expect(logit).toBeCloseTo(reference[i], 4))
})

it('an image without a whole patch, and positions that are no square, are refused', async () => {
  await expect(logitsOf(4, 15)).rejects.toThrow(/this model takes 3 channels of at least 5 x 5 pixels/)
  await expect(logitsOf(10, 10, { image_size: [10, 15] })).rejects.toThrow(/6 positions are no square/)
})
