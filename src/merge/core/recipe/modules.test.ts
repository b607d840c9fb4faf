/** @file Recipes by module: the one-module case, an encoder and a decoder, precedence, what an architecture lacks. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { join } from 'node:path'
import { goldenFolder } from '../../../../test/golden.js'
import { scratchFolder } from '../../../../test/tiny.js'
import { open } from '../../../checkpoint/index.js'
import { explainMerge, mergeRecipe, type Recipe } from '../../index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)
beforeAll(async () => {
  scratch = await scratchFolder()
})
afterAll(() => scratch.remove())

const folder = goldenFolder('merge')
const models = ['a', 'b'].map((model) => ({ model, parameters: { weight: 0.5 } }))

const same = async (a: string, b: string): Promise<void> => {
  await using x = await open(a)
  await using y = await open(b)
  expect(x.names()).toEqual(y.names())
  expect(x.config).toEqual(y.config)
  for (const name of x.names()) expect(await x.readRaw(name), name).toEqual(await y.readRaw(name))
}

describe('modules', () => {
  it.each(['default', 'text_decoder'])('of an architecture with one part: %s is all of it', async (name) => {
    await mergeRecipe({ merge_method: 'linear', models }, at(`whole-${name}`), { folder })
    await mergeRecipe({ merge_method: 'linear', modules: { [name]: { models } } }, at(name), { folder })
    await same(at(`whole-${name}`), at(name))
  })

  it('may have slices, and parameters between those of a slice and of the recipe', async () => {
    const sources = ['a', 'b'].map((model) => ({ model, layer_range: [0, 2] as const }))
    const recipe: Recipe = {
      merge_method: 'linear',
      modules: {
        default: {
          slices: [{ sources, parameters: { weight: [{ filter: 'mlp', value: 3 }] } }, { sources }],
          parameters: { weight: [{ filter: 'self_attn', value: 2 }] },
        },
      },
      parameters: { weight: 1 },
    }
    const [{ tensors }] = await explainMerge(recipe, { folder })
    const weight = (name: string): unknown => tensors.find((t) => t.name === name)!.parameters.weight
    expect(weight('model.layers.0.mlp.up_proj.weight')).toEqual([3, 3])
    expect(weight('model.layers.2.mlp.up_proj.weight')).toEqual([1, 1])
    expect(weight('model.layers.0.self_attn.q_proj.weight')).toEqual([2, 2])
    expect(weight('model.norm.weight')).toEqual([1, 1])
  })

  it('encoder and decoder of a T5 are merged each by its own recipe', async () => {
    const t5 = goldenFolder('t5')
    const one = { models: [{ model: t5, parameters: { weight: 1 } }] }
    const slices = [
      { sources: [{ model: t5, layer_range: [0, 1] as const, parameters: { weight: 1 } }] },
      { sources: [{ model: t5, layer_range: [1, 2] as const, parameters: { weight: 1 } }] },
    ]
    const recipe: Recipe = { merge_method: 'linear', modules: { encoder: one, decoder: { slices } } }
    await mergeRecipe(recipe, at('t5'), { folder })
    await using merged = await open(at('t5'))
    await using original = await open(t5)
    expect(merged.names()).toEqual(original.names())
    expect(merged.config.num_decoder_layers).toBe(2)
    expect(merged.config.num_layers).toBe(original.config.num_layers)
  })

  it.each<[string, Recipe['modules'], RegExp]>([
    [
      'that the architecture lacks',
      { vision_tower: { models } },
      /modules.vision_tower: the architecture llama has no such module\n.*default/,
    ],
    [
      'that are not all',
      { encoder: { models: [{ model: goldenFolder('t5'), parameters: { weight: 1 } }] } },
      /t5 also has decoder/,
    ],
  ])('%s are refused', async (_, modules, message) => {
    await expect(explainMerge({ merge_method: 'linear', modules }, { folder })).rejects.toThrow(message)
  })
})
