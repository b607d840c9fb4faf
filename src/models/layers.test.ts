import { describe, expect, it } from 'vitest'
import { hubConfigs } from '../../test/hub-configs.js'
import type { JsonObject } from '../checkpoint/index.js'
import type { gpt2, LayerOrigin, llama } from './index.js'
import { architectureFor, stackedConfig } from './index.js'

const count = 'num_hidden_layers'
const named = (name: string, more: JsonObject = {}): JsonObject =>
  JSON.parse(JSON.stringify({ ...hubConfigs[name], ...more })) as JsonObject
const from = (config: JsonObject, ...layers: number[]): LayerOrigin[] =>
  layers.map((layer) => ({
    config,
    layer,
    folder: 'model',
    count: Number(config[count] ?? config.n_layer),
  }))
const layersOf = (config: JsonObject): readonly llama.LlamaLayer[] =>
  (architectureFor(config).readConfig(config) as llama.LlamaConfig).layers

/** Every layer of the stacked model is what it was where it came from. */
const expectSameLayers = (result: JsonObject, sources: readonly LayerOrigin[]): void => {
  expect(layersOf(result)).toEqual(sources.map(({ config, layer }) => layersOf(config)[layer]))
}

const stacked = (...sources: LayerOrigin[][]): JsonObject => {
  const all = sources.flat()
  const result = stackedConfig(all[0].config, all, count)
  expect(result[count]).toBe(all.length)
  expectSameLayers(result, all)
  return result
}

const qwen = named('Qwen2 0.5B', {
  num_hidden_layers: 4,
  use_sliding_window: true,
  sliding_window: 8,
  max_window_layers: 2,
})
const gemma = named('Gemma 2 2B', { num_hidden_layers: 4 })

describe('layers that slide', () => {
  const types = ['full_attention', 'sliding_attention', 'full_attention', 'sliding_attention']
  const listed: JsonObject = { ...qwen, layer_types: types }

  it('are cut and joined with layer_types', () => {
    expect(stacked(from(listed, 0, 1)).layer_types).toEqual(types.slice(0, 2))
    expect(stacked(from(listed, 1, 2), from(listed, 1, 3, 3)).layer_types).toEqual(
      [1, 2, 1, 3, 3].map((i) => types[i]),
    )
  })

  it('by a rule of numbers are said layer by layer where the rule would say otherwise', () => {
    expect(stacked(from(qwen, 0, 1, 2, 3))).not.toHaveProperty('layer_types')
    expect(stacked(from(qwen, 2, 3)).layer_types).toEqual(['sliding_attention', 'sliding_attention'])
    expect(stacked(from(gemma, 0, 1, 2))).not.toHaveProperty('layer_types')
    expect(stacked(from(gemma, 1, 2, 3)).layer_types).toEqual([
      'full_attention',
      'sliding_attention',
      'full_attention',
    ])
    stacked(from(gemma, 0, 1, 1, 2, 2, 3))
  })

  it('of several models, of which one has the list and one the rule', () => {
    stacked(from(listed, 0, 1), from(qwen, 1, 2, 3))
    stacked(from(qwen, 0, 1), from(listed, 1, 2, 3))
  })

  it('everywhere or nowhere need no list', () => {
    for (const name of ['Mistral 7B 0.1', 'Mixtral 8x7B', 'Llama 3.2 1B', 'Qwen3 0.6B'])
      expect(stacked(from(named(name), 1, 0, 3, 3))).toEqual({ ...named(name), [count]: 4 })
  })
})

describe('sizes of their own', () => {
  const sized = named('Llama 3.2 1B', {
    num_hidden_layers: 4,
    num_key_value_heads: 8,
    weft: { num_attention_heads: [32, 16, 8, 32], intermediate_size: [8192, 4096, 4096, 2048] },
  })

  it('are cut and joined', () => {
    expect(stacked(from(sized, 1, 3)).weft).toEqual({
      num_attention_heads: [16, 32],
      intermediate_size: [4096, 2048],
    })
    stacked(from(sized, 3, 2, 1, 0, 0))
  })

  it('of heads that are derived stay what they were', () => {
    const { head_dim: _, ...derived } = sized
    stacked(from(derived, 1, 2))
    stacked(from(derived, 1, 1, 1))
    const { num_key_value_heads: __, ...multi } = derived as JsonObject
    stacked(from({ ...multi, weft: { num_attention_heads: [32, 16, 8, 32] } }, 2, 3, 1))
  })

  it('that are one size now are one number', () => {
    const result = stacked(from(sized, 1, 1))
    expect(result).toMatchObject({ num_attention_heads: 16, intermediate_size: 4096 })
    expect(result).not.toHaveProperty('weft')
  })

  it('of another model join as a list, also what it leaves out', () => {
    const other = named('Llama 3.2 1B', { intermediate_size: 1024, head_dim: 64 })
    const { head_dim: _, ...derived } = sized
    const result = stacked(from(derived, 0, 2), from(other, 5))
    expect(result.weft).toEqual({ num_attention_heads: [32, 8, 32], intermediate_size: [8192, 4096, 1024] })
  })
})

describe('GPT-2', () => {
  const scaled = named('GPT-2', { scale_attn_by_inverse_layer_idx: true })

  it('keeps sizes of its layers', () => {
    const config = named('GPT-2', { n_layer: 3, weft: { n_inner: [64, 128, 256] } })
    const result = stackedConfig(config, from(config, 2, 0), 'n_layer')
    const { layers } = architectureFor(result).readConfig(result) as gpt2.Gpt2Config
    expect(layers.map(({ hidden }) => hidden)).toEqual([256, 64])
  })

  it('whose scores are scaled by the number of the layer keeps its layers in their places', () => {
    expect(stackedConfig(scaled, from(scaled, 0, 1, 2), 'n_layer')).toEqual({ ...scaled, n_layer: 3 })
    expect(() => stackedConfig(scaled, from(scaled, 1, 2), 'n_layer')).toThrow(
      /scale_attn_by_inverse_layer_idx goes by a layer's number/,
    )
  })
})

describe('an architecture that Weft lacks', () => {
  const config: JsonObject = {
    model_type: 'cohere2',
    num_hidden_layers: 4,
    layer_types: ['a', 'b', 'c', 'd'],
    no_rope_layers: [1, 1, 1, 0],
    mlp_only_layers: [1, 2],
    eos_token_id: [1, 2, 3, 4],
    weft: { intermediate_size: [1, 2, 3, 4] },
  }

  it('has its lists with an entry a layer cut and joined, and nothing else', () => {
    expect(stackedConfig(config, from(config, 3, 1, 1), count)).toEqual({
      ...config,
      num_hidden_layers: 3,
      layer_types: ['d', 'b', 'b'],
      no_rope_layers: [0, 1, 1],
      mlp_only_layers: [1, 2],
      weft: { intermediate_size: [4, 2, 2] },
    })
  })

  it('is refused where only some of the models have a list', () => {
    const { layer_types: _, ...bare } = config
    expect(() => stackedConfig(config, [...from(config, 0), ...from(bare, 0)], count)).toThrow(
      /layer_types says nothing of each of its 4 layers/,
    )
  })
})
