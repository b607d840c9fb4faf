import { describe, expect, it } from 'vitest'
import { goldenFolder } from '../../../test/golden.js'
import { batchOf, distance, numbersOf } from '../../../test/golden-case.js'
import { open } from '../../checkpoint/index.js'
import { createModel, type Model, openModel } from '../../models/index.js'
import { Stream } from '../../random/index.js'
import { compile, type Value } from '../../tensor/index.js'
import {
  insideUnit,
  matchWeights,
  modelOf,
  moveUnits,
  type PermutationGroup,
  permutationGroups,
  readTensors,
  reordered,
  type Tensors,
} from './index.js'

const state = (tensors: Tensors) => ({ tensors, orders: {} })

/** The tensors with every group, and the inside of every unit, in a random order. */
const shuffled = (tensors: Tensors, groups: readonly PermutationGroup[], seed: number) => {
  const stream = new Stream(seed)
  return groups.reduce(
    (all, group) => {
      let now = moveUnits(all, group, stream.permutation(group.units))
      for (const inside of group.insides)
        for (let u = 0; u < group.units; u++)
          now = moveUnits(now, insideUnit(inside, u), stream.permutation(inside.size))
      return now
    },
    state(tensors) as ReturnType<typeof moveUnits>,
  )
}

const logitsOf = async (model: Model, inputs: Record<string, Value>): Promise<Float64Array> => {
  const program = await compile(
    (inputs) => model.architecture.forward(model.weights({}, {}), inputs, model.config).logits,
    inputs,
  )
  return numbersOf(await program.run(inputs))
}

describe.each(['llama', 'qwen3', 'mixtral', 'gpt2', 'bert-classify', 't5', 'vit', 'resnet'])('%s', (name) => {
  it('in any order of its units, and of the dimensions inside its heads, is the same function', async () => {
    await using checkpoint = await open(goldenFolder(name))
    await using golden = await open(goldenFolder(name, 'golden.safetensors'))
    const model = await openModel(checkpoint)
    const { inputs } = await batchOf(golden, model.architecture.task(model.config), checkpoint.config)
    const tensors = await readTensors(checkpoint)
    const moved = shuffled(tensors, permutationGroups(model), 3)
    expect(Object.keys(moved.orders).length).toBeGreaterThan(5)
    const other = await modelOf(checkpoint.config, moved.tensors, {})
    const [was, is] = [
      await logitsOf(model, inputs as Record<string, Value>),
      await logitsOf(other, inputs as Record<string, Value>),
    ]
    expect(distance(is, was)).toBeLessThan(1e-5)
    for (const [tensor, order] of Object.entries(moved.orders))
      expect(reordered(tensors[tensor], order).data).toEqual(moved.tensors[tensor].data)
  })
})

const configs = {
  mlp: { model_type: 'weft_mlp', sizes: [8, 24, 20, 4] },
  'residual mlp': { model_type: 'weft_mlp', sizes: [8, 24, 20, 4], residual: true, width: 16 },
  resnet: {
    model_type: 'resnet',
    layer_type: 'basic',
    embedding_size: 8,
    hidden_sizes: [8, 16],
    depths: [1, 2],
    num_labels: 3,
  },
  vit: {
    model_type: 'vit',
    hidden_size: 16,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    intermediate_size: 32,
    image_size: 8,
    patch_size: 4,
    num_labels: 3,
  },
  llama: {
    model_type: 'llama',
    vocab_size: 32,
    hidden_size: 16,
    intermediate_size: 24,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
  },
}

describe.each(Object.entries(configs))('a shuffled copy of a new %s', (name, config) => {
  it.each(['dimensions', 'spectra'] as const)('aligns back to the original exactly by %s', async (heads) => {
    const model = await createModel({ ...config, initializer_range: 0.3 }, { seed: 5 })
    const tensors = await readTensors(model.checkpoint)
    const all = permutationGroups(model)
    // TransFusion takes the residual stream as given.
    const groups = heads === 'spectra' ? all.filter((group) => group.name !== 'residual') : all
    const moved = shuffled(tensors, groups, 7).tensors
    expect(moved).not.toEqual(tensors)
    const { tensors: back } = await matchWeights(groups, tensors, moved, { heads })
    expect(back, name).toEqual(tensors)
  })
})

it('asked to permute the dimensions of queries under rotary positions, it refuses', async () => {
  const model = await createModel(configs.llama)
  expect(() => permutationGroups(model, 'all')).toThrow(/rotary/)
})
