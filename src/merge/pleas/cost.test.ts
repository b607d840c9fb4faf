/** @file What a budget counts: multiplications, which a convolution makes at every place of its output. */
import { expect, it } from 'vitest'
import { createModel, type Model, openModel } from '../../models/index.js'
import { valueOf } from '../../tensor/index.js'
import { permutationGroups } from '../../units/permutation/index.js'
import { costOf, positionsOf, ratiosWithin, type Widening } from './cost.js'

const resnet = async (): Promise<Model> => {
  const { checkpoint } = await createModel({
    model_type: 'resnet',
    layer_type: 'basic',
    embedding_size: 4,
    hidden_sizes: [4, 8],
    depths: [1, 1],
    num_labels: 3,
  })
  return openModel(checkpoint)
}
const pixels = valueOf(new Float32Array(2 * 3 * 32 * 32), [2, 3, 32, 32], 'float32')

it('a convolution is run at every place of its output, a classifier once', async () => {
  const positions = positionsOf(await resnet(), { pixels })
  // 32 x 32 halves in the embedder's convolution and in its pooling, and again from the first stage to the second.
  expect(positions.get('resnet.embedder.embedder.convolution.weight')).toBe(16 * 16)
  expect(positions.get('resnet.encoder.stages.0.layers.0.layer.0.convolution.weight')).toBe(8 * 8)
  expect(positions.get('resnet.encoder.stages.1.layers.0.layer.1.convolution.weight')).toBe(4 * 4)
  expect(positions.get('classifier.1.weight')).toBe(1)
})

it('without data the image of config.json is used, or the usual one', async () => {
  const model = await resnet()
  expect(positionsOf(model).get('resnet.embedder.embedder.convolution.weight')).toBe(112 * 112)
})

it('a text model without data weighs its layers alike', async () => {
  const config = { vocab_size: 16, hidden_size: 8, intermediate_size: 12, num_hidden_layers: 1 }
  const heads = { num_attention_heads: 2, num_key_value_heads: 2 }
  expect(positionsOf(await createModel({ model_type: 'llama', ...config, ...heads })).size).toBe(0)
})

it('the cost is the share of multiplications, so that early layers with many places weigh most', async () => {
  const model = await resnet()
  const table = model.architecture.table(model.config)
  const groups = permutationGroups(model)
  const positions = positionsOf(model, { pixels })
  const widening: Widening = { groups, fixed: () => false, step: () => 1, positions }
  const inside = 'resnet.encoder.stages.0.layers.0.layer.0.convolution.weight'
  const inner = groups.find(({ axes }) => axes.some(({ tensor, axis }) => tensor === inside && axis === 0))!
  const weights = table.filter(({ kind }) => kind === 'linear' || kind === 'conv')
  const all = weights.reduce(
    (sum, { name, shape }) => sum + positions.get(name)! * shape.reduce((n, s) => n * s, 1),
    0,
  )
  // The inner group of the first block is one axis of its two convolutions of 4 x 4 x 3 x 3, at 8 x 8 places each.
  const added = 2 * (4 * 4 * 3 * 3) * 64
  expect(costOf(table, widening, new Map([[inner.name, 1]]))).toBeCloseTo(1 + added / all, 10)
  const ratios = ratiosWithin(1.5, table, widening)
  expect(costOf(table, widening, ratios)).toBeLessThanOrEqual(1.5 + 1e-9)
})
