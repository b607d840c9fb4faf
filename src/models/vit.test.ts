import { describe, expect, it } from 'vitest'
import { Stream } from '../random/index.js'
import { compile, RandomStreams, type Tensor, toNumbers, type Value, valueOf } from '../tensor/index.js'
import { createModel } from './create.js'
import { type Model, patches, patchTokens, vit } from './index.js'

const config = {
  model_type: 'vit',
  hidden_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 24,
  image_size: [8, 12],
  patch_size: 4,
  num_channels: 1,
  num_labels: 3,
  initializer_range: 0.2,
}
const images = (height: number): Value => {
  const stream = new Stream('images')
  return valueOf(
    Array.from({ length: 2 * height * 12 }, () => stream.normal()),
    [2, 1, height, 12],
  )
}

type Inside = (model: Model, parameters: Record<string, Tensor>, pixels: Tensor) => Tensor
const run = async (change: object, inside: Inside, pixels = images(8), seed = 0): Promise<Float64Array> => {
  const model = await createModel({ ...config, ...change })
  const given = { parameters: model.parameters, pixels }
  const program = await compile(({ parameters, pixels }) => inside(model, parameters, pixels), given)
  return toNumbers(await program.run(given, { seed }))
}
const evaluated: Inside = (model, parameters, pixels) =>
  model.architecture.forward(model.weights(parameters, {}), { pixels }, model.config).logits

describe('vit', () => {
  it('reads an image of any shape that config.json says, patch by patch', async () => {
    expect(patches(vit.vit.readConfig(config))).toBe(6)
    expect((await run({}, evaluated)).length).toBe(6)
  })

  it('takes embeddings in place of the patches', async () => {
    const embedded: Inside = (model, parameters, pixels) => {
      const w = model.weights(parameters, {})
      const c = model.config as vit.VitConfig
      const embeddings = patchTokens(w.in('vit.embeddings'), 'patch_embeddings.projection', pixels, c)
      return model.architecture.forward(w, { embeddings }, c).logits
    }
    expect(await run({}, embedded)).toEqual(await run({}, evaluated))
  })

  it('drops in training what config.json says, by the seed', async () => {
    const trained: Inside = (model, parameters, pixels) =>
      model.architecture.forward(
        model.weights(parameters, { random: new RandomStreams() }),
        { pixels },
        model.config,
      ).logits
    const drops = { hidden_dropout_prob: 0.5, attention_probs_dropout_prob: 0.5 }
    expect(await run({}, trained)).toEqual(await run({}, evaluated))
    expect(await run(drops, evaluated)).toEqual(await run({}, evaluated))
    const [a, b, c] = await Promise.all([1, 1, 2].map((seed) => run(drops, trained, images(8), seed)))
    expect(a).toEqual(b)
    expect(a).not.toEqual(c)
    expect(a).not.toEqual(await run(drops, evaluated))
  })

  it('refuses images of another size, saying which it takes', async () => {
    await expect(run({}, evaluated, images(4))).rejects.toThrow(
      /images \[2,1,4,12\]: this model takes 1 channels of 8 x 12 pixels/,
    )
  })

  it.each([
    [{ image_size: [8] }, /image_size is \[8\]; expected a list of 2 numbers/],
    [{ image_size: [8, -1] }, /image_size is \[8,-1\]; expected a positive integer, or two/],
    [{ patch_size: 'large' }, /patch_size is "large"; expected a positive integer/],
  ])('refuses %j', (change, message) => {
    expect(() => vit.vit.readConfig({ ...config, ...change })).toThrow(message)
  })
})
