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

it("reads Gemma's hidden_activation as hidden_act, unless it is null", () => {
  expect(normaliseConfig({ hidden_act: 'gelu', hidden_activation: 'gelu_pytorch_tanh' }).hidden_act).toBe(
    'gelu_pytorch_tanh',
  )
  expect(normaliseConfig({ hidden_act: 'gelu', hidden_activation: null }).hidden_act).toBe('gelu')
})
