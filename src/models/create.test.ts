import { describe, expect, it } from 'vitest'
import { toNumbers } from '../tensor/index.js'
import { createModel } from './create.js'

const config = {
  model_type: 'llama',
  vocab_size: 50,
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  intermediate_size: 64,
  tie_word_embeddings: true,
}

const names = (parameters: object): string[] => Object.keys(parameters).sort()

describe('a new model', () => {
  it('has every parameter of its table, norms at one and weights spread as asked', async () => {
    const { parameters } = await createModel({ ...config, initializer_range: 0.1 })
    expect(names(parameters)).toContain('model.layers.1.mlp.down_proj.weight')
    expect(names(parameters)).not.toContain('lm_head.weight')
    expect(new Set(toNumbers(parameters['model.norm.weight']))).toEqual(new Set([1]))
    const w = toNumbers(parameters['model.layers.0.mlp.up_proj.weight'])
    const deviation = Math.sqrt(w.reduce((sum, x) => sum + x * x, 0) / w.length)
    // Of 2048 draws: the standard error is 0.0016.
    expect(Math.abs(deviation - 0.1)).toBeLessThan(0.008)
  })

  it('is the same for the same seed, another for another', async () => {
    const [a, b, c] = await Promise.all([1, 1, 2].map((seed) => createModel(config, { seed })))
    expect(a.parameters).toEqual(b.parameters)
    expect(a.parameters).not.toEqual(c.parameters)
  })

  it('begins Gemma 2 with norms of one, which are stored as zero', async () => {
    const { parameters } = await createModel({ ...config, model_type: 'gemma2', head_dim: 8 })
    expect(new Set(toNumbers(parameters['model.norm.weight']))).toEqual(new Set([0]))
  })

  it('of an unknown architecture is refused', async () => {
    await expect(createModel({ ...config, model_type: 'lama' })).rejects.toThrow(
      /lama.*[\s\S]*Nearest: llama/,
    )
  })
})
