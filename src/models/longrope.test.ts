import { expect, it } from 'vitest'
import { numbersOf } from '../../test/golden-case.js'
import { createModel, decoder, type Model } from './index.js'

const size = 16
const sizes = { hidden_size: 32, intermediate_size: 48, num_attention_heads: 2, num_key_value_heads: 1 }
const turning = {
  rope_type: 'longrope',
  rope_theta: 10_000,
  short_factor: Array.from({ length: size / 2 }, (_, i) => 1 + 0.1 * i),
  long_factor: Array.from({ length: size / 2 }, (_, i) => 2 + 1.5 * i),
}
const config = {
  ...sizes,
  architectures: ['Phi3ForCausalLM'],
  model_type: 'phi3',
  vocab_size: 64,
  num_hidden_layers: 2,
  max_position_embeddings: 128,
  original_max_position_embeddings: 8,
  pad_token_id: 0,
  bos_token_id: 1,
  eos_token_id: 2,
  initializer_range: 0.4,
  rope_parameters: { ...turning, original_max_position_embeddings: 8 },
}
const model = (): Promise<Model> => createModel(config, { seed: 'longrope' })
const prompt = [9, 23, 41, 5]

/** What Transformers 5.18 continues the prompt with, every sequence computed anew: short factors up to 8 tokens, long ones from 9 on. */
const reference = [9, 23, 41, 5, 31, 39, 5, 15, 47, 47, 47, 37, 38, 47, 37, 38]

/** Four of the logits after 4, 8 and 9 tokens, as there. */
const logitsAfter: Readonly<Record<number, readonly number[]>> = {
  4: [-0.06016, -2.74644, -2.83632, -2.59359],
  8: [-0.30977, -2.09597, -0.67184, -0.6951],
  9: [1.03031, 0.59691, -3.1038, -2.44655],
}

const argMax = (numbers: Float64Array): number =>
  numbers.reduce((best, x, i) => (x > numbers[best] ? i : best), 0)

it.each([
  ['token by token', 16],
  ['in a decoder of a larger capacity', 40],
])('cached keys are made again where a sequence outgrows the short factors: %s', async (_, capacity) => {
  const cached = decoder(await model(), { capacity })
  const ids = [...prompt]
  let numbers = await numbersOf(await cached.prefill([ids]))
  while (ids.length < reference.length) {
    for (const [i, logit] of (logitsAfter[ids.length] ?? []).entries())
      expect(numbers[i]).toBeCloseTo(logit, 4)
    ids.push(argMax(numbers))
    if (ids.length < reference.length) numbers = await numbersOf(await cached.step(ids.slice(-1)))
  }
  expect(ids).toEqual(reference)
})

it('a prompt that is longer than the short factors last, in pieces, has long ones from its first token on', async () => {
  const long = reference.slice(0, 12)
  const whole = decoder(await model(), { capacity: 16 })
  const pieces = decoder(await model(), { capacity: 16, chunk: 4 })
  const first = await numbersOf(await whole.prefill([long]))
  const second = await numbersOf(await pieces.prefill([long]))
  second.forEach((x, i) => expect(x).toBeCloseTo(first[i], 4))
  expect(argMax(first)).toBe(reference[12])
})

it('programs for both factors are there once a decoder is prepared', async () => {
  const cached = decoder(await model(), { capacity: 16 })
  await cached.prepare()
  expect(argMax(await numbersOf(await cached.prefill([reference.slice(0, 8)])))).toBe(47)
  expect(argMax(await numbersOf(await cached.step([47])))).toBe(47)
})
