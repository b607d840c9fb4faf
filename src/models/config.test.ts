import { describe, expect, it } from 'vitest'
import { hubConfigs } from '../../test/hub-configs.js'
import { CheckpointError } from '../errors.js'
import { compile, type Tensor, tensor } from '../tensor/index.js'
import type { gpt2, llama, t5 } from './index.js'
import { architectureFor } from './index.js'

type Config = Record<string, unknown>

const read = (config: Config): unknown => architectureFor(config).readConfig(config)
const named = (name: string, more: Config): Config => ({ ...hubConfigs[name], ...more })

describe('config.json of models of the hub', () => {
  it.each(Object.keys(hubConfigs))('%s is read whole', (name) => {
    const config = { ...hubConfigs[name] }
    expect(architectureFor(config).table(read(config) as never).length).toBeGreaterThan(0)
  })

  it('is still read when each key that is null is left out', () => {
    for (const config of Object.values(hubConfigs))
      read(Object.fromEntries(Object.entries(config).filter(([, value]) => value !== null)))
  })
})

/** One of each architecture, and of each member of the llama family. */
const kinds = [
  'Gemma 3 1B',
  'SmolLM3 3B',
  'OLMo 2 1B',
  'Qwen3 30B A3B',
  'Pythia 70M',
  'RoBERTa base',
  'DistilBERT that classifies sentiment',
  'ModernBERT base',
  'CLIP base, patches of 32, as first written',
  'DINOv2 base',
  'Llama 3.2 1B',
  'Mistral 7B 0.1',
  'Mixtral 8x7B',
  'Qwen2 0.5B',
  'Qwen3 0.6B',
  'Gemma 2 2B',
].concat(['GPT-2', 'BERT base, uncased', 'T5 small', 'ViT base', 'ResNet 50'])

