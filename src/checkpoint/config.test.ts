import { expect, it } from 'vitest'
import { normaliseConfig } from './config.js'

it('reads both spellings of rope and dtype alike', () => {
  const now = {
    model_type: 'llama',
    dtype: 'bfloat16',
    rope_parameters: { rope_type: 'llama3', rope_theta: 5e5, factor: 8 },
  }
  const older = {
    model_type: 'llama',
    torch_dtype: 'bfloat16',
    rope_theta: 5e5,
    rope_scaling: { rope_type: 'llama3', factor: 8 },
  }
  const oldest = {
    model_type: 'llama',
    torch_dtype: 'torch.bfloat16',
    rope_theta: 5e5,
    rope_scaling: { type: 'llama3', factor: 8 },
  }
  expect(normaliseConfig(older)).toEqual(now)
  expect(normaliseConfig(oldest)).toEqual(now)
  expect(normaliseConfig(now)).toEqual(now)
})

it('reads a bare rope_theta, with a null rope_scaling, as the default rope', () => {
  expect(normaliseConfig({ rope_theta: 10000, rope_scaling: null })).toEqual({
    rope_parameters: { rope_type: 'default', rope_theta: 10000 },
  })
})

it('reads a rope_theta that stands beside rope_parameters', () => {
  expect(normaliseConfig({ rope_theta: 5e5, rope_parameters: { rope_type: 'default' } })).toEqual({
    rope_parameters: { rope_type: 'default', rope_theta: 5e5 },
  })
})

it('adds nothing to a config without rope, and changes nothing in its argument', () => {
  const bert = Object.freeze({ model_type: 'bert', hidden_act: 'gelu' })
  expect(normaliseConfig(bert)).toEqual(bert)
})

it('keeps rope settings that differ by kind of layer', () => {
  const byLayer = {
    rope_parameters: { full_attention: { rope_theta: 1e6 }, sliding_attention: { rope_theta: 1e4 } },
  }
  expect(normaliseConfig(byLayer)).toEqual(byLayer)
})

it('reads rope_scaling in place of rope_parameters where a file has both, and the older `type` in either', () => {
  const both = {
    rope_parameters: { rope_type: 'default', rope_theta: 1e4 },
    rope_scaling: { type: 'linear', factor: 2 },
  }
  expect(normaliseConfig(both)).toEqual({ rope_parameters: { rope_type: 'linear', factor: 2 } })
  expect(normaliseConfig({ rope_parameters: { type: 'linear', factor: 2 }, rope_scaling: {} })).toEqual({
    rope_parameters: { rope_type: 'linear', factor: 2 },
  })
})