describe.each(kinds)('what %s does not read', (name) => {
  it('is refused with its name and value, whatever the value says', () => {
    for (const value of [3, 0.5, true, false, 'x', [1], { a: 1 }])
      expect(() => read(named(name, { depth_multiplier: value }))).toThrow(
        /config\.json: depth_multiplier is .*neither reads nor knows/,
      )
    expect(() => read(named(name, { depth_multiplier: null }))).not.toThrow()
  })

  it.each([
    [
      { quantization_config: { quant_method: 'awq', bits: 4 } },
      /quantization_config is \{"quant_method":"awq"/,
    ],
    [{ pruned_heads: { '1': [0] } }, /pruned_heads is .*expected \{\}/],
    [{ is_decoder: true }, /is_decoder is true.*expected false/],
    [{ add_cross_attention: true }, /add_cross_attention is true.*expected false/],
    [{ partial_rotary_factor: 0.5 }, /partial_rotary_factor is 0\.5.*expected 1/],
    [{ rope_interleaved: true }, /rope_interleaved is true/],
  ])('changes the outputs in %j, and is refused', (more, message) => {
    expect(() => read(named(name, more))).toThrow(message)
    expect(() => read(named(name, more))).toThrow(CheckpointError)
  })
})

describe('what one architecture alone cannot do', () => {
  it.each<[string, Config, RegExp]>([
    [
      'BERT base, uncased',
      { position_embedding_type: 'relative_key' },
      /position_embedding_type is "relative_key"/,
    ],
    ['Gemma 2 2B', { use_bidirectional_attention: true }, /use_bidirectional_attention is true/],
    ['T5 small', { is_encoder_decoder: false }, /is_encoder_decoder is false/],
    ['GPT-2', { is_encoder_decoder: true }, /is_encoder_decoder is true/],
    [
      'Qwen2 0.5B',
      { layer_types: new Array(24).fill('linear_attention') },
      /layer_types is .*expected a list of/,
    ],
    [
      'Mistral 7B 0.1',
      { layer_types: new Array(32).fill('full_attention') },
      /layer_types is .*expected "sliding/,
    ],
    [
      'Llama 3.2 1B',
      { layer_types: new Array(16).fill('sliding_attention') },
      /layer_types is .*expected "full/,
    ],
    ['GPT-2', { hidden_size: 512 }, /hidden_size is 512 and n_embd 768/],
    ['Llama 3.2 1B', { rope_scaling: 2 }, /rope_scaling is 2/],
    ['Llama 3.2 1B', { hidden_act: 'silo' }, /hidden_act is "silo"; expected an activation \(nearest: silu/],
  ])('%s: %j', (name, more, message) => {
    expect(() => read(named(name, more))).toThrow(message)
  })
})

describe('windows', () => {
  const windows = (name: string, more: Config): (number | undefined)[] =>
    (read(named(name, more)) as llama.LlamaConfig).layers.map(({ window }) => window)

  it('of Qwen are off unless use_sliding_window is on, whatever layer_types says', () => {
    const layer_types = [
      ...new Array<string>(20).fill('full_attention'),
      ...new Array<string>(4).fill('sliding_attention'),
    ]
    expect(windows('Qwen2 0.5B', { layer_types })).toEqual(new Array(24).fill(undefined))
    const on = windows('Qwen2 0.5B', { layer_types, use_sliding_window: true, sliding_window: 8 })
    expect(on).toEqual(layer_types.map((type) => (type === 'full_attention' ? undefined : 8)))
  })

  it('of Mistral are those of every layer, and Llama has none', () => {
    expect(windows('Mistral 7B 0.1', {})).toEqual(new Array(32).fill(4096))
    expect(windows('Llama 3.2 1B', { sliding_window: 8 })).toEqual(new Array(16).fill(undefined))
  })
})

describe('other names of a setting', () => {
  it('are read as today’s', () => {
    const { n_embd, n_layer, ...rest } = hubConfigs['GPT-2'] as Config
    const config = read({ ...rest, hidden_size: n_embd, num_hidden_layers: n_layer }) as gpt2.Gpt2Config
    expect([config.width, config.layers.length]).toEqual([768, 12])
    const { num_local_experts: _, ...mixtral } = hubConfigs['Mixtral 8x7B'] as Config
    expect((read({ ...mixtral, num_experts: 4 }) as llama.LlamaConfig).experts?.count).toBe(4)
  })
})

describe('activations', () => {
  const x = [-3, -1, -0.25, 0, 0.5, 1, 4]
  const erf = (z: number): number => {
    // Abramowitz and Stegun 7.1.26, good to 1.5e-7.
    const t = 1 / (1 + 0.3275911 * Math.abs(z))
    const p =
      t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return Math.sign(z) * (1 - p * Math.exp(-z * z))
  }
  const sigmoid = (z: number): number => 1 / (1 + Math.exp(-z))
  const exact = (z: number): number => 0.5 * z * (1 + erf(z / Math.SQRT2))
  const tanh = (z: number): number =>
    0.5 * z * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (z + 0.044715 * z ** 3)))
  const relu = (z: number): number => Math.max(0, z)
  const formulas: Record<string, (z: number) => number> = {
    gelu: exact,
    gelu_python: exact,
    gelu_new: tanh,
    gelu_fast: tanh,
    gelu_accurate: tanh,
    gelu_pytorch_tanh: tanh,
    gelu_python_tanh: tanh,
    quick_gelu: (z) => z * sigmoid(1.702 * z),
    silu: (z) => z * sigmoid(z),
    swish: (z) => z * sigmoid(z),
    relu,
    relu2: (z) => relu(z) ** 2,
    relu6: (z) => Math.min(6, relu(z)),
    tanh: Math.tanh,
    linear: (z) => z,
  }
  const values = async (f: (x: Tensor) => Tensor): Promise<number[]> => {
    const program = await compile(() => ({ y: f(tensor(x)) }), {})
    return [...((await (await program.run({})).y.read()) as Float32Array)]
  }

  it.each(Object.keys(formulas))('%s is what Transformers computes', async (name) => {
    const { activation } = read(named('Llama 3.2 1B', { hidden_act: name })) as llama.LlamaConfig
    const found = await values(activation)
    x.forEach((z, i) => expect(found[i]).toBeCloseTo(formulas[name](z), 5))
  })

  /** Which of the formulas an architecture has: their values at -1 are all different but for other names of one. */
  const which = async (name: string, more: Config): Promise<number> =>
    (await values((read(named(name, more)) as llama.LlamaConfig).activation))[1]

  it.each<[string, Config, keyof typeof formulas]>([
    ['Gemma 2 2B', { hidden_act: 'gelu', hidden_activation: undefined }, 'gelu_pytorch_tanh'],
    ['Gemma 2 2B', { hidden_act: 'gelu', hidden_activation: null }, 'gelu_pytorch_tanh'],
    ['Gemma 2 2B', { hidden_act: 'silu', hidden_activation: 'gelu' }, 'gelu'],
    ['Llama 3.2 1B', {}, 'silu'],
    ['Llama 3.2 1B', { hidden_act: 'gelu' }, 'gelu'],
    ['GPT-2', { activation_function: 'gelu' }, 'gelu'],
    ['T5 small', {}, 'relu'],
    ['T5 small', { feed_forward_proj: 'gated-gelu' }, 'gelu_new'],
    ['T5 small', { feed_forward_proj: 'gelu' }, 'gelu'],
    ['T5 small', { feed_forward_proj: 'gated-silu' }, 'silu'],
    ['T5 small', { feed_forward_proj: 'relu', dense_act_fn: 'gelu' }, 'gelu'],
    ['T5 small', { feed_forward_proj: 'gated-gelu', dense_act_fn: 'gelu', is_gated_act: true }, 'gelu'],
    ['T5 small', { feed_forward_proj: 'gated-gelu', dense_act_fn: 'silu' }, 'silu'],
  ])('of %s with %j: %s', async (name, more, expected) => {
    expect(await which(name, more)).toBeCloseTo(formulas[expected](-1), 5)
  })

  it('of T5 are gated as is_gated_act says, or else the projection', () => {
    const gated = (more: Config): boolean => (read(named('T5 small', more)) as t5.T5Config).gated
    expect([{}, { feed_forward_proj: 'gated-silu' }, { is_gated_act: true }].map(gated)).toEqual([
      false,
      true,
      true,
    ])
    expect(() => gated({ feed_forward_proj: 'plain-relu' })).toThrow(/feed_forward_proj is "plain-relu"/)
    expect(() => gated({ feed_forward_proj: 'gated-relu-x' })).toThrow(/feed_forward_proj/)
  })
})
